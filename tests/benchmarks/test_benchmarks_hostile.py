"""Hostile input: a short run of the benchmark finds nothing, and the benchmark sees what is wrong."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks import _hostile_schemathesis as schemathesis
from benchmarks._hostile_abuses import Abuse, abuses
from benchmarks._hostile_cases import Cases
from benchmarks._hostile_contract import PROBLEM, Answer, Attack, Contract
from benchmarks._hostile_platform import STRICT, Project, Target, attacked
from benchmarks._hostile_replay import FORGED, replays
from benchmarks._hostile_values import spoiled
from benchmarks.hostile import Report, attack, leads_outside, masked
from services.api.app import create_app
from services.core.db import migrate
from services.core.settings import Settings
from services.core.storage import ObjectStore

SEED = 20


@pytest.fixture(scope="module")
def target(s3: dict[str, str], redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Both services as processes, on SQLite."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = Settings(
        database_url=f"sqlite:///{folder / 'medcoss.db'}", redis_url=redis_url, s3_endpoint=s3["endpoint"],
        s3_access_key=s3["access_key"], s3_secret_key=s3["secret_key"], s3_bucket="test-hostile", **STRICT,
    )  # fmt: skip
    migrate(settings.database_url)
    ObjectStore(settings).ensure_bucket()
    with attacked(settings, folder) as made:
        yield made


def test_hundreds_of_hostile_requests_get_documented_problems(target: Target) -> None:
    report = Report()
    attack(target, SEED, 400, report, slow=False)
    assert not report.lines, "\n".join(report.lines)
    assert report.sent.total() > 350


@pytest.mark.parametrize("gateway", [False, True], ids=["control plane", "gateway"])
def test_schemathesis_finds_nothing(target: Target, gateway: bool) -> None:
    phases = ("--phases", "examples,coverage,fuzzing" if gateway else "fuzzing,stateful")
    options = ("--max-examples", "2", *phases)
    assert schemathesis.failures(target, SEED, None, *options, gateway=gateway) == []
    assert target.dead() == []


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    nowhere = Path("/nonexistent/medcoss.db")
    app = create_app(Settings(database_url=f"sqlite:///{nowhere}", s3_access_key="key", s3_secret_key="secret"))
    return dict(app.openapi())


@pytest.fixture
def cases(document: dict[str, Any]) -> Callable[[], Cases]:
    ids = {name: f"{name}_0" for name in ("dataset_id", "raw_id", "job_id", "model_id", "deployment_id", "project_id",
                                          "webhook_id", "delivery_id", "key_id", "alias", "name")}  # fmt: skip
    mine, others = (Project(name, {"operator": "mk_o", "viewer": "mk_v"}, ids) for name in ("mine", "others"))
    fake = Target("", "", Settings(), "mk_a", mine, others, {"expired": "mk_x"})
    return lambda: Cases(fake, Contract(document, ["mk_secret"]), mine, gateway=False)


def test_what_is_sent_is_a_function_of_the_seed(cases: Callable[[], Cases]) -> None:
    def sent(seed: int) -> list[Attack]:
        made = cases()
        return [one for kind in made.classes.values() for one in islice(kind(Random(seed)), 30)]

    def words(attacks: list[Attack]) -> list[str]:
        return [f"{one.words()} {one.headers} {one.body!r}" for one in attacks]

    assert words(sent(1)) == words(sent(1)) != words(sent(2))
    kinds = {one.kind for one in sent(1)}
    assert kinds == {"specs", "bodies", "uploads", "others", "parameters", "paths", "types", "keys"}
    wire = [one.pieces for one in islice(abuses(Random(1), "mk"), 50)]
    assert wire == [one.pieces for one in islice(abuses(Random(1), "mk"), 50)]
    shown = {"a": [1, {"b": "c"}], "d": True}
    assert len({spoiled(Random(seed), shown) for seed in range(300)}) > 150


def test_every_operation_is_attacked(cases: Callable[[], Cases]) -> None:
    made = cases()
    tried = {one.operation.name for one in islice(made.keys(Random(1)), 2000) if one.operation}
    assert tried == {operation.name for operation in made.operations}
    spoilt = {one.operation.name for one in islice(made.bodies(Random(1)), 500) if one.operation}
    assert spoilt == {operation.name for operation in made.posted}


def problem(status: int, /, **changed: Any) -> Answer:
    told = {
        "type": "urn:x",
        "title": "x",
        "status": status,
        "detail": "x",
        "errors": [],
        "request_id": "req_1",
    } | changed
    needed = {"x-request-id": "req_1", "x-content-type-options": "nosniff", "cache-control": "no-store"}
    return Answer(status, {"content-type": PROBLEM} | needed, json.dumps(told).encode(), 0.1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (problem(404), None),
        (problem(500), "answered 500"),
        (problem(418), "which is not told of"),
        (problem(404, status=400), "are not those of the answer"),
        (problem(404, detail=None), "is no problem document"),
        (problem(404, detail="the key mk_secret"), "tells a secret"),
        (problem(404, detail="Traceback (most recent call last)"), "shows the inside"),
        (problem(404, detail="[SQL: SELECT 1]"), "shows the inside"),
        (problem(401), "has no header WWW-Authenticate"),
        (Answer(404, {"content-type": "text/html"}, b"no", 0.1), "is no problem document but text/html"),
        (Answer(404, problem(404).headers, problem(404).body, 99.0), "took 99.0 s"),
        (Answer(200, problem(200).headers, b'{"id": 1}', 0.1), "not what the document"),
    ],
)  # fmt: skip
def test_the_contract_sees_what_is_wrong(document: dict[str, Any], answer: Answer, words: str | None) -> None:
    contract = Contract(document, ["mk_secret"])
    operation = next(o for o in contract.operations if o.name == "show_job")
    found = [*contract.violations(Attack("x", operation, "GET", "/v1/jobs/x"), answer)]
    assert (found == []) if words is None else any(words in one for one in found), found


def test_what_the_run_compares(target: Target) -> None:
    upload = {"dataset": {"id": "ds_1"}, "uploads": [{"url": "http://s3/b/datasets/ds_1/raw/a/b.png?X=1"}]}
    assert leads_outside(upload) == []
    for path in ("datasets/ds_1/raw/../x", "datasets/ds_1/raw/%2e%2e/x", "datasets/ds_2/raw/x", "datasets/ds_1/raw//x"):
        assert leads_outside(upload | {"uploads": [{"url": f"http://s3/b/{path}"}]})
    assert masked(problem(404, detail="no a_1"), ("a_1",)) == masked(problem(404, detail="no b_2"), ("b_2",))
    assert masked(problem(404, detail="no a_1"), ("a_1",)) != masked(problem(404, detail="not yours"), ("a_1",))


def test_the_receiver_of_webhooks_refuses_every_forgery(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [*replays(Random(SEED), 40 * len(FORGED))] == []
    # one that does not look is caught
    monkeypatch.setattr("benchmarks._hostile_replay.Receiver.accept", lambda *_: object())
    assert {*replays(Random(SEED), 400)} >= {"a message was taken twice", "a message with old was taken"}


def test_an_abuse_has_a_line_that_finds_it_again() -> None:
    assert Abuse("line", (b"GET /", b"x"), frozenset()).words() == "wire line: b'GET /x'"
