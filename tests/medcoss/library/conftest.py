"""Small inputs and encoders that train in milliseconds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.medcoss.training.conftest import tiny_is_tiny  # noqa: F401 - a fixture that takes effect by itself
from tests.medcoss.training.small import reports, xrays


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def images(folder: Path) -> Path:
    """Twelve PNG files in two class folders."""
    rng = np.random.default_rng(0)
    for i in range(12):
        path = folder / "images" / ("left", "right")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(path)
    return folder / "images"


@pytest.fixture(scope="module")
def stripes(folder: Path) -> Path:
    return xrays(folder / "stripes")


@pytest.fixture(scope="module")
def sentences(folder: Path) -> Path:
    return reports(folder / "sentences")
