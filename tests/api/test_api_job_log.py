"""The log of a job, searched as a whole: by text and level, counted, and read from its end."""

from typing import Any

import pytest

from medcoss.client import Client
from services.core import attempts
from tests.api.calls import pointers, preprocess, problem, take, uploaded
from tests.api.serving import KEYS, Role, Served
from tests.core.databases import engines

LINES = [
    ("info", "Begun"), ("warning", "left out b_1.png"), ("info", "bx1.png is 100 % read"),
    ("error", "Über 5 files, BEGUN"), ("debug", "batch 4"), ("info", "batch 5"),
]  # fmt: skip


@pytest.fixture
def written(served: Served) -> str:
    """A job that has written these lines."""
    job: str = preprocess(served.operator, uploaded(served.operator, {"a.png": b"a"})).json()["id"]
    claim = take(served.database, job)
    with served.database.session() as session:
        attempts.record_rows(session, job, claim.fence, metrics=[], logs=LINES, artifacts=[])
    return job


def asked(served: Served, job: str, **params: Any) -> dict[str, Any]:
    answer = served.viewer.get(f"/v1/jobs/{job}/logs", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def places(found: dict[str, Any]) -> list[int]:
    return [[message for _, message in LINES].index(row["message"]) for row in found["items"]]


@engines
def test_lines_are_found_by_what_they_hold_and_by_their_level(served: Served, written: str) -> None:
    for params, expected in (
        ({"contains": "begun"}, [0, 3]),
        ({"contains": "BEGUN", "level": "error"}, [3]),
        ({"contains": "b_1"}, [1]),
        ({"contains": "100 %"}, [2]),
        ({"contains": "Über"}, [3]),
        ({"level": "warning"}, [1, 3]),
        ({"contains": "nowhere"}, []),
    ):
        found = asked(served, written, count="true", **params)
        assert (places(found), found["matches"]) == (expected, len(expected)), params
        # all of it was looked through: only what comes is asked for next
        assert asked(served, written, after=found["next"]) == {"items": [], "next": found["next"], "matches": None}


@engines
def test_the_end_is_read_first_and_what_came_before_it_then(served: Served, written: str) -> None:
    last = asked(served, written, before=2**63 - 1, limit=2, count="true")
    assert (places(last), last["matches"]) == ([4, 5], len(LINES))
    assert not asked(served, written, after=last["next"])["items"]
    older = asked(served, written, before=last["items"][1]["seq"], limit=3, level="info")
    assert places(older) == [1, 2, 3]
    assert places(asked(served, written, after=older["items"][0]["seq"], before=older["items"][-1]["seq"])) == [2]
    # forwards a page that is full ends where the next one begins
    first = asked(served, written, limit=1, contains="begun", count="true")
    assert (places(first), first["matches"]) == ([0], 2)
    assert places(asked(served, written, after=first["next"], contains="begun")) == [3]


def test_what_cannot_be_searched_for_is_said(served: Served, written: str) -> None:
    path = f"/v1/jobs/{written}/logs"
    for query in ("contains=", "level=loud", "before=0", f"contains={'a' * 201}"):
        name = query.partition("=")[0]
        assert pointers(problem(served.viewer.get(f"{path}?{query}"), 422)) == [f"query:{name}"]
    problem(served.viewer.get("/v1/jobs/job_none/logs?contains=a"), 404)


def test_the_client_searches_the_whole_log(served: Served, written: str) -> None:
    client = Client(served.url, KEYS[Role.VIEWER])
    assert [line.message for line in client.jobs.logs(written, contains="begun")] == ["Begun", "Über 5 files, BEGUN"]
    line = next(client.jobs.logs(written, level="error"))
    assert line.holds("begun", "error") and not line.holds("begin") and not line.holds("batch", "debug")
