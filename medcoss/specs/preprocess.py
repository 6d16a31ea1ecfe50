"""Parameters of `preprocess` jobs: one recipe turns a raw dataset into training shards."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from medcoss.modalities import BUILTIN, Kind, get_modality
from medcoss.specs.base import DatasetRef, Name, Seed, Spec, documented

Pixels = Annotated[int, Field(ge=16, le=1024, multiple_of=16)]


def _of_kind(name: str, kind: Kind) -> str:
    modality = get_modality(name)
    if modality.kind is not kind:
        raise ValueError(f"modality '{name}' is {modality.kind}, this recipe makes {kind} samples")
    return name


def _one_of(kind: Kind) -> dict[str, Any]:
    return {"enum": [name for name, modality in BUILTIN.items() if modality.kind is kind]}


def _needs_name(schema: dict[str, Any]) -> None:
    schema["required"] = ["name", *schema.get("required", [])]


class _Recipe(Spec):
    """A recipe: its name, which has a default in Python, tells it from the others in JSON."""

    model_config = ConfigDict(json_schema_extra=_needs_name)


class Splits(Spec):
    """How samples are divided into train, val and test."""

    method: Literal["folders", "random"] = documented(
        "folders: a path part named train, val (valid, validation, dev) or test decides, everything else is train; "
        "random: groups (volumes, studies), in the order of a seeded hash, are divided",
        default="folders",
    )
    val_fraction: float = documented("share of groups in val (method random)", "fraction", default=0.1, ge=0, le=0.5)
    test_fraction: float = documented("share of groups in test (method random)", "fraction", default=0.1, ge=0, le=0.5)


class ImageFolder(_Recipe):
    """Any folder of PNG, JPEG, TIFF or DICOM images, with class folders or mask files if there are any."""

    name: Literal["image_folder"] = documented("always image_folder", default="image_folder")
    modality: str = documented(
        "modality of the images: xray or pathology", default="xray", json_schema_extra=_one_of(Kind.IMAGE2D)
    )
    size: tuple[Pixels, Pixels] = documented("height and width after resizing", "pixel", default=(224, 224))
    labels: Literal["none", "folders"] = documented(
        "folders: the folder that directly holds an image is its class", default="none"
    )
    mask_suffix: str | None = documented(
        "file-name suffix (before the extension) that marks the mask of an image, e.g. '_mask'",
        default=None,
        max_length=32,
    )
    splits: Splits = documented("division into train, val and test", default=Splits())

    @field_validator("modality")
    @classmethod
    def _is_image(cls, value: str) -> str:
        return _of_kind(value, Kind.IMAGE2D)


class VolumeFolder(_Recipe):
    """Any folder of NIfTI volumes, with label maps named by a suffix if there are any."""

    name: Literal["volume_folder"] = documented("always volume_folder", default="volume_folder")
    modality: str = documented(
        "modality of the volumes: mr or ct", default="mr", json_schema_extra=_one_of(Kind.VOLUME3D)
    )
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

    @field_validator("modality")
    @classmethod
    def _is_volume(cls, value: str) -> str:
        return _of_kind(value, Kind.VOLUME3D)

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


class OpeniReports(_Recipe):
    """A CSV table of radiology reports with findings and impression columns (OpenI, MIMIC-CXR master tables)."""

    name: Literal["openi_reports"] = documented("always openi_reports", default="openi_reports")
    modality: Literal["report"] = documented("always report", default="report")
    id_column: str = documented("column that identifies a study", default="study_id", max_length=64)
    findings_column: str = documented("column with the findings", default="findings", max_length=64)
    impression_column: str = documented("column with the impression", default="impression", max_length=64)
    label_column: str | None = documented("column with a class name, if any", default=None, max_length=64)
    split_column: str | None = documented(
        "column with train, val or test; without it a seeded hash decides", default="split", max_length=64
    )
    min_tokens: int = documented("reports with fewer tokens are left out", "token", default=3, ge=1, le=100)


Recipe = Annotated[ImageFolder | VolumeFolder | OpeniReports, Field(discriminator="name")]


class PreprocessOptions(Spec):
    """How files become samples: every parameter but the input."""

    recipe: Recipe = documented("how the files become samples")
    max_bad_fraction: float = documented(
        "the job fails when more than this share of the inputs cannot be used", "fraction", default=0.1, ge=0, le=1
    )
    seed: Seed = documented("seed of random splits", default=0)


class _PreprocessInputs(Spec):
    dataset: DatasetRef = documented("raw dataset to read")


class PreprocessSpec(PreprocessOptions, _PreprocessInputs):
    """Turn a raw dataset into an immutable dataset version of training shards."""

    output_name: Name | None = documented("name of the new dataset; the raw dataset's name when left out", default=None)
