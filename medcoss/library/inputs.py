"""Single inputs in the forms a script has them: texts, files, bytes, arrays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medcoss.data.tokenizer import Tokenizer
from medcoss.modalities import Kind
from medcoss.preprocess.io import read_image, read_volume, scaled_to_bytes
from medcoss.preprocess.serving import ServingPipeline
from medcoss.run import BadInput

Arrays = tuple[NDArray[Any], ...]


def decoder(recipe: dict[str, Any], kind: Kind, vocabulary: Path) -> Callable[[Any, str], Arrays]:
    """The function from one input and its name, for errors, to the model's inputs, each with a leading axis.

    `recipe` is the preprocessing recorded with the model. Raises BadInput when reports need a `vocabulary` that is
    missing; the function raises it for an input that cannot be used.
    """
    pipeline = ServingPipeline(recipe, kind)
    if kind is Kind.IMAGE2D:
        return lambda value, name: (pipeline.pixels(_image(value, name)),)
    if kind is Kind.VOLUME3D:
        return lambda value, name: (pipeline.voxels(_volume(value, name)).windows,)
    if not vocabulary.is_file():
        raise BadInput("the model folder has no vocab.txt to read reports with", "model")
    tokenizer = Tokenizer(vocabulary)

    def text(value: Any, name: str) -> Arrays:
        if not isinstance(value, str):
            raise BadInput(f"expected the text of a report, found {_kind_of(value)}", name)
        try:
            encoded = pipeline.text(value, tokenizer)
        except BadInput as error:
            raise BadInput(error.message, name) from None
        return encoded.ids[None], encoded.attention[None]

    return text


def _image(value: Any, name: str) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3), 8 bit; other grey values are scaled by their own range, as those of 16-bit files are."""
    if not isinstance(value, np.ndarray):
        return read_image(*_content(value, name, "an image: a file, bytes, or an array (H, W) or (H, W, 3)"))
    colour = value.ndim == 3 and value.shape[-1] == 3
    if not (value.ndim == 2 or colour) or value.size == 0:
        raise BadInput(f"this array is {value.shape}; expected (H, W) or (H, W, 3)", name)
    if value.dtype == np.uint8:
        return value
    if colour or value.dtype.kind not in "uif":
        raise BadInput(f"this array holds {value.dtype}; expected uint8, or numbers of one channel", name)
    return scaled_to_bytes(value, name)


def _volume(value: Any, name: str) -> sitk.Image:
    """A volume with its geometry; an array (D, H, W) goes from foot to head, front to back, right to left."""
    if not isinstance(value, np.ndarray):
        return read_volume(*_content(value, name, "a volume: a file, bytes, or an array (D, H, W)"))
    if value.ndim != 3 or min(value.shape) < 2:
        raise BadInput(f"this array is {value.shape}; expected (D, H, W) with at least 2 voxels on every axis", name)
    if value.dtype.kind not in "uif" or not np.isfinite(value).all():
        raise BadInput(f"this array ({value.dtype}) holds what is no finite number; replace it", name)
    return sitk.GetImageFromArray(value.astype(np.float32))


def _content(value: Any, name: str, expected: str) -> tuple[bytes, str]:
    """The bytes of a file and what to call it."""
    if isinstance(value, bytes):
        return value, name
    if not isinstance(value, str | Path):
        raise BadInput(f"expected {expected}, found {_kind_of(value)}", name)
    path = Path(value).expanduser()
    if not path.is_file():
        raise BadInput(f"there is no file {path}; expected {expected}", name)
    return path.read_bytes(), str(path)


def _kind_of(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
