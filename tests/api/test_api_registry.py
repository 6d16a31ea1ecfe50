"""Models, deployments, job kinds and the platform over REST."""

import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from medcoss.modalities import Kind
from medcoss.specs import JOB_KINDS
from medcoss.specs.records import DeploymentInfo
from services.core.registry import register_deployment
from services.core.tables import DEFAULT_PROJECT
from tests.api.calls import problem, trained
from tests.api.serving import Served

REQUIRED = {"dataset": "ds_00000000", "model": "mdl_00000000", "task": "segmentation", "name": "chest",
            "recipe": {"name": "image_folder"}, "encoders": {"scratch": None},
            "models": ["mdl_00000000"], "datasets": ["ds_00000000"]}  # fmt: skip


def test_models_and_their_files(served: Served) -> None:
    made = [trained(served.database, served.store, f"mdl_0000000{n}") for n in range(4)]
    statements: list[str] = []

    @event.listens_for(served.app.state.parts.database.engine, "before_cursor_execute")
    def count(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    models = served.viewer.get("/v1/models").json()["items"]
    assert [model["id"] for model in models] == made[::-1]
    assert sum(s.startswith("SELECT") for s in statements) == 4, "the key, the models, their tags and sizes"
    model = served.viewer.get(f"/v1/models/{made[0]}").json()
    assert (model["task"], model["modalities"], model["stage"]) == ("encoder", ["xray"], 1)
    assert (model["metrics"], model["total_bytes"]) == ({"loss": 0.5}, 7)
    (file,) = served.viewer.get(f"/v1/models/{made[0]}/files").json()["items"]
    assert httpx.get(file["url"]).content == b"weights"
    for path in ("/v1/models/mdl_none", "/v1/models/mdl_none/files"):
        assert "mdl_none" in problem(served.viewer.get(path), 404)["detail"]


def deployment_info(name: str, version: int) -> DeploymentInfo:
    return DeploymentInfo(
        name=name, task="classification", modality="xray", kind=Kind.IMAGE2D, triton_model=f"{name}.{version}",
        version=version, classes=["a", "b"], sample_shape=[3, 32, 32], recipe={}, input_names=["image"],
        output_names=["logits"], max_difference=1e-6,
    )  # fmt: skip


def test_deployments(served: Served) -> None:
    model = trained(served.database, None, "mdl_00000000")
    for number, name in enumerate(("chest", "chest", "lungs")):
        info = deployment_info(name, number + 1)
        with served.database.session() as session:
            register_deployment(
                session, f"dep_{number}", info=info, model_id=model, job_id="job_1", project_id=DEFAULT_PROJECT
            )
    found = served.viewer.get("/v1/deployments", params={"name": "chest"}).json()["items"]
    assert [(d["id"], d["version"], d["model_id"]) for d in found] == [("dep_1", 2, model), ("dep_0", 1, model)]
    assert len(served.viewer.get("/v1/deployments").json()["items"]) == 3
    assert served.viewer.get("/v1/deployments/dep_1").json() == found[0]
    problem(served.viewer.get("/v1/deployments/dep_9"), 404)


def test_kinds_come_with_schema_and_defaults(served: Served) -> None:
    kinds = served.viewer.get("/v1/job-kinds").json()["items"]
    assert [kind["name"] for kind in kinds] == list(JOB_KINDS)
    assert {kind["produces"] for kind in kinds} == {
        "dataset",
        "model",
        "evaluation",
        "comparison",
        "deployment",
        "report",
        "embeddings",
        "predictions",
    }
    for name, kind in JOB_KINDS.items():
        schema = served.viewer.get(f"/v1/job-kinds/{name}/schema").json()
        defaults = served.viewer.get(f"/v1/job-kinds/{name}/defaults").json()
        assert schema["additionalProperties"] is False
        # of alternatives, the first one
        needed = [*schema["required"], *schema.get("anyOf", [{}])[0].get("required", [])]
        assert set(defaults) == set(schema["properties"]) - set(needed)
        required = {field: REQUIRED[field] for field in needed}
        assert kind.spec.model_validate(required | defaults) == kind.spec.model_validate(required)
    for what in ("schema", "defaults"):
        assert "preprocess" in problem(served.viewer.get(f"/v1/job-kinds/trian/{what}"), 404)["detail"]


def test_the_platform_tells_its_limits(served: Served) -> None:
    platform = served.viewer.get("/v1/platform").json()
    assert platform["limits"]["max_file_bytes"] == served.settings.max_file_bytes
    assert platform["gateway_url"] == served.settings.gateway_url


def fields(schema: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a JSON schema and of its definitions, with its place."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{place}/{name}", inner
    for name, inner in schema.get("$defs", {}).items():
        yield from fields(inner, f"{place}/{name}")


def numbers(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The numbers that a field may hold, at any depth."""
    if schema.get("type") in {"integer", "number"}:
        yield schema
    for inner in [*schema.get("anyOf", []), *schema.get("prefixItems", [])]:
        yield from numbers(inner)
    if isinstance(schema.get("items"), dict):
        yield from numbers(schema["items"])


ALL_FIELDS = [
    pytest.param(field, id=place)
    for kind in JOB_KINDS.values()
    for place, field in fields(kind.spec.model_json_schema(), kind.name)
]


@pytest.mark.parametrize("field", ALL_FIELDS)
def test_every_field_explains_itself(field: dict[str, Any]) -> None:
    # the name of a recipe is one word that chooses it
    assert field.get("description") or "const" in field
    for number in numbers(field):
        low = number.get("minimum", number.get("exclusiveMinimum"))
        high = number.get("maximum", number.get("exclusiveMaximum"))
        assert low is not None and high is not None, f"no bounds: {number}"
        assert math.isfinite(low) and math.isfinite(high)


def test_quantities_have_units() -> None:
    """Counts, shares and sizes say what they count; factors and rates have no unit."""
    unitless = {"base_lr", "min_lr", "lr", "weight_decay", "clip_norm", "seed", "seeds", "tile_seed", "tolerance",
                "reconstructions", "log_every", "checkpoint_every"}  # fmt: skip
    missing = {
        place
        for kind in JOB_KINDS.values()
        for place, field in fields(kind.spec.model_json_schema(), kind.name)
        if list(numbers(field)) and "unit" not in field and place.split("/")[-1] not in unitless
    }
    assert missing == set()
