"""The modalities an encoder learns: five built in, others declared as data."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Kind(StrEnum):
    """How a sample is shaped, which decides the embedding and the decoder that read it."""

    TEXT = "text"
    IMAGE2D = "image2d"
    VOLUME3D = "volume3d"


Size = Annotated[int, Field(ge=1, le=4096)]


class Modality(BaseModel):
    """One kind of medical data.

    `size` is the default sample size: `(tokens,)` for text, `(height, width)` in pixels
    for images, `(depth, height, width)` in voxels for volumes. `patch` has the same
    length; text has none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    kind: Kind
    channels: Annotated[int, Field(ge=1, le=16)] = 1
    size: tuple[Size, ...]
    patch: tuple[Size, ...] = ()

    @model_validator(mode="after")
    def _size_fits_kind(self) -> "Modality":
        axes = {Kind.TEXT: 1, Kind.IMAGE2D: 2, Kind.VOLUME3D: 3}[self.kind]
        if len(self.size) != axes:
            raise ValueError(f"size of a {self.kind} modality needs {axes} numbers, found {len(self.size)}")
        if self.kind is not Kind.TEXT and (
            len(self.patch) != axes or any(s % p for s, p in zip(self.size, self.patch, strict=True))
        ):
            raise ValueError(f"size {self.size} must be a multiple of patch {self.patch} on every axis")
        return self


REPORT = Modality(name="report", kind=Kind.TEXT, size=(112,))
XRAY = Modality(name="xray", kind=Kind.IMAGE2D, channels=1, size=(224, 224), patch=(16, 16))
CT = Modality(name="ct", kind=Kind.VOLUME3D, channels=1, size=(16, 192, 192), patch=(16, 16, 16))
MR = Modality(name="mr", kind=Kind.VOLUME3D, channels=1, size=(16, 192, 192), patch=(16, 16, 16))
PATHOLOGY = Modality(name="pathology", kind=Kind.IMAGE2D, channels=3, size=(224, 224), patch=(16, 16))

BUILTIN: dict[str, Modality] = {m.name: m for m in (REPORT, XRAY, CT, MR, PATHOLOGY)}


def get_modality(name: str) -> Modality:
    """The built-in modality called `name`.

    Raises ValueError naming the known modalities when there is none.
    """
    try:
        return BUILTIN[name]
    except KeyError:
        raise ValueError(f"unknown modality '{name}'; expected one of {', '.join(BUILTIN)}") from None
