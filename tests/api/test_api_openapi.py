"""The OpenAPI document is complete: whoever adds a route or a field says what it is, and shows it."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from services.api.app import create_app
from services.api.patterns import WORDS
from services.core.settings import Settings

OPEN = {"/healthz", "/readyz", "/metrics"}
# numbers that mean nothing without their unit
MEASURES = re.compile(r"(_s|_ms|_ml|bytes|fraction)$|^size$")
JSON, PROBLEM = "application/json", "application/problem+json"


@cache
def document() -> dict[str, Any]:
    # it is written without asking the database
    nowhere = Path("/nonexistent/medcoss.db")
    app = create_app(Settings(database_url=f"sqlite:///{nowhere}", s3_access_key="key", s3_secret_key="secret"))
    return app.openapi()


def operations() -> Iterator[tuple[str, str]]:
    for path, methods in document()["paths"].items():
        for method in methods:
            yield method, path


every_operation = pytest.mark.parametrize(("method", "path"), list(operations()))


def check(schema: dict[str, Any], value: Any) -> None:
    """The value is what the schema says, formats included."""
    whole = schema | {"components": document()["components"]}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def test_the_document_is_valid() -> None:
    validate(document())


def test_numbers_for_prometheus_are_described() -> None:
    answer = document()["paths"]["/metrics"]["get"]["responses"]["200"]
    assert list(answer["content"]) == ["text/plain"] and "medcoss_http" in answer["content"]["text/plain"]["example"]


def test_every_pattern_is_told_in_words() -> None:
    found = set(re.findall(r'"pattern": ("(?:[^"\\\\]|\\\\.)*")', json.dumps(document())))
    patterns = {json.loads(each) for each in found}
    assert len(patterns) > 5
    assert {p for p in patterns if not p.startswith(("^ds_", "^mdl_"))} <= WORDS.keys()


def test_operations_have_names_of_their_own() -> None:
    names = [document()["paths"][path][method]["operationId"] for method, path in operations()]
    assert sorted(names) == sorted(set(names))
    assert all(re.fullmatch(r"[a-z][a-z_]+", name) for name in names)


@every_operation
def test_an_operation_says_what_it_does(method: str, path: str) -> None:
    operation = document()["paths"][path][method]
    assert operation["summary"]
    assert operation["description"].strip().endswith("."), "a docstring"
    known = {tag["name"] for tag in document()["tags"]}
    assert set(operation["tags"]) <= known, "describe the tag in services/api/openapi.py"
    assert (path in OPEN) == ("security" not in operation)
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), f"the parameter {parameter['name']} needs a description"


@every_operation
def test_an_operation_shows_a_request(method: str, path: str) -> None:
    body = document()["paths"][path][method].get("requestBody")
    if body is None:
        return
    for media in body["content"].values():
        shown = [media["example"]] if "example" in media else [e["value"] for e in media.get("examples", {}).values()]
        assert shown, "add an example to services/api/examples.py, or `examples` to the model"
        for value in shown:
            check(media["schema"], value)


@every_operation
def test_an_operation_shows_its_answer(method: str, path: str) -> None:
    answers = document()["paths"][path][method]["responses"]
    good = [answer for status, answer in answers.items() if status.startswith("2")]
    assert good
    for answer in good:
        assert "X-Request-Id" in answer["headers"]
        media = answer.get("content", {}).get(JSON)
        if media is not None:
            assert "example" in media, "add an example to services/api/examples.py, or `examples` to the model"
            check(media["schema"], media["example"])


@every_operation
def test_an_operation_tells_of_its_problems(method: str, path: str) -> None:
    operation = document()["paths"][path][method]
    # 304 is no problem
    told = {s: a for s, a in operation["responses"].items() if not s.startswith("2") and s != "304"}
    if path not in OPEN:
        assert set(told) >= {"401", "403", "413", "422", "429", "503"}
        assert ("404" in told) >= ("{" in path)
        assert set(told) >= ({"400", "408"} if "requestBody" in operation else set())
    for status, answer in told.items():
        assert answer["description"]
        assert "X-Request-Id" in answer["headers"]
        assert ("Retry-After" in answer["headers"]) == (status in {"429", "503"})
        media = answer["content"][PROBLEM]
        assert media["example"]["status"] == int(status)
        check(media["schema"], media["example"])


@pytest.mark.parametrize("name", list(document()["components"]["schemas"]))
def test_a_field_says_what_it_is(name: str) -> None:
    schema = document()["components"]["schemas"][name]
    for field, about in schema.get("properties", {}).items():
        assert about.get("description"), f"{name}.{field} needs a description"
        kinds = {choice.get("type") for choice in (about, *about.get("anyOf", []))}
        if kinds & {"integer", "number"} and MEASURES.search(field):
            assert about.get("unit"), f"{name}.{field} needs a unit"


def test_examples_hold_for_their_schemas() -> None:
    schemas = document()["components"]["schemas"]
    shown = {name: schema["examples"] for name, schema in schemas.items() if "examples" in schema}
    assert {"JobRequest", "JobOut", "PretrainSpec", "Problem"} <= set(shown)
    for name, values in shown.items():
        for value in values:
            check({"$ref": f"#/components/schemas/{name}"}, value)


def test_links_lead_from_an_answer_to_what_can_be_done_with_it() -> None:
    paths = document()["paths"]
    made = paths["/v1/jobs"]["post"]["responses"]["201"]["links"]
    assert {"show_job", "cancel_job", "pause_job", "list_metrics"} <= set(made)
    assert made["show_job"]["parameters"] == {"job_id": "$response.body#/id"}
    assert "complete_dataset" in paths["/v1/datasets"]["post"]["responses"]["201"]["links"]


def test_the_spec_of_every_kind_is_told() -> None:
    request = document()["components"]["schemas"]["JobRequest"]
    kinds = {choice["properties"]["kind"]["const"] for choice in request["oneOf"]}
    assert kinds == set(request["properties"]["kind"]["enum"]) >= {"pretrain", "export"}
    with pytest.raises(Exception, match="is not valid under any of the given schemas"):
        check({"$ref": "#/components/schemas/JobRequest"}, {"kind": "export", "spec": {"name": "a"}})
