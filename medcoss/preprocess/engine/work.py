"""A batch of items to a file of records: what the processes of the pool do."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from medcoss.preprocess.engine.records import End, write_end, write_sample
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, recipe_of
from medcoss.run import BadInput
from medcoss.specs.recipes.base import RecipeSpec


@dataclass(frozen=True)
class Task:
    """Items of one recipe, numbered as in the plan, and where their records go."""

    spec: RecipeSpec
    root: Path
    items: list[tuple[int, Item]]
    target: Path


def carry_out(task: Task) -> None:
    """Make the samples of all items of a task. What an item raises but BadInput, LeftOut and MemoryError is an error
    of the recipe.
    """
    with task.target.open("wb") as file:
        for number, item in task.items:
            write_end(file, _one(task, number, item, file))


def _one(task: Task, number: int, item: Item, file: IO[bytes]) -> End:
    """Write the samples of one item, all or none."""
    recipe, raw, start = recipe_of(task.spec), Raw(task.root), file.tell()
    described = recipe.describe(task.spec)
    try:
        for made in recipe.make(task.spec, item, raw):
            _check(described, made, item)
            write_sample(file, made)
        return End(number, "made", raw.digest(item.files[0]) if item.files else _digest(item))
    except BadInput as error:
        end = End(number, "bad", path=error.where or item.name, reason=error.message)
    except LeftOut as error:
        end = End(number, "left_out", path=error.path, reason=error.reason)
    except MemoryError:
        end = End(number, "bad", path=item.name, reason="it does not fit into memory; split it or use a larger machine")
    file.seek(start)
    file.truncate()
    return end


def _check(described: Described, made: Made, item: Item) -> None:
    """Refuse samples that are not what the recipe has promised: they would end a training hours later."""
    shape = None if made.image is None else made.image.shape
    if shape is not None and shape != tuple(described.shape):
        raise ValueError(f"{item.name}: the recipe made a sample of shape {shape}, described are {described.shape}")
    if (made.mask is not None) != described.has_masks:
        raise ValueError(f"{item.name}: the recipe made a sample {'with' if made.mask is not None else 'without'} mask")


def _digest(item: Item) -> str:
    """What an item without files is recognised by: a row of a table, its name in it included."""
    return hashlib.sha256(json.dumps([item.group or item.name, item.data]).encode()).hexdigest()


def crashed(number: int, item: Item) -> End:
    """The end of an item whose process was killed by it."""
    return End(number, "bad", path=item.name, reason="reading it ended the process (out of memory, or the file breaks "
               "its decoder); check the file, or leave it out")  # fmt: skip
