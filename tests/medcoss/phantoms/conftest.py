"""Small sets of sample data, written once: the same phantoms, fewer files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medcoss.phantoms import ct, mr, pathology, write_sample_data, xray

FEW = {"train": 1, "validation": 1, "test": 1}
WriteFew = Callable[[int], Path]


@pytest.fixture(scope="session")
def write_few(tmp_path_factory: pytest.TempPathFactory) -> WriteFew:
    """Write a small set with a seed into a new folder."""

    def write(seed: int) -> Path:
        folder = tmp_path_factory.mktemp("sample-data")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(xray, "COUNTS", FEW)
            patch.setattr(pathology, "COUNTS", FEW)
            patch.setattr(mr, "COUNT", 4)
            patch.setattr(ct, "COUNT", 2)
            write_sample_data(folder, seed=seed)
        return folder

    return write


@pytest.fixture(scope="session")
def few(write_few: WriteFew) -> Path:
    """A small set with seed 0."""
    return write_few(0)
