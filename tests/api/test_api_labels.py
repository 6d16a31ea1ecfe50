"""Names, notes, tags and priorities are changed by those who have seen what is there; search finds by them."""

from typing import Any

import httpx
import pytest

from services.core import attempts
from tests.api.calls import next_up, prepared, preprocess, problem, take, trained, uploaded
from tests.api.serving import Served
from tests.core.databases import engines


@pytest.fixture
def raw(served: Served) -> str:
    return uploaded(served.operator, {"a.png": b"pixels"}, name="Chest", tags=["Site:North"])


def changed(client: httpx.Client, path: str, body: dict[str, Any], etag: str | None = "*") -> httpx.Response:
    return client.patch(path, json=body, headers={} if etag is None else {"If-Match": etag})


def etag(client: httpx.Client, path: str) -> str:
    return str(client.get(path).headers["etag"])


def found(served: Served, q: str, **params: Any) -> list[str]:
    response = served.viewer.get("/v1/search", params={"q": q, **params})
    assert response.status_code == 200, response.text
    return [one["id"] for one in response.json()["items"]]


@engines
def test_what_was_seen_is_changed(served: Served, raw: str) -> None:
    model, job = trained(served.database, None, "mdl_1"), preprocess(served.operator, raw).json()["id"]
    for path, body in (
        (f"/v1/jobs/{job}", {"name": "Äther", "notes": "first\nsecond", "tags": ["B", "a", "b"], "priority": 7}),
        (f"/v1/models/{model}", {"name": "good one", "notes": "for the study", "tags": ["candidate"]}),
        (f"/v1/datasets/{raw}", {"name": "chest-2", "description": "frontal", "tags": []}),
    ):
        before = served.viewer.get(path)
        document = problem(changed(served.operator, path, body, None), 428)
        assert "If-Match" in document["detail"]
        after = changed(served.operator, path, body, before.headers["etag"])
        assert after.status_code == 200, after.text
        expected = body | {"tags": sorted({tag.lower() for tag in body["tags"]})}
        assert {name: after.json()[name] for name in body} == expected
        assert served.viewer.get(path).headers["etag"] == after.headers["etag"] != before.headers["etag"]
        stale = changed(served.operator, path, {"tags": ["mine"]}, before.headers["etag"])
        assert problem(stale, 412)["etag"] == stale.headers["etag"] == after.headers["etag"]
        assert changed(served.operator, path, {"tags": ["mine"]}, f'"x-y", {stale.headers["etag"]}').status_code == 200
        assert served.viewer.get(path).json() == after.json() | {"tags": ["mine"]}, "the rest stays"
        problem(changed(served.viewer, path, {"tags": []}), 403)
        problem(changed(served.operator, path + "x", {"tags": []}), 404)
        document = problem(changed(served.operator, path, {"tags": ["two words"], "colour": "red"}), 422)
        assert [entry["pointer"] for entry in document["errors"]] == ["/tags/0", "/colour"]


def test_progress_does_not_stand_in_the_way_of_notes(served: Served, raw: str) -> None:
    job = preprocess(served.operator, raw).json()["id"]
    seen = etag(served.viewer, f"/v1/jobs/{job}")
    claim = take(served.database, job)
    with served.database.session() as session:
        attempts.record_progress(session, job, claim.fence, done=1, total=2, message="", eta_s=3)
    assert etag(served.viewer, f"/v1/jobs/{job}") != seen
    assert changed(served.operator, f"/v1/jobs/{job}", {"notes": "runs"}, seen).status_code == 200
    problem(changed(served.operator, f"/v1/jobs/{job}", {"notes": "still runs"}, seen), 412)


@engines
def test_another_priority_moves_a_job_until_it_has_ended(served: Served, raw: str) -> None:
    first, second = (preprocess(served.operator, raw).json()["id"] for _ in range(2))
    assert changed(served.operator, f"/v1/jobs/{second}", {"priority": 5}).json()["priority"] == 5
    assert next_up(served.database) == second
    assert changed(served.operator, f"/v1/jobs/{second}", {"priority": 0}).json()["priority"] == 0
    assert next_up(served.database) == first, "among its equals it is the last"
    assert changed(served.operator, f"/v1/jobs/{second}", {"time_limit_s": 60}).json()["time_limit_s"] == 60
    events = served.viewer.get(f"/v1/jobs/{second}/events").json()["items"]
    assert [e["data"] for e in events if e["type"] == "time_limit"] == [{"before": None, "after": 60}]
    assert [e["data"] for e in events if e["type"] == "priority"] == [
        {"before": 0, "after": 5}, {"before": 5, "after": 0},
    ]  # fmt: skip
    served.operator.post(f"/v1/jobs/{first}/cancel")
    problem(changed(served.operator, f"/v1/jobs/{first}", {"priority": 5}), 409)
    assert changed(served.operator, f"/v1/jobs/{first}", {"tags": ["wrong"]}).json()["tags"] == ["wrong"]


def test_what_is_known_is_not_sent_again(served: Served, raw: str) -> None:
    for path in (f"/v1/datasets/{raw}", "/v1/me", "/v1/platform", "/v1/datasets", "/v1/job-kinds/pretrain/schema"):
        tag = etag(served.viewer, path)
        assert tag.startswith('"') and tag.endswith('"')
        again = served.viewer.get(path, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert served.viewer.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    path = "/v1/datasets/ds_none"
    assert "etag" not in served.viewer.get(path, headers={"If-None-Match": "*"}).headers
    tag = etag(served.viewer, f"/v1/datasets/{raw}")
    changed(served.operator, f"/v1/datasets/{raw}", {"tags": ["x"]})
    assert served.viewer.get(f"/v1/datasets/{raw}", headers={"If-None-Match": tag}).status_code == 200


@engines
def test_search_finds_by_the_beginning_of_words(served: Served, raw: str) -> None:
    model = trained(served.database, None, "mdl_1")
    buffer = prepared(served.database, "ds_2")
    first = preprocess(served.operator, raw, name="Röntgen of the chest", notes="see ticket 4711").json()["id"]
    second = preprocess(served.operator, raw, name="chest_again", tags=["nightly"]).json()["id"]
    assert found(served, "CHEST") == [second, first, raw]
    assert found(served, "chest röNT") == [first]
    assert found(served, "chest", type=["job"], limit=1) == [second]
    assert served.viewer.get("/v1/search", params={"q": "chest", "limit": 1}).json()["more"] is True
    assert (found(served, "4711"), found(served, "night"), found(served, "north")) == ([first], [second], [raw])
    assert (found(served, "encod"), found(served, "prepared")) == ([model], [buffer])
    assert found(served, "hest") == found(served, "chest%")[:0] == []
    changed(served.operator, f"/v1/jobs/{second}", {"name": "spine", "tags": ["weekly"]})
    assert (found(served, "nightly"), found(served, "again"), found(served, "spine week")) == ([], [], [second])
    one = served.viewer.get("/v1/search", params={"q": "weekly"}).json()["items"][0]
    assert (one["type"], one["detail"], one["state"], one["tags"]) == ("job", "preprocess", "queued", ["weekly"])
    assert "nothing to search for" in problem(served.viewer.get("/v1/search", params={"q": "-"}), 422)["detail"]


def test_search_tells_nothing_of_other_projects(served: Served, raw: str) -> None:
    served.admin.post("/v1/projects", json={"name": "north"})
    made = preprocess(served.operator, raw, name="hidden").json()["id"]
    body = {"name": "other", "role": "viewer", "projects": ["north"]}
    key = served.admin.post("/v1/keys", json=body).json()["secret"]
    headers = {"Authorization": f"Bearer {key}"}
    assert found(served, "hidden") == [made]
    assert served.stranger.get("/v1/search", params={"q": "hidden"}, headers=headers).json()["items"] == []
    assert served.stranger.get("/v1/jobs", params={"name": "hid"}, headers=headers).json()["items"] == []
    problem(served.stranger.patch(f"/v1/jobs/{made}", json={}, headers=headers | {"If-Match": "*"}), 403)
