"""An upload to fill, and the recipe run on it."""

import json
from pathlib import Path
from typing import Any

import pytest

from medcoss.data.shards import ShardReader
from medcoss.preprocess.run import preprocess
from medcoss.run import LocalRun
from medcoss.specs.preprocess import PreprocessSpec
from tests.medcoss.preprocess.files import Prepare


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


@pytest.fixture
def prepare(raw: Path, tmp_path: Path) -> Prepare:
    """Preprocess the raw folder; gives the dataset and the job's report."""

    def run(recipe: Any, max_bad_fraction: float = 0.5, seed: int = 0,
            **options: Any) -> tuple[ShardReader, dict[str, Any]]:  # fmt: skip
        given = {"recipe": recipe, "max_bad_fraction": max_bad_fraction, "seed": seed} | options
        spec = PreprocessSpec(dataset="ds_00000000", **given)
        context = LocalRun(tmp_path / "run")
        info = preprocess(spec, raw, tmp_path / "out" / "dataset", context)
        reader = ShardReader(tmp_path / "out" / "dataset")
        assert reader.info == info
        assert len(reader) == info.samples
        return reader, json.loads((tmp_path / "run" / "artifacts" / "report.json").read_text())

    return run
