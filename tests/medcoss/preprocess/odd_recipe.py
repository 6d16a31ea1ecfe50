"""A recipe whose files say in words what they do: `ok 3` makes three samples, others are bad, kill or break.

Names are `<patient>_<anything>.txt`, folders name published splits.
"""

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from medcoss.modalities import Kind
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.run import BadInput
from medcoss.specs.names import SPLIT_NAMES
from medcoss.specs.preprocess import PreprocessOptions
from medcoss.specs.recipes.base import RecipeSpec, Splits


class Odd(RecipeSpec):
    """Its parameters."""

    name: Literal["odd"] = "odd"
    modality: str = "xray"
    splits: Splits = Splits(method="random")

    @property
    def implementation(self) -> str:
        """This module."""
        return __name__


class Surveyed(Odd):
    """A recipe whose samples depend on all items."""

    name: Literal["surveyed"] = "surveyed"  # type: ignore[assignment]

    @property
    def implementation(self) -> str:
        """The module with a survey."""
        return "tests.medcoss.preprocess.surveyed_recipe"


def options(max_bad_fraction: float = 1, seed: int = 0, recipe: RecipeSpec = Odd()) -> PreprocessOptions:  # noqa: B008
    """A job's options with this recipe, which the platform does not know."""
    return PreprocessOptions.model_construct(recipe=recipe, max_bad_fraction=max_bad_fraction, seed=seed)


def describe(spec: Odd) -> Described:
    """Tiny images."""
    return Described(Kind.IMAGE2D, (1, 16, 16))


def plan(spec: Odd, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """Text files."""
    for path in raw.files((".txt",)):
        name = PurePosixPath(path)
        if "nobody" in name.name:
            yield Rejected(path, "nobody is no patient")
            continue
        patient = name.stem.split("_")[0] if "_" in name.stem else None
        split = SPLIT_NAMES.get(name.parts[0]) if len(name.parts) > 1 else None
        yield Item(path, (path,), patient=patient, split=split, label=name.stem[-1])


def make(spec: Odd, item: Item, raw: Raw) -> Iterator[Made]:
    """What the file says."""
    word, *numbers = raw.read(item.name).decode().split()
    for number in range(int(numbers[0]) if numbers else 0):
        rng = np.random.default_rng([number, *item.name.encode()])
        yield Made(rng.integers(0, 99, (1, 16, 16)).astype(np.uint8), offset=number, spacing=(0.1, 0.2, 0.3))
    if word == "bad":
        raise BadInput("it says that it is bad; expected ok", item.name)
    if word == "left":
        raise LeftOut(item.name, "it wants to be left out")
    if word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "shape":
        yield Made(np.zeros((1, 8, 8), np.uint8))
    if word == "disk":
        raise OSError(errno.ENOSPC, "No space left on device")
    if word == "break":
        raise ZeroDivisionError("a mistake in the recipe")
