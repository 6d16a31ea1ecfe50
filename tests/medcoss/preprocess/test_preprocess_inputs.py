"""What recipes share: the files they see, the captions they clean."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcoss.preprocess.captions import clean_caption
from medcoss.preprocess.raw import Raw, folder_split
from medcoss.run import BadInput
from tests.medcoss.preprocess.files import put


def test_captions_are_the_published_ones(parity: Path) -> None:
    golden = json.loads((parity / "captions.json").read_text(encoding="utf-8"))["reports"]
    assert len(golden) == 40
    for report in golden:
        assert clean_caption(report["impression"], report["findings"]) == report["caption"], report


def test_folder_split_reads_folders_not_file_names() -> None:
    assert folder_split("a/Validation/b/x.png") == "val"
    assert folder_split("testing/x.png") == "test"
    assert folder_split("a/test.png") == "train"


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a.png", "b/c.nii", ".x/y.png", "d/.z", "e/f/g", "b-1.nii", "b.nii", "b0/c"]), unique=True
    )
)
def test_raw_files_are_sorted_without_hidden_ones(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = tmp_path_factory.mktemp("raw")
    for name in names:
        put(root / name, b"")
    assert list(Raw(root).files()) == sorted(name for name in names if "/." not in f"/{name}")


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd"])
def test_tables_cannot_name_files_outside(tmp_path: Path, path: str) -> None:
    put(tmp_path / "secret", b"x")
    raw = Raw(tmp_path / "raw")
    assert not raw.has(path)
    with pytest.raises(BadInput, match="outside the dataset"):
        raw.read(path)
