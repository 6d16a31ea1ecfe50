"""What a line of models has kept of each modality: the table, what follows from it, and that it is told truly."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcoss.data import patients
from medcoss.evaluation.forgetting import linear_cka, mean_cosine, measure_forgetting, numbers, summary
from medcoss.evaluation.probes import nearest_neighbours
from medcoss.run import BadInput, LocalRun
from medcoss.specs.buffers import BuildBufferOptions
from medcoss.specs.encoder import SIZES
from medcoss.specs.forgetting import ForgettingOptions
from medcoss.specs.forgetting_records import Measured, StageTold
from medcoss.specs.training import PretrainOptions
from medcoss.training.pretrain import pretrain
from medcoss.training.rehearsal import build_buffer
from tests.medcoss.export.small_models import CONFIG
from tests.medcoss.training.small import reports, volumes, xrays

OPTIONS = ForgettingOptions(samples=8, masks=2, batch_size=8)


def test_cka_and_cosine_tell_rotations_from_changes() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 12)) * np.linspace(0.2, 3, 12) + 5
    turned, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    assert linear_cka(values, values) == pytest.approx(1)
    assert linear_cka(values, 7 * values @ turned + 3) == pytest.approx(1)
    other = linear_cka(values, rng.normal(size=(200, 12)))
    assert other is not None
    assert other < 0.2
    assert linear_cka(values, np.ones((200, 12))) is None
    assert mean_cosine(values, 2 * values) == pytest.approx(1)
    assert mean_cosine(values, -values) == pytest.approx(-1)


def test_neighbours_tell_classes_apart() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 3
    values = rng.normal(size=(60, 5)) + 6 * np.eye(3, 5)[labels]
    assert nearest_neighbours(values[:30], labels[:30], values[30:], labels[30:], 5) > 0.9
    # more neighbours than samples are all of them
    assert nearest_neighbours(values[:6], labels[:6], values[30:], labels[30:], 500) > 0.5


def test_transfer_and_forgetting_are_the_published_ones() -> None:
    """Worked out by hand: losses relative to the one right after learning, accuracies as they are."""
    stages = [StageTold(model=f"mdl_{i}", stage=i + 1, learnt=[name]) for i, name in enumerate(("ct", "xray", "mr"))]
    table = [
        Measured(stage=0, modality="ct", loss=2.0, accuracy=0.8),
        Measured(stage=1, modality="ct", loss=1.6, accuracy=0.9),
        Measured(stage=1, modality="xray", loss=0.5),
        Measured(stage=2, modality="ct", loss=2.2, accuracy=0.7),
        Measured(stage=2, modality="xray", loss=0.75),
        Measured(stage=2, modality="mr", loss=1.0),
    ]
    names = {name: f"ds_{name}" for name in ("ct", "xray", "mr")}
    found = summary(stages, table, OPTIONS, names, dict.fromkeys(names, 8))
    kept = {one.modality: one for one in found.kept}
    assert set(kept) == {"ct", "xray"}, "what was learnt last cannot be forgotten yet"
    assert kept["ct"].backward_transfer == pytest.approx(-0.1)
    assert kept["ct"].forgetting == pytest.approx(0.3), "the best since, not the first"
    assert kept["ct"].accuracy_backward_transfer == pytest.approx(-0.1)
    assert kept["ct"].accuracy_forgetting == pytest.approx(0.2)
    assert kept["xray"].forgetting == pytest.approx(0.5)
    assert found.average_forgetting == pytest.approx(0.4)
    assert found.backward_transfer == pytest.approx(-0.3)
    told = numbers(found)
    assert told["forgetting/xray"] == pytest.approx(0.5)
    assert told["loss/mr"] == 1.0
    # X-rays of a second hospital, read by the model of the first one before they were learnt
    stages[2] = StageTold(model="mdl_2", stage=3, learnt=["xray"])
    stages.append(StageTold(model="mdl_3", stage=4, learnt=["mr"]))
    north = [Measured(stage=stage, modality="xray-2", loss=loss) for stage, loss in ((1, 0.9), (2, 0.6), (3, 0.72))]
    seen = [{"ds_ct"}, {"ds_ct", "ds_xray"}, {"ds_ct", "ds_xray", "ds_north"}, {"ds_north"}]
    (second,) = summary(stages, north, OPTIONS, {"xray-2": "ds_north"}, {"xray-2": 8}, seen).kept
    assert (second.learnt_at, second.backward_transfer) == (2, pytest.approx(-0.2)), "not from 0.9 on"
    assert second.forgetting == pytest.approx(0.2)
    assert summary(stages[:3], north[:2], OPTIONS, {"xray-2": "ds_north"}, {"xray-2": 8}, seen[:3]).kept == []
    first = summary(stages[:1], table[:1], OPTIONS, {"ct": "ds_ct"}, {"ct": 8})
    assert first.average_forgetting is None
    assert numbers(first)["backward_transfer"] == 0, "with nothing to forget, nothing was"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Three stages: reports, X-rays with rehearsal, MR without."""
    root = tmp_path_factory.mktemp("line")
    found = {"report": reports(root / "report"), "xray": xrays(root / "xray", 24), "mr": volumes(root / "mr")}
    options = PretrainOptions(size="tiny", epochs=100, max_steps=20, batch_size=8, base_lr=0.05, vocabulary_size=256,
                              reconstructions=0)  # fmt: skip
    original, SIZES["tiny"] = SIZES["tiny"], CONFIG
    before, buffers = None, list[Path]()
    for name in ("report", "xray", "mr"):
        run = LocalRun(root / name)
        pretrain(options, found[name], before, buffers, run.root / "model", run)
        before = found[f"{name} model"] = run.root / "model"
        if name == "report":
            chosen = BuildBufferOptions(centers_fraction=0.2, buffer_fraction=0.5)
            build_buffer(chosen, before, found["report"], root / "buffer", LocalRun(root / "kept"))
            buffers = [root / "buffer"]
        else:
            buffers = []
    yield found
    SIZES["tiny"] = original


def test_a_line_is_measured_stage_after_stage(line: dict[str, Path], tmp_path: Path) -> None:
    models, data = ([line[f"{n}{end}"] for n in ("report", "xray", "mr")] for end in (" model", ""))
    run = LocalRun(tmp_path / "run")
    found = measure_forgetting(OPTIONS, models, data, tmp_path / "out", run)
    assert found.forgetting is not None
    assert [(row.stage, row.modality) for row in found.forgetting.table] == [
        (0, "report"), (1, "report"), (1, "xray"), (2, "report"), (2, "xray"), (2, "mr"),
    ]  # fmt: skip
    for row in found.forgetting.table:
        first = row.stage == ("report", "xray", "mr").index(row.modality)
        assert row.loss is not None and row.loss > 0
        assert (row.cka is None) == (row.cosine is None) == first, "drift is that since the stage before"
        assert row.cka is None or 0 <= row.cka <= 1
        assert (row.accuracy is not None) == (row.modality != "mr"), "volumes of this dataset have no classes"
        assert row.fresh_loss is None
    assert {one.modality for one in found.forgetting.kept} == {"report", "xray"}
    assert run.done == (6, 6)
    strict = OPTIONS.model_copy(update={"forgotten_above": 0.0})
    more = LocalRun(tmp_path / "more")
    again = measure_forgetting(strict, models, data, tmp_path / "again", more)
    assert again.metrics == found.metrics
    worse = {one.modality for one in found.forgetting.kept if (one.forgetting or 0) > 0}
    assert {(name, modality) for name, modality, _ in more.events} == {("forgotten", name) for name in worse}
    assert len([line for line in more.lines if "is forgotten" in line]) == len(worse)
    stored = json.loads((tmp_path / "out" / "forgetting.json").read_text())
    assert stored["forgetting"]["average_forgetting"] == found.metrics["average_forgetting"]
    with Image.open(run.root / "artifacts" / "forgetting.png") as picture:
        colours = picture.convert("RGB").getcolors(2**24)
    assert colours is not None
    assert len(colours) > 20, "a heat map, not a blank"


def test_new_heads_and_neighbours_are_asked_for(line: dict[str, Path], tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"fresh_steps": 3, "probe": "knn"})
    models, run = [line["report model"], line["xray model"]], LocalRun(tmp_path / "run")
    north = xrays(tmp_path / "north", 8)
    found = measure_forgetting(options, models, [line["xray"], north], tmp_path / "out", run).forgetting
    assert found is not None
    assert (found.datasets, [row.modality for row in found.table]) == (
        {"xray": "xray", "xray-2": "north"}, ["xray", "xray-2"],
    )  # fmt: skip
    for row in found.table:
        assert row.fresh_loss is not None and row.loss is not None and row.accuracy is not None
    assert found.kept == [], "X-rays were learnt last"
    assert [patients.datasets_of(model) >= {"xray"} for model in models] == [False, True]


def test_what_does_not_fit_is_named(line: dict[str, Path], tmp_path: Path) -> None:
    run = LocalRun(tmp_path / "run")

    def refused(match: str, models: list[str], data: list[Path], **options: object) -> None:
        with pytest.raises(BadInput, match=match):
            measure_forgetting(OPTIONS.model_copy(update=options), [line[f"{m} model"] for m in models], data,
                               tmp_path / "out", run)  # fmt: skip

    refused(r"models: stage 1 \(report\) does not go on from stage 2", ["xray", "report"], [line["report"]])
    refused("datasets: the encoder has not learnt 'mr'", ["report", "xray"], [line["mr"]])
    empty = xrays(tmp_path / "empty", held_out=0)
    refused("datasets: the dataset has no samples in the split 'val'", ["report", "xray"], [empty])
