"""What is known of structures and done to predicted masks: steps of post-processing, as data."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from medcoss.specs.base import Spec, documented

ClassName = Annotated[str, Field(min_length=1, max_length=64)]
ClassRef = Annotated[int, Field(ge=0, le=1023)] | ClassName
_OF = "the class: its name in the dataset, e.g. {0}, or its place among the classes, from 0"


class LargestComponent(Spec):
    """Of an organ that there is once: its largest connected part stays."""

    step: Literal["largest_component"] = documented("always largest_component", default="largest_component")
    of: ClassRef = documented(_OF.format("liver"), "class")

    @property
    def classes(self) -> tuple[int | str, ...]:
        """The classes that have to be there."""
        return (self.of,)


class Within(Spec):
    """Of a lesion that lies in an organ: what is outside of the organ goes."""

    step: Literal["within"] = documented("always within", default="within")
    of: ClassRef = documented(_OF.format("tumour"), "class")
    organ: ClassRef = documented("the class that it lies in, e.g. liver, likewise", "class")

    @property
    def classes(self) -> tuple[int | str, ...]:
        """The classes that have to be there."""
        return (self.of, self.organ)


class RemoveSmall(Spec):
    """Connected parts that are too small to be what is looked for go."""

    step: Literal["remove_small"] = documented("always remove_small", default="remove_small")
    of: ClassRef = documented(_OF.format("tumour"), "class")
    below: float = documented(
        "smallest part that stays: mm³ of volumes, pixels of images, whose pixel size is not known",
        "mm³ or pixel", gt=0, le=1e9,
    )  # fmt: skip

    @property
    def classes(self) -> tuple[int | str, ...]:
        """The classes that have to be there."""
        return (self.of,)


PostProcessing = Annotated[LargestComponent | Within | RemoveSmall, Field(discriminator="step")]
Steps = tuple[PostProcessing, ...]


def place_of(ref: int | str, classes: Sequence[str]) -> int | None:
    """The place of a class among `classes`; None where there is no such class."""
    if isinstance(ref, int):
        return ref if ref < len(classes) else None
    return classes.index(ref) if ref in classes else None


def unknown(steps: Sequence[PostProcessing], classes: Sequence[str]) -> Iterator[tuple[int, int | str]]:
    """Places of steps that name a class which there is not, and that class."""
    for place, step in enumerate(steps):
        yield from ((place, ref) for ref in step.classes if place_of(ref, classes) is None)
