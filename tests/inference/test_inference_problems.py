"""What cannot be answered gets a problem document that says what to do."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from services.core import audit
from services.core.db import Database
from services.core.settings import Settings
from services.core.tables import DEFAULT_PROJECT
from services.embedded.servers import free_port
from services.inference.app import create_app
from tests.inference.conftest import KEY, MAX_BYTES, OTHERS_KEY, serving
from tests.inference.test_inference_answers import png


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


def test_unknown_model_lists_the_known_ones(gateway: httpx.Client) -> None:
    document = problem(gateway.post("/v1/models/liver/segment", content=b"x"), 404)
    assert "'liver'" in document["detail"]
    assert "atrium, chest, lungs, reports, volumes" in document["detail"]


def test_a_query_parameter_that_a_call_does_not_have_is_refused_by_name(gateway: httpx.Client) -> None:
    document = problem(gateway.post("/v1/models/atrium/segment?fromat=json", content=b"x"), 422)
    assert document["errors"][0]["pointer"] == "query:fromat" and "expected one of format" in document["detail"]
    problem(gateway.get("/v1/models?page=2"), 422)


@pytest.mark.parametrize(
    ("model", "call", "right"),
    [("chest", "segment", "classify"), ("atrium", "classify", "segment"), ("reports", "classify", "embed")],
)
def test_wrong_call_names_the_right_one(gateway: httpx.Client, model: str, call: str, right: str) -> None:
    document = problem(gateway.post(f"/v1/models/{model}/{call}", content=png(0)), 409)
    assert f"POST /v1/models/{model}/{right}" in document["detail"]


def test_text_named_png(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/models/chest/classify", files={"file": ("notes.png", b"this is no picture\n")})
    document = problem(answer, 422)
    assert document["errors"][0]["pointer"] == "/file"
    assert document["errors"][0]["detail"].startswith("notes.png: this is text; expected a PNG")


def test_image_for_a_volume_model(gateway: httpx.Client) -> None:
    document = problem(gateway.post("/v1/models/atrium/segment", files={"file": ("a.png", png(0))}), 422)
    assert "a.png" in document["detail"]
    assert "NIfTI" in document["detail"]


@pytest.mark.parametrize(
    ("call", "request_", "status", "pointer", "words"),
    [
        ("chest/classify", {"files": {"file": ("a.png", b"")}}, 422, "/file", "a.png: the file is empty"),
        ("chest/classify", {"content": b""}, 422, "/file", "empty"),
        ("chest/classify", {"files": {"image": ("a.png", b"x")}}, 422, "/file", "in the field 'file'"),
        ("chest/classify", {"data": {"file": "a.png"}, "files": {"x": b"y"}}, 422, "/file", "in the field 'file'"),
        ("chest/classify", {"data": {"patient": "x"}, "files": {"file": b"y"}}, 422, "", "a field 'patient'"),
        ("chest/classify", {"json": {"text": "no acute disease"}}, 422, "/file", "an image in the form field 'file'"),
        ("reports/embed", {"content": b"some report"}, 422, "/text", "send JSON"),
        ("reports/embed", {"json": {"text": " "}}, 422, "/text", "not empty"),
        ("reports/embed", {"json": ["text"]}, 422, "/text", "JSON object"),
        ("reports/embed", {"json": {"text": "short"}}, 422, "/text", "fewer than"),
        ("atrium/segment?format=pdf", {"content": b"x"}, 422, "/query/format", "file"),
    ],
)
def test_bad_input_is_named(
    gateway: httpx.Client, call: str, request_: dict[str, Any], status: int, pointer: str, words: str
) -> None:
    document = problem(gateway.post(f"/v1/models/{call}", **request_), status)
    assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert words in document["errors"][0]["detail"]


def test_broken_bodies(gateway: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b"{", b"[" * 100_000):
        answer = gateway.post("/v1/models/reports/embed", content=body, headers=headers)
        assert "not JSON" in problem(answer, 400)["detail"]
    answer = gateway.post("/v1/models/reports/embed", content=b'{"text": "clear \ud800"}', headers=headers)
    assert "surrogate" in problem(answer, 422)["detail"]
    headers = {"Content-Type": "multipart/form-data"}
    problem(gateway.post("/v1/models/chest/classify", content=b"x", headers=headers), 400)
    problem(gateway.post("/v1/nothing"), 404)
    problem(gateway.get("/v1/models/chest/classify"), 405)


def test_bodies_that_do_not_come(gateway_settings: Callable[..., Settings]) -> None:
    with serving(create_app(gateway_settings(request_timeout_s=0.2))) as client:
        place = client.base_url
        with socket.create_connection((place.host, place.port or 80), timeout=10) as line:
            line.sendall(
                f"POST /v1/models/chest/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
                "Content-Length: 100\r\n\r\nx".encode()
            )
            answer = line.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408") and b"application/problem+json" in answer
        assert client.get("/v1/models").status_code == 200


def test_openapi_tells_of_every_problem(gateway: httpx.Client) -> None:
    document = gateway.get("/openapi.json").json()
    validate(document)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            told = set(operation["responses"])
            if path.startswith("/v1/"):
                assert told >= {"200", "401", "413", "429", "503"}
                assert (told >= {"400", "404", "408", "409", "422"}) == (method == "post")
    assert "HTTPValidationError" not in str(document)
    answer = gateway.get("/v1/models/chest/classify")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_key_is_needed(gateway: httpx.Client) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer mk_wrong"}):
        for answer in (
            gateway.post("/v1/models/chest/classify", content=png(0), headers=headers),
            gateway.get("/v1/models", headers=headers),
        ):
            problem(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 65536 + 1):
        yield bytes(65536)


@pytest.mark.parametrize("declared", [True, False])
def test_too_large(gateway: httpx.Client, declared: bool) -> None:
    content = bytes(MAX_BYTES + 1) if declared else chunks(MAX_BYTES)
    document = problem(gateway.post("/v1/models/chest/classify", content=content), 413)
    assert "4 MiB" in document["detail"]
    fits = problem(gateway.post("/v1/models/chest/classify", content=bytes(MAX_BYTES)), 422)
    assert "expected a PNG" in fits["detail"]


def test_triton_away(gateway_settings: Callable[..., Settings]) -> None:
    settings = gateway_settings(triton_url=f"127.0.0.1:{free_port()}")
    with serving(create_app(settings)) as client:
        answer = client.post("/v1/models/chest/classify", content=png(0))
        assert "try again" in problem(answer, 503)["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert "triton" in problem(client.get("/readyz"), 503)["detail"]
        assert client.get("/healthz").json()["status"] == "ok"


def test_model_that_triton_does_not_have(gateway: httpx.Client, gateway_settings: Callable[..., Settings]) -> None:
    from services.core.db import Database
    from services.core.registry import ready_deployment, register_deployment
    from services.core.scope import EVERYTHING

    with Database(gateway_settings().database_url).session() as session:
        row = ready_deployment(session, EVERYTHING, "chest")
        from medcoss.specs.records import DeploymentInfo

        info = DeploymentInfo.model_validate(row.info).model_copy(
            update={"name": "zz-not-loaded", "triton_model": "zz-not-loaded"}
        )
        register_deployment(
            session, "dep_notloaded", info=info, model_id=row.model_id, job_id="job_x", project_id=DEFAULT_PROJECT
        )
    document = problem(gateway.post("/v1/models/zz-not-loaded/classify", content=png(0)), 503)
    assert "not loaded" in document["detail"]
    with Database(gateway_settings().database_url).session() as session:
        session.delete(ready_deployment(session, EVERYTHING, "zz-not-loaded"))


def test_a_name_that_nothing_answers_for_yet_says_why(
    gateway: httpx.Client, gateway_settings: Callable[..., Settings]
) -> None:
    from services.core.db import Database
    from services.core.registry import ready_deployment
    from services.core.scope import EVERYTHING
    from services.core.tables import Deployment

    def told(state: str, status: int, version: int | None = None) -> str:
        with Database(gateway_settings().database_url).session() as session:
            chest = ready_deployment(session, EVERYTHING, "chest")
            row = Deployment(id="dep_coming", name="zz-coming", version=version, state=state, info=chest.info,
                             model_id=chest.model_id, project_id=DEFAULT_PROJECT)  # fmt: skip
            session.add(row)
        try:
            answer = gateway.post("/v1/models/zz-coming/classify", content=png(0))
            assert ("retry-after" in answer.headers) == (status == 503)
            return str(problem(answer, status)["detail"])
        finally:
            with Database(gateway_settings().database_url).session() as session:
                session.delete(session.get_one(Deployment, "dep_coming"))

    assert told("loading", 503) == "'zz-coming' is being loaded (dep_coming); try again in a few seconds"
    assert "dep_coming has failed, and GET /v1/deployments/dep_coming" in told("failed", 404)
    assert "activate dep_coming, or ask zz-coming@3" in told("ready", 404, 3)


def test_health_and_numbers(gateway: httpx.Client) -> None:
    gateway.post("/v1/models/chest/classify", content=png(0))
    ready = gateway.get("/readyz", headers={"Authorization": ""})
    assert ready.json() == {"status": "ok", "checks": {"database": True, "triton": True}}
    numbers = gateway.get("/metrics", headers={"Authorization": ""}).text
    assert 'medcoss_gateway_requests_total{route="/v1/models/{name}/classify",status="200"}' in numbers
    assert 'medcoss_inference_stage_seconds_count{model="chest",stage="infer"}' in numbers


def test_request_id_of_the_caller_is_kept(gateway: httpx.Client) -> None:
    assert gateway.get("/v1/models", headers={"X-Request-Id": "ward-7"}).headers["x-request-id"] == "ward-7"
    assert gateway.get("/v1/models", headers={"X-Request-Id": "a b\x07"}).headers["x-request-id"].startswith("req_")


def test_another_projects_models_are_not_there(gateway: httpx.Client) -> None:
    others = {"Authorization": f"Bearer {OTHERS_KEY}"}
    assert gateway.get("/v1/models", headers=others).json() == {"items": []}
    answer = gateway.post("/v1/models/reports/embed", headers=others, json={"text": "clear lungs"})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is no served model 'reports'; served are: none yet"


def test_strangers_are_on_record_and_answers_tell_browsers_little(
    gateway: httpx.Client, gateway_settings: Callable[..., Settings]
) -> None:
    answer = gateway.get("/v1/models", headers={"Authorization": "Bearer mk_unknown"})
    assert answer.status_code == 401
    assert answer.headers["x-content-type-options"] == "nosniff"
    with Database(gateway_settings().database_url).reading() as session:
        newest = session.scalars(audit.entries(1)).one()
    assert (newest.status, newest.route, newest.request_id) == (401, "/v1/models", answer.headers["x-request-id"])
