"""Parameters of the recipe `volume_folder`."""

from typing import ClassVar, Literal

from pydantic import model_validator

from medcoss.specs.base import documented
from medcoss.specs.names import VOLUME_SUFFIXES
from medcoss.specs.recipes.base import OR_DECLARED, PatientsByPath, Pixels, Splits, VolumeModality


class VolumeFolder(PatientsByPath):
    """Any folder of NIfTI volumes, with label maps named by a suffix if there are any."""

    suffixes: ClassVar[tuple[str, ...]] = VOLUME_SUFFIXES
    expected: ClassVar[str] = "NIfTI, MHA or NRRD volumes"

    name: Literal["volume_folder"] = documented("always volume_folder", default="volume_folder")
    modality: VolumeModality = documented("modality of the volumes: mr or ct" + OR_DECLARED % "volume3d", default="mr")
    size: tuple[Pixels, Pixels, Pixels] = documented(
        "depth, height and width of a tile: slices are resized to height x width, tiles are depth slices deep",
        "voxel",
        default=(16, 192, 192),
    )
    stride: int = documented("slices between the starts of two tiles", "slice", default=8, ge=1, le=512)
    drop_outer: float = documented(
        "share of slices left out at both ends of a volume without a label map", "fraction", default=0.1, ge=0, le=0.4
    )
    intensity: Literal["auto", "percentile_zscore", "hounsfield"] = documented(
        "percentile_zscore: clip each tile to its 0.2 and 99.8 percentiles, then z-score; hounsfield: clip to "
        "[-1024, 1024] HU, divide by 1024; auto: hounsfield for ct, else percentile_zscore",
        default="auto",
    )
    label_suffix: str | None = documented(
        "file-name suffix (before .nii) that marks the label map of a volume, e.g. '_label'",
        default=None,
        max_length=32,
    )
    label_names: tuple[str, ...] = documented(
        "names of the label values 1, 2, ... in the label maps; needed with label_suffix", default=(), max_length=64
    )
    splits: Splits = documented("division into train, val and test", default=Splits(method="random"))

    @model_validator(mode="after")
    def _tiles_leave_no_gap(self) -> "VolumeFolder":
        if self.stride > self.size[0]:
            raise ValueError(f"stride {self.stride} is larger than the depth of a tile, {self.size[0]}: slices between "
                             "tiles would be lost")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _labels_are_named(self) -> "VolumeFolder":
        if bool(self.label_suffix) != bool(self.label_names):
            raise ValueError("label_suffix and label_names go together: give both or neither")
        return self
