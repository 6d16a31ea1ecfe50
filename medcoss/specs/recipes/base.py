"""What the parameters of all recipes share."""

import re
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from medcoss.modalities import BUILTIN, Kind, Modality, get_modality
from medcoss.specs.base import Spec, documented

Pixels = Annotated[int, Field(ge=16, le=1024, multiple_of=16)]


def _needs_name(schema: dict[str, Any]) -> None:
    schema["required"] = ["name", *schema.get("required", [])]


class RecipeSpec(Spec):
    """Base of a recipe's parameters.

    A recipe overrides `name` by a `Literal` of its own with a default, which tells it from the others in JSON;
    `modality` is what its samples are.
    """

    model_config = ConfigDict(json_schema_extra=_needs_name)

    # endings of the names of the files that are read, and what they are in words, for messages
    suffixes: ClassVar[tuple[str, ...]] = ()
    # whether samples are cut out of volumes of one spacing, so that their size is not that of a voxel
    cuts: ClassVar[bool] = False
    expected: ClassVar[str] = "files"

    name: str
    modality: str | Modality

    @property
    def shows(self) -> Modality:
        """What the samples show: a built-in modality, or the one that is declared here."""
        return get_modality(self.modality) if isinstance(self.modality, str) else self.modality

    @property
    def modality_name(self) -> str:
        """The name of the modality."""
        return self.shows.name

    @property
    def implementation(self) -> str:
        """The module that plans and makes the samples, see `medcoss.preprocess.recipe`."""
        return f"medcoss.preprocess.recipes.{self.name}"


class OwnPatients(RecipeSpec):
    """What recipes share that read a hospital's own files: whose the identifiers of the patients are."""

    cohort: str = documented(
        "where the identifiers of the patients come from: recipes with the same cohort know a patient by the same "
        "identifier; another name keeps the patient 0001 of one study from being that of another",
        default="own",
        min_length=1,
        max_length=64,
    )


class PatientsByPath(OwnPatients):
    """What recipes share that find the patient in the path of a file."""

    patient_pattern: str | None = documented(
        "regular expression with one group, which finds the patient in the path of a file as seen from the dataset's "
        "folder, e.g. '^(P[0-9]+)/'; null: the content of a file stands for its patient",
        default=None,
        max_length=256,
    )

    @field_validator("patient_pattern")
    @classmethod
    def _has_one_group(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"this is no regular expression ({error})") from None
        if groups != 1:
            raise ValueError(f"the expression has {groups} groups; expected one, around the patient: '^(P[0-9]+)/'")
        return value


class Splits(Spec):
    """How samples are divided into train, val and test."""

    method: Literal["folders", "random"] = documented(
        "folders: a path part named train, val (valid, validation, dev) or test decides, everything else is train; "
        "random: groups (patients, volumes, studies), in the order of a seeded hash, are divided",
        default="folders",
    )
    val_fraction: float = documented("share of groups in val (method random)", "fraction", default=0.1, ge=0, le=0.5)
    test_fraction: float = documented("share of groups in test (method random)", "fraction", default=0.1, ge=0, le=0.5)


class PublishedTestSet(RecipeSpec):
    """What recipes share whose publisher has set test data apart, and no validation data."""

    val_fraction: float = documented(
        "share of the published training set that goes to val, by the seed of the job: of its patients where they are "
        "known, else of its files",
        "fraction",
        default=0.0,
        ge=0,
        le=0.5,
    )

    @property
    def splits(self) -> Splits:
        """How what the published sets leave open is divided."""
        return Splits(method="random", val_fraction=self.val_fraction, test_fraction=0)


class SegmentedVolumes(RecipeSpec):
    """What recipes share that cut volumes with label maps into tiles which span a slice."""

    cuts: ClassVar[bool] = True

    size: tuple[Pixels, Pixels, Pixels] = documented(
        "depth, height and width of a tile; resampled slices are cut to height x width around their centre, or padded",
        "voxel",
        default=(16, 512, 512),
    )
    stride: int = documented("slices between the starts of two tiles", "slice", default=8, ge=1, le=512)
    splits: Splits = documented(
        "division into train, val and test",
        default=Splits(method="random", val_fraction=0.0, test_fraction=0.2),
    )

    @model_validator(mode="after")
    def _no_gap(self) -> "SegmentedVolumes":
        if self.stride > self.size[0]:
            raise ValueError(f"stride {self.stride} is larger than the depth of a tile, {self.size[0]}: slices between "
                             "tiles would be lost")  # fmt: skip
        return self


def one_of(kind: Kind) -> dict[str, Any]:
    """What the schema says of a field that names a modality of this kind."""
    return {"enum": [name for name, modality in BUILTIN.items() if modality.kind is kind]}


def of_kind(given: Any, kind: Kind) -> str | Modality:
    """The name of a built-in modality of this kind, or the declaration of another one; raises ValueError otherwise."""
    if isinstance(given, str):
        modality = get_modality(given)
    elif isinstance(given, dict | Modality):
        modality = _declared(given)
    else:
        raise ValueError('expected the name of a modality, or a declaration such as {"name": "ultrasound", "kind": '
                         f'"{kind}"}}')  # fmt: skip
    if modality.kind is not kind:
        raise ValueError(f"modality '{modality.name}' is {modality.kind}, this recipe makes {kind} samples")
    return given if isinstance(given, str) else modality


def _declared(given: dict[str, Any] | Modality) -> Modality:
    try:
        modality = Modality.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise ValueError(f"{where}{first['msg'].removeprefix('Value error, ')}") from None
    if modality.name in BUILTIN:
        raise ValueError(f"'{modality.name}' is built in; name it without a declaration, or give another name")
    return modality


def _shown(kind: Kind) -> Any:
    """The type of a field that names a modality of this kind, or declares one."""
    return Annotated[
        Annotated[str, Field(json_schema_extra=one_of(kind))] | Modality,
        BeforeValidator(partial(of_kind, kind=kind)),
    ]


if TYPE_CHECKING:
    TextModality = str | Modality
    ImageModality = str | Modality
    VolumeModality = str | Modality
else:
    TextModality, ImageModality, VolumeModality = map(_shown, (Kind.TEXT, Kind.IMAGE2D, Kind.VOLUME3D))
OR_DECLARED = ', or the declaration of another one: {"name": "ultrasound", "kind": "%s", "channels": 1}'
