"""Indexes as files: every dataset in them, gone on with after a stop, with a map of the studies."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medcoss.data.vectors import Vectors
from medcoss.evaluation.index import STUDIES, build_index
from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.specs import BuildIndexSpec
from medcoss.specs.records import IndexInfo
from tests.medcoss.export.small_models import write_model
from tests.medcoss.training.small import StopsAfter, xrays

ONE, TWO = "ds_one00000", "ds_two00000"
NAMES = {ONE: "north", TWO: "south"}


def built(folder: Path, run: LocalRun, **more: object) -> IndexInfo:
    spec = BuildIndexSpec(index="idx_00000000", model="mdl_00000000", datasets=[ONE, TWO], batch_size=4, **more)
    datasets = {ONE: folder / "one", TWO: folder / "two"}
    return build_index(spec, folder / "model", datasets, NAMES, run.root / "index", run.root / "work", run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("index")
    write_model(made / "model", "encoder", ["xray"])
    xrays(made / "one", size=(64, 64))
    xrays(made / "two", count=4, size=(64, 64), held_out=2)
    return made


@pytest.fixture(scope="module")
def whole(folder: Path) -> tuple[IndexInfo, Path]:
    # so few points are placed sooner than UMAP is compiled
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    run = LocalRun(folder / "run")
    return built(folder, run), run.root / "index"


def test_an_index_holds_every_study_and_a_map_of_them(whole: tuple[IndexInfo, Path]) -> None:
    info, made = whole
    assert (info.vectors, info.width, info.search, info.datasets) == (28, 48, "exact", {ONE: 20, TWO: 8})
    assert (info.modalities, info.projected, info.level) == (["xray"], 28, "study")
    studies, vectors = pq.read_table(made / STUDIES).to_pylist(), Vectors.read(made)
    assert len(studies) == len(vectors) == 28 and studies[20]["dataset"] == TWO
    # the second dataset begins with images of the first
    numbers, scores, _ = vectors.search(vectors.vector(21), 2)
    assert {*numbers.tolist()} == {1, 21} and scores == pytest.approx(1, abs=1e-5)

    points = pq.read_table(made / "projection.parquet").to_pydict()
    assert points == json.loads((made / "projection.json").read_text())
    assert points["sample"] == [study["sample"] for study in studies]
    assert np.isfinite([*points["x"], *points["y"]]).all() and len({*points["x"]}) > 20
    with Image.open(made / "projection.png") as picture:
        assert len({*picture.convert("RGB").resize((200, 100)).getdata()}) > 20, "points in several colours"


def test_it_goes_on_with_the_datasets_that_were_finished(folder: Path, whole: tuple[IndexInfo, Path]) -> None:
    # the first dataset has five batches, the second two
    stopping = StopsAfter(folder / "stopped", steps=7)
    with pytest.raises(Stopped):
        built(folder, stopping, projection=0)
    again = LocalRun(folder / "stopped")
    info = built(folder, again, projection=0)
    assert (info.vectors, info.projected) == (28, 0)
    assert {"info: resumed with 1 datasets", "info: resumed with the features of 4 samples"} <= {*again.lines}
    vectors, expected = Vectors.read(again.root / "index"), Vectors.read(whole[1])
    for number in (0, 19, 20, 27):
        np.testing.assert_allclose(vectors.vector(number), expected.vector(number), atol=1e-6)


def test_datasets_that_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "model", "encoder", ["mr"])
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(folder / name)
    with pytest.raises(BadInput, match="dataset: the encoder has not learnt 'xray'; it knows mr"):
        built(tmp_path, LocalRun(tmp_path / "run"))
