"""Reading a foreign checkpoint file: tensors and plain values alone, nothing in it is executed."""

import argparse
import pathlib
import pickle
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy._core.multiarray import scalar
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from medcoss.run import BadInput
from medcoss.specs.imports import CHECKPOINT_SUFFIXES

# the key of our own settings, which other readers leave alone
SETTINGS = "medcoss"
# beside tensors, published checkpoints hold the arguments of the run that made them, numpy numbers among them
_HARMLESS: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    scalar,
    (scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(code)) for code in ("bool", "int32", "int64", "float32", "float64")),
]


def file_in(folder: Path, name: str | None, field: str) -> Path:
    """The file `name` of a dataset's folder, or its only checkpoint. Raises BadInput naming what is there instead."""
    there = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    fits = [p for p in there if (p == name if name else p.lower().endswith(CHECKPOINT_SUFFIXES))]
    if len(fits) == 1:
        return folder / fits[0]
    wanted = f"there is no {name}" if name else f"{len(fits)} checkpoints found; expected one, or its path"
    raise BadInput(f"{wanted} in the dataset, which holds {', '.join(there[:10])}", field)


class Settings(BaseModel):
    """What the tensors of an encoder cannot say, as `export_checkpoint` writes it beside them; None: not said."""

    attention: Literal["bidirectional", "published", "published_batched"] | None = None
    positions: Literal["grid", "flat"] | None = None
    modalities: tuple[str, ...] | None = None


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The model's tensors of a `.pth`, `.pt`, `.bin` or `.safetensors` file, by name; see `read_file`."""
    return read_file(path)[0]


def read_file(path: Path) -> tuple[dict[str, Tensor], Settings]:
    """The model's tensors of a `.pth`, `.pt`, `.bin` or `.safetensors` file, by name, and the settings beside them.

    The tensors lie in the file until they are used, where its format allows, so that the optimizer's state beside
    them costs no memory. Raises BadInput for a file that is not there, is damaged, is no checkpoint, or holds objects
    of other classes.
    """
    if not path.is_file():
        there = "this is a folder" if path.is_dir() else f"there is no file {path}"
        raise BadInput(f"{there}; expected a checkpoint, one file of {', '.join(CHECKPOINT_SUFFIXES)}", path.name)
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path)), Settings()
        except SafetensorError as error:
            raise BadInput(f"this is no whole safetensors file ({error}); fetch it again", path.name) from error
    loaded = _load(path)
    if not isinstance(loaded, dict):
        raise BadInput(f"this holds a {type(loaded).__name__}; expected tensors by name", path.name)
    tensors = loaded.get("model", loaded)
    if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
        raise BadInput(f"'model' is a {type(tensors).__name__}; expected tensors by name", path.name)
    others = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if others or not tensors:
        found = ", ".join(others[:5]) or "nothing"
        raise BadInput(f"this holds {found} beside tensors; expected tensors by name, or a dictionary with them under "
                       "'model'", path.name)  # fmt: skip
    return tensors, _settings(loaded, path.name)


def _settings(loaded: dict[str, Any], where: str) -> Settings:
    try:
        return Settings() if SETTINGS not in loaded else Settings.model_validate(loaded[SETTINGS])
    except ValidationError as error:
        said = error.errors()[0]
        wrong = f"{'.'.join(map(str, said['loc']))}: {said['msg']}"
        raise BadInput(f"'{SETTINGS}' in the file is not what export-checkpoint writes ({wrong}); export it again",
                       where) from None  # fmt: skip


def _load(path: Path) -> Any:
    zipped = zipfile.is_zipfile(path)
    with _explained(path, zipped), safe_globals(_HARMLESS):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)


@contextmanager
def _explained(path: Path, zipped: bool) -> Iterator[None]:
    """Turn what torch raises about a file into a BadInput."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # a damaged pickle raises whatever it likes
        foreign = _foreign(path, zipped, error)
        if not foreign:
            raise BadInput(
                "this is no checkpoint of PyTorch, or it is cut short; fetch the file again", path.name
            ) from error
        raise BadInput(
            f"this holds objects of {', '.join(foreign[:5])}, which are not loaded because that can execute code; save "
            "its tensors alone: torch.save({'model': model.state_dict()}, ...)",
            path.name,
        ) from error


def _foreign(path: Path, zipped: bool, error: Exception) -> list[str]:
    """The classes and functions that a file refers to and that are not loaded."""
    if not isinstance(error, pickle.UnpicklingError):
        return []
    if not zipped:
        # the older format cannot be asked, but the message names the first
        return re.findall(r"GLOBAL ([\w.]+)", str(error))[:1]
    with safe_globals(_HARMLESS):
        return sorted(get_unsafe_globals_in_checkpoint(path))
