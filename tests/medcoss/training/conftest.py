"""Encoders that train in milliseconds."""

from collections.abc import Iterator

import pytest

from medcoss.specs.encoder import SIZES
from tests.medcoss.export.small_models import CONFIG


@pytest.fixture(autouse=True, scope="module")
def tiny_is_tiny() -> Iterator[None]:
    """The size `tiny` stands for a 48-dimensional encoder of three blocks."""
    original = SIZES["tiny"]
    SIZES["tiny"] = CONFIG
    yield
    SIZES["tiny"] = original
