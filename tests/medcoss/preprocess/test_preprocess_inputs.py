"""What recipes share: the files they see, the splits they draw, the captions they clean."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcoss.preprocess.captions import clean_caption
from medcoss.preprocess.inputs import assign_splits, folder_split, random_splits, raw_files
from medcoss.specs.preprocess import Splits
from tests.medcoss.preprocess.files import put


def test_captions_are_the_published_ones(parity: Path) -> None:
    golden = json.loads((parity / "captions.json").read_text(encoding="utf-8"))["reports"]
    assert len(golden) == 40
    for report in golden:
        assert clean_caption(report["impression"], report["findings"]) == report["caption"], report


# splits


@given(st.lists(st.text("abc/.", min_size=1, max_size=6), min_size=1, max_size=60), st.integers(0, 99))
def test_random_splits_divide_groups_whole_and_reproducibly(groups: list[str], seed: int) -> None:
    splits = Splits(method="random", val_fraction=0.2, test_fraction=0.3)
    paths = {f"{group}-{i}": group for i, group in enumerate(groups)}
    found = assign_splits(paths, splits, seed)
    assert found == assign_splits(dict(reversed(paths.items())), splits, seed)
    by_group = {group: {found[path] for path in paths if paths[path] == group} for group in groups}
    assert all(len(kinds) == 1 for kinds in by_group.values())
    kinds = [kind for (kind,) in by_group.values()]
    assert kinds.count("test") == round(0.3 * len(kinds))
    assert kinds.count("val") == round(0.2 * len(kinds))


def test_random_splits_depend_on_the_seed() -> None:
    groups = [str(i) for i in range(50)]
    splits = Splits(method="random")
    assert random_splits(groups, splits, 1) != random_splits(groups, splits, 2)


def test_folder_split_reads_folders_not_file_names() -> None:
    assert folder_split("a/Validation/b/x.png") == "val"
    assert folder_split("testing/x.png") == "test"
    assert folder_split("a/test.png") == "train"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["a.png", "b/c.nii", ".x/y.png", "d/.z", "e/f/g"]), unique=True))
def test_raw_files_are_sorted_without_hidden_ones(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = tmp_path_factory.mktemp("raw")
    for name in names:
        put(root / name, b"")
    assert raw_files(root) == sorted(name for name in names if "/." not in f"/{name}")
