"""Recipes that survey the whole dataset make in chunks, whoever surveys first, what they make at once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medcoss.preprocess.engine import produce
from medcoss.preprocess.run import preprocess, preprocess_chunk
from medcoss.run import BadInput, LocalRun, sha256_file
from medcoss.specs.preprocess import PreprocessSpec
from medcoss.specs.recipes.base import RecipeSpec
from medcoss.specs.recipes.lits import Lits
from medcoss.specs.recipes.vs_seg import VsSeg
from tests.medcoss.preprocess.files import Outline, put
from tests.medcoss.preprocess.layouts import lits_labels, put_lits, put_vs, vs_head
from tests.medcoss.preprocess.test_preprocess_recipe_vs_seg import put_tcia

SIZE = (16, 64, 64)
CHUNKS = 3


def lits(raw: Path) -> None:
    for number in range(5):
        put_lits(raw / f"Training Batch {1 + number // 3}", number, 100 * number, lits_labels())
    put_lits(raw / "Training Batch 2", 28, 100, None)
    put_lits(raw / "Training Batch 2", 29, 100, lits_labels() * 2)
    put(raw / "Training Batch 2" / "volume-30.nii", b"truncated")
    put_lits(raw / "Training Batch 2", 31, 100, lits_labels()[:-1])


def vs_seg(raw: Path) -> None:
    for number in range(1, 7):
        spacing = (0.5, 0.5, 1.5) if number % 3 else (1.0, 1.0, 2.0)
        put_vs(raw / "VS-SEG" / f"vs_gk_{number}", vs_head(spacing))
    (raw / "VS-SEG" / "vs_gk_5" / "vs_gk_seg_refT1.nii.gz").write_bytes(b"truncated")


LAYOUTS = [(lits, Lits(size=SIZE)), (vs_seg, VsSeg(size=SIZE)), (put_tcia, VsSeg(size=SIZE))]


def made(folder: Path) -> dict[str, str]:
    """Hashes of the dataset and of the report."""
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in (folder / "made").rglob("*") if p.is_file()}


@pytest.mark.parametrize(("lay_out", "recipe"), LAYOUTS, ids=["lits", "vs_seg", "vs_seg DICOM"])
def test_chunks_make_what_one_run_makes(lay_out: Callable[[Path], None], recipe: RecipeSpec, raw: Path,
                                        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    lay_out(raw)
    spec = PreprocessSpec(dataset="ds_00000000", recipe=recipe, max_bad_fraction=0.9)
    whole = preprocess(spec, raw, tmp_path / "whole" / "made" / "dataset", LocalRun(tmp_path / "whole" / "run"))
    assert whole.samples > 0
    # the parts of all chunks lie in one place; the first two have begun at once, so that both survey, with parts of
    # their own lengths
    shared = LocalRun(tmp_path / "shared" / "run")
    runs = {2: LocalRun(tmp_path / "alone2"), 0: LocalRun(tmp_path / "alone0"), 1: shared}
    for chunk, context in runs.items():
        if context is shared:
            for other in (2, 0):
                for part in (tmp_path / f"alone{other}" / "parts").iterdir():
                    put(tmp_path / "shared" / "run" / "parts" / part.name, part.read_bytes())
        monkeypatch.setattr(produce, "BATCH_ITEMS", 1 + chunk)
        outline = Outline(raw, tmp_path / f"raw{chunk}")
        preprocess_chunk(spec, outline.folder, chunk, CHUNKS, tmp_path / f"chunk{chunk}", context, processes=1,
                         bring=outline.bring)  # fmt: skip
        shutil.rmtree(outline.folder)
    outline = Outline(raw, tmp_path / "raw_again")
    preprocess(spec, outline.folder, tmp_path / "shared" / "made" / "dataset", shared, bring=outline.bring)
    assert made(tmp_path / "shared") == made(tmp_path / "whole")


def test_a_chunk_tells_when_nothing_can_be_surveyed(raw: Path, tmp_path: Path) -> None:
    put_lits(raw, 28, 100, lits_labels() * 2)
    spec = PreprocessSpec(dataset="ds_00000000", recipe=Lits(size=SIZE), max_bad_fraction=1)
    told = []
    for chunk in range(2):
        with pytest.raises(BadInput) as found:
            preprocess_chunk(spec, raw, chunk, 2, tmp_path / f"chunk{chunk}", LocalRun(tmp_path / f"run{chunk}"))
        told.append(str(found.value))
        assert (tmp_path / f"run{chunk}" / "artifacts" / "report.json").is_file()
    with pytest.raises(BadInput) as found:
        preprocess(spec, raw, tmp_path / "whole" / "dataset", LocalRun(tmp_path / "whole" / "run"))
    assert told == [str(found.value)] * 2
