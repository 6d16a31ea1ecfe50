"""The odd recipe with a survey: every sample is the number of words in the whole training split."""

from collections.abc import Iterator

import numpy as np

from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Item, Made
from medcoss.run import BadInput
from tests.medcoss.preprocess.odd_recipe import Odd, describe, plan

__all__ = ["conclude", "describe", "make", "plan", "survey"]


def survey(spec: Odd, item: Item, raw: Raw) -> int:
    """Words of one file."""
    words = raw.read(item.name).split()
    if words[0] == b"bad":
        raise BadInput("it says that it is bad; expected ok", item.name)
    return len(words)


def conclude(spec: Odd, surveyed: Iterator[tuple[Item, int | None]]) -> dict[str, int]:
    """All words."""
    found = list(surveyed)
    assert sum(number is None for _, number in found) == 14
    return {"words": sum(number or 0 for item, number in found if item.split == "train")}


def make(spec: Odd, item: Item, raw: Raw) -> Iterator[Made]:
    """One sample."""
    survey(spec, item, raw)
    yield Made(np.full((1, 16, 16), raw.findings["words"], np.uint8))
