"""What a recipe is: a module that plans items from names and tables and makes samples of one item.

A recipe is a module `medcoss.preprocess.recipes.<name>` with the functions of `Recipe`, and its parameters
`medcoss.specs.recipes.<name>`. It knows nothing of shards, processes, progress or resuming: those are the engine's.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medcoss.data.originals import Original
from medcoss.modalities import Kind
from medcoss.preprocess.raw import Raw
from medcoss.specs.recipes.base import RecipeSpec


@dataclass(frozen=True)
class Item:
    """What becomes samples together: one image, one volume with its label map, one report.

    `name` is what the report calls it and the source of its samples; `files` are read for it, the first being what
    it is recognised by. Samples of one `group` (default: the name) belong to one case, a volume say. `patient` is
    the patient's plain identifier: it is hashed before anything is written. Without one, the content stands for
    the patient. `split` is the published one; None leaves it to the seeded division by patient. `label` is the
    name of a class. `data` is whatever else `make` needs: plain JSON, so tuples come back as lists.
    """

    name: str
    files: tuple[str, ...] = ()
    group: str = ""
    patient: str | None = None
    split: str | None = None
    label: str | None = None
    data: Any = None


@dataclass(frozen=True)
class Rejected:
    """An input that is already known to be of no use when the names and tables are read."""

    path: str
    reason: str


class LeftOut(Exception):
    """A good input that makes no samples, by a rule of the recipe: yielded by `plan` or raised by `make`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


@dataclass(frozen=True)
class Made:
    """One sample: `image` as it is stored, uint8 (C, H, W) or float32 (1, D, H, W); `mask` uint8 (K, ...); `text`.

    Tiles of volumes carry their first slice `offset`, the number of `slices` of their volume and the `spacing` in mm
    (z, y, x) of the stored grid. `original` is the mask as it was, on the first sample of its case: segmenters are
    scored there.
    """

    image: NDArray[Any] | None = None
    mask: NDArray[np.uint8] | None = None
    text: str = ""
    offset: int = 0
    slices: int = 0
    spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    original: Original | None = None


@dataclass(frozen=True)
class Described:
    """What the samples of a recipe are.

    `shape` is `(C, H, W)`, `(1, D, H, W)` or `(tokens,)`. `classes` in a fixed order; None takes the labels of the
    items, sorted. `cohort` names the source that the patients'
    identifiers belong to, so that two recipes on the same patients know them again; default: the recipe's name.
    """

    kind: Kind
    shape: tuple[int, ...]
    classes: tuple[str, ...] | None = None
    has_masks: bool = False
    cohort: str = ""


class Recipe(Protocol):
    """The module of a recipe.

    `plan` yields items in an order that depends on the raw files alone, each sample's place in the dataset. `make`
    runs in other processes, one item at a time; it raises BadInput(message, file) for what cannot be used.

    A recipe whose samples depend on the whole dataset (nnU-Net's fingerprint, say) has two more functions:
    `survey(spec, item, raw)`, which runs in other processes like `make` and gives plain JSON of one item or None, and
    `conclude(spec, surveyed)`, which makes plain JSON of an iterator of (item with its split, what `survey` gave) in
    the order of the plan. `make` finds that as `raw.findings`.

    A model is served with the step of its recipe that takes a single input, if the module has it: of images
    `fitted(image, spec)`, of volumes `tiled(volume, spec)` or, where the spacing takes part,
    `tiled_image(image, spec)`, of reports `captioned(text, spec)`. `make` calls it, too.
    Of a recipe whose tiles are cut out of a resampled volume it is `served(image, spec, findings)`, which gives that
    volume (1, D, H, W) and its Placement.
    """

    def describe(self, spec: Any) -> Described:
        """What the samples will be; reads nothing."""

    def plan(self, spec: Any, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
        """The items, from names and tables."""

    def make(self, spec: Any, item: Item, raw: Raw) -> Iterable[Made]:
        """The samples of one item."""


def recipe_of(spec: RecipeSpec) -> Any:
    """The module that carries out `spec`: a `Recipe`, perhaps with some of the further functions."""
    return import_module(spec.implementation)
