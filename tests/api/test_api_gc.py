"""The garbage collector over HTTP: for administrators, one at a time, told as it goes, on record."""

import pytest
from sqlalchemy import update

from services.core.storage import ObjectStore
from services.core.tables import GcRun
from services.worker.collector import Collector
from tests.api.calls import problem, uploaded
from tests.api.serving import Served


@pytest.fixture
def store(served: Served) -> ObjectStore:
    return ObjectStore(served.settings)


def test_only_administrators_collect_garbage(served: Served) -> None:
    for client in (served.viewer, served.operator):
        problem(client.post("/v1/gc", json={}), 403)
        problem(client.get("/v1/gc"), 403)
    problem(served.stranger.post("/v1/gc"), 401)
    problem(served.admin.get("/v1/gc/gc_1"), 404)
    problem(served.admin.get("/v1/gc/gc_1/findings"), 404)
    problem(served.admin.post("/v1/gc/gc_1/cancel"), 404)
    problem(served.admin.post("/v1/gc", json={"max_fraction": 0}), 422)
    problem(served.admin.post("/v1/gc", json={"dry": True}), 422)


def test_a_run_from_the_request_to_the_audit_log(served: Served, store: ObjectStore) -> None:
    collector = Collector(served.database, store, lambda _: None)
    dataset_id = uploaded(served.operator, {"a.png": b"x", "b.png": b"xy"})
    store.remove([f"datasets/{dataset_id}/raw/b.png"])
    for folder in ("a", "b"):
        store.put_bytes(f"datasets/ds_never/{folder}", b"xyz")
        store.put_bytes(f"models/mdl_{folder}/w", b"x")
    made = served.admin.post("/v1/gc")
    assert made.status_code == 201 and made.json()["dry_run"] and made.json()["state"] == "queued"
    run_id = made.json()["id"]
    assert run_id in problem(served.admin.post("/v1/gc"), 409)["detail"], "it names the run that is in the way"
    assert served.admin.post(f"/v1/gc/{run_id}/cancel").json()["state"] == "cancelled"
    assert collector.run_next() is None

    def run(**asked: object) -> dict[str, object]:
        run_id = served.admin.post("/v1/gc", json=asked).json()["id"]
        with served.database.session() as session:
            session.execute(update(GcRun).where(GcRun.id == run_id).values(grace_s=0))
        collector.run_next()
        return dict(served.admin.get(f"/v1/gc/{run_id}").json())

    dry = run()
    assert (dry["state"], dry["listed"], dry["fraction"], dry["removed"]) == ("succeeded", 5, 1, 0)
    assert dry["report"] == {
        "stored": {"objects": 1, "bytes": 1},
        "orphan": {"objects": 4, "bytes": 8},
        "missing": {"objects": 1, "bytes": 2},
    }
    first = served.admin.get(f"/v1/gc/{dry['id']}/findings?limit=2").json()
    rest = served.admin.get(f"/v1/gc/{dry['id']}/findings?cursor={first['next']}").json()
    rows = {row["prefix"]: row for row in first["items"] + rest["items"]}
    assert {prefix: row["kind"] for prefix, row in rows.items()} == {
        "datasets/ds_never/": "orphan", "models/mdl_a/": "orphan", "models/mdl_b/": "orphan",
        f"datasets/{dataset_id}/": "missing",
    }  # fmt: skip
    lost = rows[f"datasets/{dataset_id}/"]
    assert (lost["owner"], lost["owner_name"]) == (dataset_id, "chest")
    assert lost["examples"] == [f"datasets/{dataset_id}/raw/b.png"]

    refused = run(dry_run=False)
    assert refused["state"] == "failed" and "4 of 5 objects" in str(refused["error"])
    done = run(dry_run=False, max_fraction=1)
    assert (done["state"], done["removed"], done["removed_bytes"]) == ("succeeded", 4, 8)
    assert served.admin.get("/v1/gc").json()["items"][0]["id"] == done["id"]
    problem(served.admin.post(f"/v1/gc/{done['id']}/cancel"), 409)
    assert store.list_keys("") == [f"datasets/{dataset_id}/raw/a.png"]
    audit = served.admin.get(f"/v1/audit?request_id={done['id']}").json()["items"]
    assert [(row["method"], row["detail"]) for row in audit] == [
        ("DELETE", "garbage collection succeeded: removed 4 objects, 8 bytes")
    ]
