"""Specs: strict, documented, and valid as they stand."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from medcoss.modalities import BUILTIN, Kind, Modality, get_modality
from medcoss.specs import (
    JOB_KINDS,
    BuildBufferSpec,
    BuildIndexSpec,
    CompareSpec,
    EmbedSpec,
    EvaluateSpec,
    ExportSpec,
    FinetuneSpec,
    ForgettingSpec,
    ImageFolder,
    ImportModelSpec,
    InspectDatasetSpec,
    OpeniReports,
    PredictSpec,
    PreprocessSpec,
    PretrainSpec,
    Spec,
    Splits,
    VolumeFolder,
)

DATASET, MODEL = "ds_0123456789", "mdl_0123456789"
MINIMAL: dict[type[Spec], dict[str, Any]] = {
    PreprocessSpec: {"dataset": DATASET, "recipe": {"name": "image_folder"}},
    PretrainSpec: {"dataset": DATASET},
    BuildBufferSpec: {"dataset": DATASET, "model": MODEL},
    FinetuneSpec: {"dataset": DATASET, "task": "classification"},
    EvaluateSpec: {"dataset": DATASET, "model": MODEL},
    ForgettingSpec: {"models": [MODEL], "datasets": [DATASET]},
    CompareSpec: {"dataset": DATASET, "task": "classification", "encoders": {"scratch": None, "other": MODEL}},
    EmbedSpec: {"dataset": DATASET, "model": MODEL},
    PredictSpec: {"dataset": DATASET, "model": MODEL},
    BuildIndexSpec: {"index": "idx_0123456789", "datasets": [DATASET], "model": MODEL},
    ExportSpec: {"model": MODEL, "name": "chest"},
    ImportModelSpec: {"dataset": DATASET},
    InspectDatasetSpec: {"dataset": DATASET},
    ImageFolder: {},
    VolumeFolder: {},
    OpeniReports: {},
    Splits: {},
}
KINDS = list(MINIMAL)


def test_every_job_kind_is_tested_here() -> None:
    assert {kind.spec for kind in JOB_KINDS.values()} <= set(KINDS)
    for kind in JOB_KINDS.values():
        assert kind.description.endswith(".")
        assert kind.produces in {
            "dataset", "model", "evaluation", "comparison", "deployment", "report", "embeddings", "predictions",
        }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_valid_and_round_trip_through_json(kind: type[Spec]) -> None:
    spec = kind.model_validate(MINIMAL[kind])
    again = kind.model_validate_json(spec.model_dump_json())
    assert again == spec
    # the stored form names every value, so that a later default changes no old job
    stored = json.loads(spec.model_dump_json())
    assert stored.keys() == kind.model_fields.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_keys_are_refused(kind: type[Spec]) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(MINIMAL[kind] | {"batchsize": 4})
    (error,) = caught.value.errors()
    assert (error["type"], error["loc"]) == ("extra_forbidden", ("batchsize",))


@pytest.mark.parametrize("kind", KINDS)
def test_specs_do_not_change(kind: type[Spec]) -> None:
    spec = kind.model_validate(MINIMAL[kind])
    with pytest.raises(ValidationError, match="frozen"):
        setattr(spec, next(iter(kind.model_fields)), "x")


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema and of what it refers to."""
    for part in (schema, *schema.get("$defs", {}).values()):
        yield from part.get("properties", {}).items()


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described_in_the_schema(kind: type[Spec]) -> None:
    schema = kind.model_json_schema()
    json.dumps(schema)
    assert schema["additionalProperties"] is False
    for name, entry in properties(schema):
        assert entry.get("description"), f"{kind.__name__}.{name}"


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_have_bounds(kind: type[Spec]) -> None:
    for name, entry in properties(kind.model_json_schema()):
        for option in (entry, *entry.get("anyOf", [])):
            if option.get("type") in {"number", "integer"}:
                assert option.keys() & {"minimum", "exclusiveMinimum"}, name
                assert option.keys() & {"maximum", "exclusiveMaximum"}, name


def test_defaults_of_pretraining_are_the_published_ones() -> None:
    spec = PretrainSpec(dataset=DATASET)
    assert (spec.epochs, spec.base_lr, spec.warmup_epochs, spec.weight_decay) == (300, 1.5e-4, 40, 0.05)
    assert (spec.mask_ratio, spec.text_mask_ratio, spec.drop_path, spec.size) == (0.75, 0.15, 0.1, "base")
    buffer = BuildBufferSpec(dataset=DATASET, model=MODEL)
    assert (buffer.centers_fraction, buffer.buffer_fraction) == (0.01, 0.05)


def refused(kind: type[BaseModel], values: dict[str, Any], where: str, message: str = "") -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(values)
    errors = caught.value.errors()
    assert where in {".".join(map(str, error["loc"])) for error in errors}, errors
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.5])
def test_fractions_are_fractions(value: float) -> None:
    for field in ("mask_ratio", "text_mask_ratio", "drop_path"):
        refused(PretrainSpec, {"dataset": DATASET, field: value}, field)
    refused(PreprocessSpec, MINIMAL[PreprocessSpec] | {"max_bad_fraction": value}, "max_bad_fraction")


@given(st.text(max_size=30))
def test_references_name_records_and_nothing_else(text: str) -> None:
    for kind in (PretrainSpec, EvaluateSpec):
        with pytest.raises(ValidationError):
            kind.model_validate(MINIMAL[kind] | {"dataset": "../" + text})


def test_rehearsal_needs_a_teacher() -> None:
    refused(PretrainSpec, {"dataset": DATASET, "rehearsal": [DATASET]}, "", "rehearsal needs init_model")


@pytest.mark.parametrize("path", ["/a.pth", "../a.pth", "a/../../b.pth", "a\\b.pth", "a//b.pth", "./a.pth", "", "."])
def test_a_checkpoint_lies_in_its_dataset(path: str) -> None:
    for field in ("file", "vocabulary"):
        refused(ImportModelSpec, {"dataset": DATASET, field: path}, field)
    assert ImportModelSpec(dataset=DATASET, file="runs/a b.pth").file == "runs/a b.pth"


def test_what_an_imported_encoder_knows() -> None:
    refused(ImportModelSpec, {"dataset": DATASET, "modalities": ["xrey"]}, "modalities", "expected one of report, xray")
    refused(ImportModelSpec, {"dataset": DATASET, "modalities": ["ct", "ct"]}, "modalities", "every modality once")
    assert ImportModelSpec(dataset=DATASET, modalities=()).modalities == ()


def test_recipes_read_what_they_are_made_for() -> None:
    refused(ImageFolder, {"modality": "mr"}, "modality", "volume3d")
    refused(VolumeFolder, {"modality": "xray"}, "modality", "image2d")
    refused(VolumeFolder, {"modality": "dream"}, "modality", "expected one of report, xray")
    refused(ImageFolder, {"size": [100, 224]}, "size.0")
    refused(VolumeFolder, {"label_suffix": "_seg"}, "", "go together")
    refused(VolumeFolder, {"label_names": ["a"]}, "", "go together")
    refused(PreprocessSpec, {"dataset": DATASET, "recipe": {"name": "magic"}}, "recipe")
    refused(PreprocessSpec, {"dataset": DATASET, "recipe": {"name": "volume_folder", "mask": 1}},
            "recipe.volume_folder.mask")  # fmt: skip


def test_tiles_leave_no_gap_between_them() -> None:
    refused(VolumeFolder, {"stride": 17}, "", "slices between tiles would be lost")
    assert VolumeFolder(stride=16).stride == 16
    assert VolumeFolder(size=(32, 64, 64), stride=17).stride == 17


# modalities


def test_built_in_modalities() -> None:
    assert set(BUILTIN) == {"report", "xray", "ct", "mr", "pathology"}
    for name, modality in BUILTIN.items():
        assert get_modality(name) is modality
    assert (get_modality("xray").kind, get_modality("xray").size) == (Kind.IMAGE2D, (224, 224))
    assert (get_modality("mr").kind, get_modality("mr").size) == (Kind.VOLUME3D, (16, 192, 192))
    assert (get_modality("report").kind, get_modality("report").size) == (Kind.TEXT, (112,))
    with pytest.raises(ValueError, match="unknown modality 'xrey'; expected one of report, xray, ct, mr, pathology"):
        get_modality("xrey")


@pytest.mark.parametrize(
    "values",
    [
        {"name": "Bad", "kind": "text", "size": [5]},
        {"name": "a", "kind": "text", "size": [5, 5]},
        {"name": "a", "kind": "image2d", "size": [30, 32], "patch": [16, 16]},
        {"name": "a", "kind": "image2d", "size": [32, 32]},
        {"name": "a", "kind": "volume3d", "size": [32, 32, 32], "patch": [16, 16]},
        {"name": "a", "kind": "text", "size": [5], "colour": "red"},
    ],
)
def test_modalities_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Modality.model_validate(values)


def test_a_sixth_modality_is_data() -> None:
    pet = Modality.model_validate({"name": "pet", "kind": "volume3d", "size": [32, 64, 64], "patch": [16, 16, 16]})
    assert Modality.model_validate_json(pet.model_dump_json()) == pet
