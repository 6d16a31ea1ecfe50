"""Webhooks over HTTP: whose they are, where they may lead, what is shown of them."""

from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from services.core.keys import Role, create_key
from services.core.projects import create
from services.core.tables import Delivery, Webhook
from services.worker.postman import Postman
from tests.api.calls import pointers, preprocess, problem, uploaded
from tests.api.serving import Served
from tests.core.databases import engines

URL = "https://8.8.8.8/hook"


def made(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = client.post("/v1/webhooks", json={"url": URL} | fields)
    assert response.status_code == 201, response.text
    return dict(response.json())


@engines
def test_a_webhook_from_its_making_to_its_end(served: Served) -> None:
    created = made(served.operator, events=["job.queued", "job.queued", "job.failed"], description="ward")
    assert created["secret"].startswith("whsec_") and len(created["secret"]) > 40
    hook = created["webhook"]
    assert hook["events"] == ["job.queued", "job.failed"] and hook["active"] and hook["created_by"] == "the operator"
    path = f"/v1/webhooks/{hook['id']}"
    shown = served.operator.get(path)
    assert shown.json() == hook and "secret" not in hook
    assert served.operator.get("/v1/webhooks").json()["items"] == [hook]
    with served.database.reading() as session:
        assert created["secret"] not in session.scalars(select(Webhook.secret)).one(), "a stolen database tells nothing"

    problem(served.operator.patch(path, json={"active": False}), 428)
    off = served.operator.patch(path, json={"active": False}, headers={"If-Match": shown.headers["ETag"]})
    assert off.status_code == 200 and not off.json()["active"]
    problem(served.operator.patch(path, json={"active": True}, headers={"If-Match": shown.headers["ETag"]}), 412)
    problem(served.operator.post(f"{path}/test"), 409)
    served.operator.patch(path, json={"active": True, "events": ["*"]}, headers={"If-Match": "*"})

    rotated = served.operator.post(f"{path}/rotate", json={"grace_s": 60}).json()
    assert rotated["secret"] != created["secret"] and rotated["webhook"]["previous_until"] is not None
    served.operator.post(f"{path}/test")
    job = preprocess(served.operator, uploaded(served.operator, {"a": b"x"})).json()["id"]
    page = served.operator.get(f"{path}/deliveries", params={"limit": 1}).json()
    (told,) = page["items"]
    assert (told["event"], told["state"], told["payload"]["data"]["job_id"]) == ("job.queued", "pending", job)
    (test,) = served.operator.get(f"{path}/deliveries", params={"cursor": page["next"]}).json()["items"]
    assert test["event"] == "webhook.test"
    assert served.operator.get(f"{path}/deliveries", params={"state": "failed"}).json()["items"] == []
    problem(served.operator.post(f"{path}/deliveries/{told['id']}/redeliver"), 409)
    with served.database.session() as session:
        session.execute(update(Delivery).values(state="failed", next_at=None))
    again = served.operator.post(f"{path}/deliveries/{told['id']}/redeliver").json()
    assert (again["id"], again["state"]) == (told["id"], "pending")
    problem(served.operator.post(f"{path}/deliveries/msg_0/redeliver"), 404)

    assert served.operator.delete(path).status_code == 204
    problem(served.operator.get(path), 404)
    audit = [(e["method"], e["route"]) for e in served.admin.get("/v1/audit").json()["items"]]
    assert ("POST", "/v1/webhooks/{webhook_id}/rotate") in audit and ("DELETE", "/v1/webhooks/{webhook_id}") in audit


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:6379/", "open named hosts and networks with MEDCOSS_WEBHOOK_NETWORKS"),
        ("http://localhost/", "MEDCOSS_WEBHOOK_NETWORKS"),
        ("http://169.254.169.254/latest", "MEDCOSS_WEBHOOK_NETWORKS"),
        ("http://[::ffff:10.0.0.1]/", "MEDCOSS_WEBHOOK_NETWORKS"),
        ("http://2130706433/", "MEDCOSS_WEBHOOK_NETWORKS"),
        ("https://no-such-host.invalid/", "cannot be found"),
        ("ftp://8.8.8.8/", "begins with https:// or http://"),
        ("https://u:p@8.8.8.8/", "without user name"),
    ],
)
def test_a_url_that_may_not_be_called_is_refused(served: Served, url: str, words: str) -> None:
    document = problem(served.operator.post("/v1/webhooks", json={"url": url}), 422)
    assert pointers(document) == ["/url"] and words in document["detail"]
    path = f"/v1/webhooks/{made(served.operator)['webhook']['id']}"
    changed = served.operator.patch(path, json={"url": url}, headers={"If-Match": "*"})
    assert pointers(problem(changed, 422)) == ["/url"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"), ({"url": URL, "events": []}, "/events"), ({"url": URL, "events": ["job.exploded"]}, "/events/0"),
        ({"url": URL, "secret": "mine"}, "/secret"), ({"url": URL, "project": "none"}, "/project"),
    ],
)  # fmt: skip
def test_wrong_fields_are_named(served: Served, body: dict[str, Any], pointer: str) -> None:
    assert pointers(problem(served.operator.post("/v1/webhooks", json=body), 422)) == [pointer]


def test_webhooks_are_for_operators_of_their_project(served: Served) -> None:
    hook = made(served.operator)["webhook"]["id"]
    with served.database.session() as session:
        south = create(session, "south").id
        _, secret = create_key(session, name="s", owner="s", role=Role.OPERATOR, projects=[south], expires_at=None)
    other = httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {secret}"})
    assert other.get("/v1/webhooks").json()["items"] == []
    assert made(other)["webhook"]["project_id"] == south
    calls = [
        ("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/rotate"), ("POST", "/test"), ("GET", "/deliveries"),
        ("POST", "/deliveries/msg_1/redeliver"),
    ]  # fmt: skip
    for method, end in calls:
        body = {"json": {}} if method == "PATCH" else {}
        problem(other.request(method, f"/v1/webhooks/{hook}{end}", **body), 404)
        problem(served.viewer.request(method, f"/v1/webhooks/{hook}{end}", **body), 403)
    problem(served.viewer.get("/v1/webhooks"), 403)
    other.close()


def test_a_project_has_only_so_many(served: Served) -> None:
    for _ in range(20):
        made(served.operator)
    assert "20 webhooks" in problem(served.operator.post("/v1/webhooks", json={"url": URL}), 409)["detail"]


def test_a_network_that_is_opened_can_be_reached(settings: Any, serve: Any) -> None:
    served = serve(settings.model_copy(update={"webhook_networks": ["127.0.0.0/8"]}))
    hook = made(served.operator, url="http://127.0.0.1:1/")["webhook"]["id"]
    served.operator.post(f"/v1/webhooks/{hook}/test")
    Postman(served.settings, served.database).send_due()
    (row,) = served.operator.get(f"/v1/webhooks/{hook}/deliveries").json()["items"]
    assert (row["attempts"], row["error"]) == (1, "the connection failed (ConnectError)")
    assert served.operator.get(f"/v1/webhooks/{hook}").json()["failing_since"] is not None
