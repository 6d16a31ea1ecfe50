"""The modalities an encoder learns: five built in, others declared as data."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Kind(StrEnum):
    """How a sample is shaped, which decides the embedding and the decoder that read it."""

    TEXT = "text"
    IMAGE2D = "image2d"
    VOLUME3D = "volume3d"


Size = Annotated[int, Field(ge=1, le=4096)]
ModalityName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


# what the encoder reads: grey and colour images, volumes of one channel
CHANNELS = {Kind.TEXT: (1,), Kind.IMAGE2D: (1, 3), Kind.VOLUME3D: (1,)}
SIZES: dict[Kind, tuple[int, ...]] = {Kind.TEXT: (112,), Kind.IMAGE2D: (224, 224), Kind.VOLUME3D: (16, 192, 192)}
EDGE = 16


class Modality(BaseModel):
    """One kind of medical data: built in, or declared in a spec, `{"name": "ultrasound", "kind": "image2d"}`.

    `size` is the default sample size: `(tokens,)` for text, `(height, width)` in pixels
    for images, `(depth, height, width)` in voxels for volumes. `patch` has the same
    length; text has none. Both may be left out together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ModalityName = Field(description="name of the modality, none of the built-in ones where it is declared")
    kind: Kind = Field(description="how a sample is shaped: text, image2d or volume3d")
    channels: int = Field(
        1, ge=1, le=3, description="1: grey images, or volumes; 3: colour images", json_schema_extra={"unit": "channel"}
    )
    size: tuple[Size, ...] = Field(
        description="default size of a sample, without channels; a recipe has a size of its own",
        json_schema_extra={"unit": "voxel"},
    )
    patch: tuple[Size, ...] = Field((), description="edges of a patch, always 16", json_schema_extra={"unit": "voxel"})
    embedding: Literal["own", "shared"] = Field(
        "own", description="of a declared image or volume: own: the encoder gains a patch embedding for it, which "
        "starts as a copy of the one of its kind; shared: it uses that, as X-rays and pathology share theirs"
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _usual_sizes(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("kind") not in [*Kind] or {"size", "patch"} & values.keys():
            return values
        kind = Kind(values["kind"])
        usual = {"size": SIZES[kind], "patch": () if kind is Kind.TEXT else (EDGE,) * len(SIZES[kind])}
        return usual | values

    @model_validator(mode="after")
    def _size_fits_kind(self) -> "Modality":
        axes = {Kind.TEXT: 1, Kind.IMAGE2D: 2, Kind.VOLUME3D: 3}[self.kind]
        if len(self.size) != axes:
            raise ValueError(f"size of a {self.kind} modality needs {axes} numbers, found {len(self.size)}")
        if self.kind is not Kind.TEXT and (
            len(self.patch) != axes or any(s % p for s, p in zip(self.size, self.patch, strict=True))
        ):
            raise ValueError(f"size {self.size} must be a multiple of patch {self.patch} on every axis")
        if any(edge != EDGE for edge in self.patch):
            raise ValueError(f"patch {self.patch} is not possible; the encoder reads patches of {EDGE} on every axis")
        if self.channels not in CHANNELS[self.kind]:
            known = " or ".join(map(str, CHANNELS[self.kind]))
            raise ValueError(f"{self.channels} channels of {self.kind} are not possible; expected {known}")
        return self

    def alike(self, other: "Modality") -> bool:
        """True when samples of both are read in the same way, whatever their size."""
        return (self.kind, self.channels, self.embedding) == (other.kind, other.channels, other.embedding)

    @property
    def has_own_embedding(self) -> bool:
        """True for what the encoder embeds by weights of its own; reports share the word pieces."""
        return self.name not in BUILTIN and self.embedding == "own" and self.kind is not Kind.TEXT


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
