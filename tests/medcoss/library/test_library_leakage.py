"""What a model has seen is known through stages, buffers and fine-tuning, and of whatever it is to be measured on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medcoss import build_buffer, finetune, pretrain
from medcoss.data.patients import patients
from medcoss.evaluation.evaluate import evaluate
from medcoss.run import BadInput, LocalRun
from medcoss.specs import EvaluateSpec
from tests.medcoss.training.small import MODEL, reports, xrays

SHORT: dict[str, Any] = {"size": "tiny", "batch_size": 4, "max_steps": 1, "quiet": True}


def owned(folder: Path, others: dict[int, str] | None = None) -> Path:
    """The dataset with a patient for each sample, named after the folder; `others` tells whose a row is instead."""
    table = pq.read_table(folder / "samples.parquet")
    names = [(others or {}).get(row, f"{folder.name}{row}") for row in range(len(table))]
    place = table.schema.get_field_index("patient")
    pq.write_table(table.set_column(place, "patient", pa.array(names)), folder / "samples.parquet")
    return folder


@pytest.fixture(scope="module")
def buffered(folder: Path) -> tuple[Path, str]:
    """Outputs of two stages with a buffer and of a fine-tuning, and a patient whom the buffer holds."""
    first, second = owned(xrays(folder / "first")), owned(reports(folder / "second"))
    pretrain(first, folder / "stage1", **SHORT)
    build_buffer(folder / "stage1", first, folder / "kept", centers_fraction=0.2, buffer_fraction=0.2, quiet=True)
    more = {"init_model": folder / "stage1", "rehearsal": folder / "kept", "vocabulary_size": 256}
    pretrain(second, folder / "stage2", **more, **SHORT)
    labelled = owned(xrays(folder / "labelled"))
    finetune(labelled, folder / "classifier", "classification", init_model=folder / "stage2", **SHORT)
    return folder, min(patients(folder / "kept" / "dataset"))


def test_a_patient_of_the_first_stage_is_not_measured_on_after_the_last(buffered: tuple[Path, str],
                                                                        tmp_path: Path) -> None:  # fmt: skip
    folder, patient = buffered
    clean, leaking = owned(xrays(tmp_path / "clean")), owned(xrays(tmp_path / "leaking"), {19: patient, 18: "second0"})
    run = LocalRun(tmp_path)

    def scored(data: Path, **more: Any) -> Any:
        spec = EvaluateSpec(model=MODEL, dataset=f"ds_{data.name:0<8}", bootstrap=0, **more)
        return evaluate(spec, folder / "classifier" / "model", data, tmp_path / "scores", run)

    assert scored(clean).leakage == []
    said = r"^dataset: 2 of the 4 patients in test of ds_leaking0, .* \(1 in first, 1 in kept, 1 in second\)"
    with pytest.raises(BadInput, match=said):
        scored(leaking)
    assert scored(leaking, split="val").leakage == []
    (allowed,) = scored(leaking, allow_leakage="a dry run").leakage
    assert (allowed.patients, allowed.datasets) == (2, {"first": 1, "kept": 1, "second": 1})


def test_what_is_to_be_measured_on_is_not_trained_on(buffered: tuple[Path, str], tmp_path: Path) -> None:
    folder, patient = buffered
    clean, leaking = owned(xrays(tmp_path / "clean")), owned(xrays(tmp_path / "leaking"), {13: patient, 0: "labelled0"})
    stage, model = owned(reports(tmp_path / "stage")), folder / "stage1"
    calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
        (pretrain, (folder / "first", tmp_path / "a"), SHORT),
        (pretrain, (stage, tmp_path / "b"), {"init_model": model, "vocabulary_size": 256, **SHORT}),
        (build_buffer, (model, folder / "first", tmp_path / "c"), {"quiet": True}),
        (finetune, (folder / "labelled", tmp_path / "d", "classification"), {"init_model": model, **SHORT}),
    ]
    said = r"^measured_on: 1 of the 8 patients in val and test of leaking, which it is measured on, .* \(1 in first\)"
    for function, given, options in calls:
        with pytest.raises(BadInput, match=said):
            function(*given, measured_on=[clean, leaking], **options)
    function, given, options = calls[-1]
    assert function(*given, measured_on=clean, overwrite=True, **options).leakage == []
    with pytest.raises(BadInput, match=r"^measured_on: the dataset has no samples of the splits val and test"):
        function(*given, measured_on=folder / "kept", overwrite=True, **options)
