"""A batch of items to a file of records: what the processes of the pool do."""

import hashlib
import json
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from medcoss.preprocess.engine.records import End, write_end, write_found, write_sample
from medcoss.preprocess.raw import NotBrought, Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, recipe_of
from medcoss.run import BadInput
from medcoss.specs.recipes.base import RecipeSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """What is done to every item: samples are made, knowing the `findings` of a survey, or the survey itself.

    `plan` is the digest of all that decides about the outcome.
    """

    plan: str
    survey: bool = False
    findings: Any = None


@dataclass(frozen=True)
class Task:
    """Items of one recipe, numbered as in the plan, what is done to them and where their records go.

    `shared` are the files that every item may read besides its own; None when all files are there.
    """

    spec: RecipeSpec
    root: Path
    stage: Stage
    items: list[tuple[int, Item]]
    target: Path
    shared: frozenset[str] | None = None


def carry_out(task: Task) -> None:
    """Do what the stage of a task asks for to all its items. Raises OSError when the disk fails, NotBrought."""
    with task.target.open("wb") as file:
        for number, item in task.items:
            write_end(file, _one(task, number, item, file))


def _one(task: Task, number: int, item: Item, file: IO[bytes]) -> End:
    """Write the samples of one item, all or none."""
    only = None if task.shared is None else task.shared.union(item.files)
    raw, start = Raw(task.root, task.stage.findings, only=only), file.tell()
    try:
        if task.stage.survey:
            write_found(file, next(_asked(lambda: [recipe_of(task.spec).survey(task.spec, item, raw)])))
            return End(number, "made")
        described = recipe_of(task.spec).describe(task.spec)
        for made in _asked(lambda: recipe_of(task.spec).make(task.spec, item, raw)):
            _check(described, made)
            write_sample(file, made)
        digest = raw.digest(item.files[0]) if item.files else _digest(item)
        return End(number, "made", digest, findings=task.stage.findings)
    except BadInput as error:
        end = End(number, "bad", path=error.where or item.name, reason=error.message)
    except LeftOut as error:
        end = End(number, "left_out", path=error.path, reason=error.reason)
    except MemoryError:
        end = End(number, "bad", path=item.name, reason="it does not fit into memory; split it or use a larger machine")
    file.seek(start)
    file.truncate()
    return end


def _asked(recipe: Callable[[], Iterable[T]]) -> Iterator[T]:
    """What a recipe gives. An input that it was not prepared for is bad, and ends no job of hours; its error's text
    may hold header values and is not told.
    """
    try:
        yield from recipe()
    except (BadInput, LeftOut, MemoryError, NotBrought, OSError):
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise BadInput(
            f"the recipe is not prepared for this input ({type(error).__name__} at {Path(place.filename).name}:"
            f"{place.lineno}); leave it out, or report it"
        ) from error


def _check(described: Described, made: Made) -> None:
    """Refuse samples that are not what the recipe has promised: they would end a training hours later."""
    shape = None if made.image is None else made.image.shape
    if shape is not None and shape != tuple(described.shape):
        raise BadInput(f"the recipe made a sample of shape {shape} of it, expected {described.shape}; report it")
    if (made.mask is not None) != described.has_masks:
        raise BadInput(f"the recipe made a sample {'with' if made.mask is not None else 'without'} mask; report it")


def _digest(item: Item) -> str:
    """What an item without files is recognised by: a row of a table, its name in it included."""
    return hashlib.sha256(json.dumps([item.group or item.name, item.data]).encode()).hexdigest()


def crashed(number: int, item: Item) -> End:
    """The end of an item whose process was killed by it."""
    return End(number, "bad", path=item.name, reason="reading it ended the process (out of memory, or the file breaks "
               "its decoder); check the file, or leave it out")  # fmt: skip
