"""Datasets over REST: announce, PUT, complete, look, delete; what is wrong is named and leaves nothing behind."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from services.core import attempts, leftovers
from services.core.db import Database
from services.core.settings import Settings
from services.core.sweep import sweep
from services.core.tables import Dataset, DatasetFile
from services.core.tables.base import now
from tests.api.calls import LIST, announced, entry, pointers, prepared, preprocess, problem, take, trained, uploaded
from tests.api.serving import Served
from tests.core.databases import engines

FILES = {"train/normal/a 1.png": b"pixels", "train/Füße/b#2.png": b"more pixels", "empty.txt": b""}


@engines
def test_a_folder_is_uploaded(served: Served) -> None:
    created = announced(served.operator, FILES, description="from the ward\nin two lines")
    dataset = created["dataset"]
    assert (dataset["state"], dataset["role"], dataset["file_count"]) == ("uploading", "raw", 3)
    assert dataset["total_bytes"] == sum(map(len, FILES.values()))
    assert [u["path"] for u in created["uploads"]] == list(FILES)
    for upload in created["uploads"]:
        assert upload["method"] == "PUT"
        assert httpx.put(upload["url"], content=FILES[upload["path"]], headers=upload["headers"]).status_code == 200
    completed = served.operator.post(f"/v1/datasets/{dataset['id']}/complete").json()
    assert completed["state"] == "ready"
    assert served.operator.post(f"/v1/datasets/{dataset['id']}/complete").json() == completed, "may be repeated"
    assert served.viewer.get(f"/v1/datasets/{dataset['id']}").json() == completed
    files = served.viewer.get(f"/v1/datasets/{dataset['id']}/files").json()
    assert {f["path"]: httpx.get(f["url"]).content for f in files["items"]} == FILES
    assert files["next"] is None


def test_missing_and_short_files_are_named(served: Served) -> None:
    created = announced(served.operator, FILES)
    complete = f"/v1/datasets/{created['dataset']['id']}/complete"
    first, second, third = (u["url"] for u in created["uploads"])
    document = problem(served.operator.post(complete), 409)
    assert "3 of 3 files" in document["detail"]
    assert [e["detail"] for e in document["errors"]] == [f"{path} has not arrived" for path in FILES]
    for url, content in ((first, b"pixels"), (second, b"short"), (third, b"")):
        httpx.put(url, content=content)
    document = problem(served.operator.post(complete), 409)
    assert pointers(document) == ["/files/1"]
    assert "train/Füße/b#2.png has 5 bytes, announced were 11" in document["detail"]
    assert served.viewer.get(f"/v1/datasets/{created['dataset']['id']}").json()["state"] == "uploading"
    httpx.put(second, content=b"more pixels")
    assert served.operator.post(complete).status_code == 200


def wrong(**changes: Any) -> dict[str, Any]:
    return {"name": "chest", "modality": "xray", "files": [entry("good.png")]} | changes


def with_path(path: str) -> dict[str, Any]:
    return wrong(files=[entry("good.png"), entry(path)])


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown modality": (wrong(modality="xrey"), "/modality", "expected one of report, xray, ct, mr, pathology"),
    "unknown field": (wrong(modalty="xray"), "/modalty", "there is no such field"),
    "no name": ({"files": [entry("a.png")]}, "/name", "required"),
    "bad name": (wrong(name="../chest"), "/name", "letters, digits, ., _ and -"),
    "no files": (wrong(files=[]), "/files", "the dataset is empty"),
    "control characters": (wrong(description="a\x00b"), "/description", "without control characters"),
    "twice": (wrong(files=[entry("a.png"), entry("a.png")]), "/files", "a.png is listed twice"),
    "file and folder": (wrong(files=[entry("a"), entry("a/b/c")]), "/files", "a is listed as a file and as the folder"),
    "no hash": (wrong(files=[entry("a.png") | {"sha256": "abc"}]), "/files/0/sha256", "64 hexadecimal digits"),
    "negative": (wrong(files=[entry("a.png") | {"size": -1}]), "/files/0/size", "greater than or equal to 0"),
    "parent folder": (with_path("../../etc/passwd"), "/files/1/path", "without '..'"),
    "parent inside": (with_path("a/../../b"), "/files/1/path", "without '..'"),
    "absolute": (with_path("/etc/passwd"), "/files/1/path", "relative path"),
    "backslash": (with_path("a\\b.png"), "/files/1/path", "forward slashes"),
    "double slash": (with_path("a//b.png"), "/files/1/path", "forward slashes"),
    "dot": (with_path("."), "/files/1/path", "relative path"),
    "dot inside": (with_path("a/./b"), "/files/1/path", "relative path"),
    "folder": (with_path("a/"), "/files/1/path", "relative path"),
    "line break": (with_path("a\nb.png"), "/files/1/path", "control characters"),
    "long name": (with_path("ü" * 200), "/files/1/path", "255"),
    "long path": (with_path("ab/" * 299 + "c" * 100), "/files/1/path", "900"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_announcements_are_refused_whole(refusing: Served, name: str) -> None:
    body, pointer, said = BAD[name]
    document = problem(refusing.operator.post("/v1/datasets", json=body), 422)
    assert pointers(document) == [pointer]
    assert said in document["detail"]
    assert refusing.viewer.get("/v1/datasets").json() == LIST


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("{", 400, "no JSON"),
        ("[]", 422, "dictionary"),
        ("", 422, "required"),
        ("[" * 3000, 400, "nested too deeply"),
    ],
    ids=["cut off", "a list", "nothing", "nested deeply"],
)
def test_what_is_no_document(refusing: Served, body: str, status: int, said: str) -> None:
    response = refusing.operator.post("/v1/datasets", content=body, headers={"Content-Type": "application/json"})
    assert said in problem(response, status)["detail"]


def test_a_file_over_the_limit_is_named_and_nothing_is_registered(served: Served) -> None:
    files = [entry("small.nii.gz"), entry("scan.nii.gz") | {"size": 101 * 2**30}]
    document = problem(served.operator.post("/v1/datasets", json=wrong(files=files)), 413)
    assert pointers(document) == ["/files/1/size"]
    assert "scan.nii.gz has 103,424 MiB; the limit for a file is 102,400 MiB" in document["detail"]
    assert served.viewer.get("/v1/datasets").json() == LIST
    with served.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(DatasetFile)) == 0


def test_what_is_too_large_for_one_request_goes_in_parts(served: Served) -> None:
    files = [entry("small"), entry("large") | {"size": 6 * 2**30}]
    uploads = served.operator.post("/v1/datasets", json=wrong(files=files)).json()["uploads"]
    assert [upload["url"] is None for upload in uploads] == [False, True]


def test_files_that_are_too_large_together(settings: Settings, serve: Callable[[Settings], Served]) -> None:
    small = serve(settings.model_copy(update={"max_dataset_bytes": 10}))
    document = problem(small.operator.post("/v1/datasets", json=wrong(files=[entry("a"), entry("b")])), 413)
    assert "12 bytes together; the limit for a dataset is 10 bytes" in document["detail"]
    assert small.operator.post("/v1/datasets", json=wrong()).status_code == 201


def test_an_upload_that_is_never_completed_expires(served: Served) -> None:
    created = announced(served.operator, FILES)
    dataset_id = created["dataset"]["id"]
    httpx.put(created["uploads"][0]["url"], content=b"pixels")
    with served.database.session() as session:
        sweep(session, now() + timedelta(seconds=served.settings.upload_expiry_s + 1))
    problem(served.operator.post(f"/v1/datasets/{dataset_id}/complete"), 404)
    assert served.viewer.get("/v1/datasets").json() == LIST
    leftovers.clean(served.database, served.store, lambda _: None, 30)
    assert served.store.list_keys("datasets/") == []


def test_presigned_urls_carry_the_public_address(settings: Settings, serve: Callable[[Settings], Served]) -> None:
    public = serve(settings.model_copy(update={"s3_public_endpoint": "files.example:9000"}))
    (upload, *_) = announced(public.operator, FILES)["uploads"]
    assert upload["url"].startswith(f"http://files.example:9000/{settings.s3_bucket}/datasets/ds_")


def test_an_unused_dataset_is_deleted_with_its_files(served: Served) -> None:
    dataset_id, other = uploaded(served.operator, FILES), uploaded(served.operator, FILES)
    assert served.operator.delete(f"/v1/datasets/{dataset_id}").status_code == 204
    problem(served.viewer.get(f"/v1/datasets/{dataset_id}"), 404)
    problem(served.operator.delete(f"/v1/datasets/{dataset_id}"), 404)
    leftovers.clean(served.database, served.store, lambda _: None, 30)
    assert served.store.list_keys(f"datasets/{dataset_id}/") == []
    assert len(served.store.list_keys(f"datasets/{other}/")) == 3


@engines
def test_a_dataset_in_use_is_not_deleted(served: Served) -> None:
    raw = uploaded(served.operator, FILES)
    job = preprocess(served.operator, raw).json()["id"]
    for _ in ("queued", "running"):
        assert job in problem(served.operator.delete(f"/v1/datasets/{raw}"), 409)["detail"]
        if _ == "queued":
            claim = take(served.database, job)
    with served.database.session() as session:
        attempts.succeed(session, job, claim.fence, {})
    child = prepared(served.database, "ds_child000000", job)
    assert child in problem(served.operator.delete(f"/v1/datasets/{raw}"), 409)["detail"]

    training = served.operator.post("/v1/jobs", json={"kind": "pretrain", "spec": {"dataset": child}}).json()["id"]
    claim = take(served.database, training)
    with served.database.session() as session:
        attempts.succeed(session, training, claim.fence, {})
    model = trained(served.database, None, "mdl_made00000", training)
    assert model in problem(served.operator.delete(f"/v1/datasets/{child}"), 409)["detail"]
    assert served.viewer.get(f"/v1/datasets/{raw}").status_code == 200


def test_a_dataset_of_a_cancelled_job_can_be_deleted(served: Served) -> None:
    raw = uploaded(served.operator, FILES)
    job = preprocess(served.operator, raw).json()["id"]
    assert served.operator.post(f"/v1/jobs/{job}/cancel").status_code == 200
    assert served.operator.delete(f"/v1/datasets/{raw}").status_code == 204


@engines
def test_lists_come_in_pages_newest_first(served: Served) -> None:
    made = [announced(served.operator, {"a": b""}, name=f"d{n}")["dataset"]["id"] for n in range(7)]
    with served.database.session() as session:
        # made at the same moment: the order is still one and the same
        same = session.get_one(Dataset, made[2]).created_at
        session.execute(update(Dataset).where(Dataset.id.in_(made[2:5])).values(created_at=same))
    found: list[str] = []
    cursor, pages = None, 0
    while True:
        document = served.viewer.get("/v1/datasets", params={"limit": 3, "cursor": cursor or ""}).json()
        found += [item["id"] for item in document["items"]]
        cursor, pages = document["next"], pages + 1
        if cursor is None:
            break
    assert found == made[::-1]
    assert pages == 3
    assert "cursor" in problem(served.viewer.get("/v1/datasets", params={"cursor": "nonsense"}), 422)["detail"]
    assert pointers(problem(served.viewer.get("/v1/datasets", params={"limit": 0}), 422)) == ["query:limit"]


def test_lists_are_filtered(served: Served, database: Database) -> None:
    raw = announced(served.operator, {"a": b""}, modality="mr")["dataset"]["id"]
    buffer = prepared(database, "ds_buffer00000", role="buffer")

    def found(**filters: str) -> list[str]:
        return [item["id"] for item in served.viewer.get("/v1/datasets", params=filters).json()["items"]]

    assert found(role="raw") == [raw]
    assert found(modality="xray") == [buffer]
    assert found(role="buffer", modality="mr") == []
    assert "xray" in problem(served.viewer.get("/v1/datasets", params={"modality": "xrey"}), 422)["detail"]
    problem(served.viewer.get("/v1/datasets", params={"role": "cooked"}), 422)


def test_files_come_in_pages(served: Served) -> None:
    dataset_id = announced(served.operator, {f"{n:03d}.png": b"" for n in range(25)})["dataset"]["id"]
    path, found, cursor = f"/v1/datasets/{dataset_id}/files", [], None
    while True:
        document = served.viewer.get(path, params={"limit": 10} | ({"cursor": cursor} if cursor else {})).json()
        found += [item["path"] for item in document["items"]]
        cursor = document["next"]
        if cursor is None:
            break
    assert found == [f"{n:03d}.png" for n in range(25)]
    problem(served.viewer.get(path, params={"cursor": "x"}), 422)
    problem(served.viewer.get(path, params={"cursor": "9" * 60}), 422)


def test_files_are_found_by_folder_and_sorted(served: Served) -> None:
    contents = {"b/2.png": b"four", "B/1.png": b"a", "b/10.png": b"abc", "c.png": b""}
    path, other = (f"/v1/datasets/{announced(served.operator, contents)['dataset']['id']}/files" for _ in range(2))

    def pages(**asked: Any) -> list[dict[str, Any]]:
        found, cursor = [], None
        while True:
            params = {"limit": 1, "fields": "path,size"} | asked | ({"cursor": cursor} if cursor else {})
            document = served.viewer.get(path, params=params).json()
            found += document["items"]
            if (cursor := document["next"]) is None:
                return found

    assert [one["path"] for one in pages()] == list(contents)
    assert pages(path="b/") == [{"path": "b/10.png", "size": 3}, {"path": "b/2.png", "size": 4}]
    assert [one["path"] for one in pages(sort="-path")] == ["c.png", "b/2.png", "b/10.png", "B/1.png"]
    assert [one["size"] for one in pages(sort="-size")] == [4, 3, 1, 0]
    cursor = served.viewer.get(path, params={"limit": 1}).json()["next"]
    problem(served.viewer.get(other, params={"cursor": cursor}), 422)
    document = problem(served.viewer.get(path, params={"path": "b/", "sort": "size"}), 422)
    assert "expected path" in document["errors"][0]["detail"]
