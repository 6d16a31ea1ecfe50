"""Parameters of the recipe `la_seg`."""

from typing import ClassVar, Literal

from pydantic import model_validator

from medcoss.specs.base import documented
from medcoss.specs.names import VOLUME_SUFFIXES
from medcoss.specs.recipes.base import Pixels, RecipeSpec, Splits


class LaSeg(RecipeSpec):
    """2018 Left Atrium challenge: MR with outlines of the left atrium, as NRRD, h5 files or NIfTI pairs."""

    suffixes: ClassVar[tuple[str, ...]] = (".h5", *VOLUME_SUFFIXES)
    expected: ClassVar[str] = (
        "<case>/lgemri.nrrd with laendo.nrrd, h5 files, or NIfTI pairs <case>.nii.gz and <case>_label.nii.gz"
    )

    name: Literal["la_seg"] = documented("always la_seg", default="la_seg")
    modality: Literal["mr"] = documented("always mr", default="mr")
    size: tuple[Pixels, Pixels, Pixels] = documented(
        "depth, height and width of a tile", "voxel", default=(16, 192, 192)
    )
    stride: int = documented("slices between the starts of two tiles", "slice", default=8, ge=1, le=512)
    splits: Splits = documented(
        "division of the cases that stand in no list (train.list, val.list, test.list) and not in a published set",
        default=Splits(method="random"),
    )

    @model_validator(mode="after")
    def _tiles_leave_no_gap(self) -> "LaSeg":
        if self.stride > self.size[0]:
            raise ValueError(f"stride {self.stride} is larger than the depth of a tile, {self.size[0]}: slices between "
                             "tiles would be lost")  # fmt: skip
        return self
