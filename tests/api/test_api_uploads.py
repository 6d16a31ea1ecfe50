"""Large files over REST in parts: bound to size and content, resumed, completed once, cleared away."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from services.core import assembly, leftovers, uploads
from services.core.settings import Settings
from services.core.sweep import sweep
from services.core.tables import Dataset, DatasetFile, UploadSession
from services.core.tables.base import now
from tests.api.calls import announced, entry, pointers, problem
from tests.api.parts import MIB, PART, cut, finished, md5, place, put, sent, sha256, signed, started
from tests.api.serving import Served
from tests.core.databases import engines

CONTENT = os.urandom(2 * PART + 1000)
PARTS = cut(CONTENT)
NUMBERED = dict(enumerate(PARTS, start=1))
PATH = "wsi/Füße/slide 1#.tar"
DAY = timedelta(seconds=86_401)


def drafted(served: Served, files: dict[str, bytes] | None = None, **fields: Any) -> str:
    return str(announced(served.operator, files or {PATH: CONTENT}, **fields)["dataset"]["id"])


def rows(served: Served) -> list[UploadSession]:
    with served.database.reading() as session:
        return list(session.scalars(select(UploadSession)))


def swept(served: Served, moment: datetime | None = None) -> None:
    with served.database.session() as session:
        sweep(session, moment or now())
    leftovers.clean(served.database, served.store, lambda _: None, 30)
    assembly.clean(served.database, served.store, moment or now(), 30)


def test_an_announced_file_comes_in_parts(served: Served) -> None:
    dataset_id = drafted(served)
    upload = started(served.operator, dataset_id, PATH)
    assert (upload["state"], upload["size"], upload["sha256"]) == ("open", len(CONTENT), sha256(CONTENT))
    assert (upload["part_bytes"], upload["part_count"]) == (PART, 3)
    document = problem(served.operator.post(f"/v1/datasets/{dataset_id}/complete"), 409)
    assert PATH in document["detail"]

    first, second = signed(served.operator, upload, {1: PARTS[0], 2: PARTS[1]})
    assert put(first, PARTS[0]).status_code == 200
    assert put(second, b"!" + PARTS[1][1:]).status_code == 400, "another content"
    assert put(second | {"headers": {}}, PARTS[1]).status_code == 403, "without its MD5"
    assert httpx.put(second["url"], content=PARTS[1][:9], headers={"Content-MD5": second["headers"]["Content-MD5"]}) \
        .status_code == 403, "another size"  # fmt: skip
    there = served.viewer.get(f"{place(upload)}/parts").json()
    assert there == {"items": [{"number": 1, "size": PART, "md5": md5(PARTS[0])}], "next": None}

    document = problem(finished(served.operator, upload, PARTS), 409)
    assert pointers(document) == ["/md5s/1", "/md5s/2"]
    assert f"2 of 3 parts are missing or wrong: part 2 of {PATH} has not arrived" in document["detail"]
    sent(served.operator, upload, {2: PARTS[1], 3: PARTS[2]})
    document = problem(finished(served.operator, upload, [PARTS[0], b"other", PARTS[2]]), 409)
    assert pointers(document) == ["/md5s/1"]
    assert "part 2" in document["detail"] and "with other content" in document["detail"]
    assert pointers(problem(finished(served.operator, upload, PARTS[:2]), 422)) == ["/md5s"]

    done = finished(served.operator, upload, PARTS)
    assert done.status_code == 200, done.text
    assert done.json()["state"] == "completed"
    assert finished(served.operator, upload, PARTS).json() == done.json(), "may be repeated"
    problem(finished(served.operator, upload, PARTS[::-1]), 409)
    problem(served.operator.delete(place(upload)), 409)
    problem(served.operator.post(f"{place(upload)}/urls", json={"parts": [{"number": 1, "md5": md5(b"")}]}), 409)

    ready = served.operator.post(f"/v1/datasets/{dataset_id}/complete").json()
    assert (ready["state"], ready["file_count"], ready["total_bytes"]) == ("ready", 1, len(CONTENT))
    (file,) = served.viewer.get(f"/v1/datasets/{dataset_id}/files").json()["items"]
    assert (file["path"], file["sha256"]) == (PATH, sha256(CONTENT))
    assert httpx.get(file["url"]).content == CONTENT
    document = problem(
        served.operator.post(f"/v1/datasets/{dataset_id}/uploads", json={"path": "more", "size": 1}), 409
    )
    assert "takes no more files" in document["detail"]
    unknown = f"/v1/datasets/{dataset_id}/uploads/upl_nobodys/urls"
    problem(served.operator.post(unknown, json={"parts": [{"number": 1, "md5": md5(b"")}]}), 404)


@engines
def test_a_file_that_was_not_announced_joins_when_it_is_whole(served: Served) -> None:
    dataset_id = drafted(served, {"a.png": b"pixels"})
    upload = started(served.operator, dataset_id, "more/b.bin", size=3)
    assert upload["sha256"] is None
    assert pointers(problem(finished(served.operator, upload, [b"abc"]), 422)) == ["/sha256"]
    sent(served.operator, upload, {1: b"abc"})
    assert served.viewer.get(f"/v1/datasets/{dataset_id}").json()["file_count"] == 1
    assert finished(served.operator, upload, [b"abc"], sha256=sha256(b"abc")).json()["sha256"] == sha256(b"abc")
    dataset = served.viewer.get(f"/v1/datasets/{dataset_id}").json()
    assert (dataset["file_count"], dataset["total_bytes"]) == (2, 9)
    assert "1 of 2 files" in problem(served.operator.post(f"/v1/datasets/{dataset_id}/complete"), 409)["detail"]


def test_what_cannot_be_sent_is_refused(settings: Settings, serve: Callable[[Settings], Served]) -> None:
    served = serve(settings.model_copy(update={"max_file_bytes": 20 * MIB, "max_dataset_bytes": 30 * MIB}))
    dataset_id = drafted(served, {"a/b.png": b"pixels"})

    def refused(status: int, **body: Any) -> list[str]:
        answer = served.operator.post(f"/v1/datasets/{dataset_id}/uploads", json=body)
        return pointers(problem(answer, status))

    for path in ("../up", "/etc/passwd", "a/../../b", "a\nb", "a//b", ".", "a\\b", "ü" * 200):
        assert refused(422, path=path, size=1) == ["/path"], path
    assert refused(422, path="a", size=1) == refused(422, path="a/b.png/c", size=1) == ["/path"]
    assert refused(422, path="c") == ["/size"]
    assert refused(422, path="c", size=1, part_bytes=5) == ["/part_bytes"]
    assert refused(422, path="c", size=-1) == ["/size"]
    assert refused(409, path="a/b.png", size=7) == ["/size"]
    assert refused(409, path="a/b.png", sha256="0" * 64) == ["/sha256"]
    assert refused(413, path="c", size=21 * MIB) == ["/size"]
    started(served.operator, dataset_id, "c", size=20 * MIB)
    assert refused(413, path="d", size=11 * MIB) == ["/size"], "what is on its way counts"
    assert refused(422, path="c/d", size=1) == ["/path"]
    assert [item["path"] for item in served.viewer.get(f"/v1/datasets/{dataset_id}/uploads").json()["items"]] == ["c"]
    problem(served.operator.get(f"/v1/datasets/{dataset_id}/uploads/upl_none"), 404)
    problem(served.viewer.post(f"/v1/datasets/{dataset_id}/uploads", json={"path": "e", "size": 1}), 403)


def test_a_large_file_is_not_cut_into_too_many_parts(served: Served) -> None:
    dataset_id = drafted(served)
    body = {"path": "huge", "size": 90 * 2**30, "part_bytes": PART}
    document = problem(served.operator.post(f"/v1/datasets/{dataset_id}/uploads", json=body), 422)
    assert pointers(document) == ["/part_bytes"] and "10,000 are allowed" in document["detail"]
    assert started(served.operator, dataset_id, "huge", size=90 * 2**30, part_bytes=None)["part_count"] == 5760


@engines
def test_an_upload_goes_on_where_it_was(served: Served) -> None:
    files = {PATH: CONTENT, "here": b"here", "gone": b"gone"}
    created = announced(served.operator, files, resume=True)
    dataset_id = created["dataset"]["id"]
    urls = {u["path"]: u["url"] for u in created["uploads"]}
    assert set(urls) == set(files)
    assert httpx.put(urls["here"], content=b"here").status_code == 200
    upload = started(served.operator, dataset_id, PATH)
    sent(served.operator, upload, {1: PARTS[0]})

    body = {"name": "chest", "modality": "xray", "files": [entry(p, c) for p, c in files.items()], "resume": True}
    again = served.operator.post("/v1/datasets", json=body)
    assert (again.status_code, again.json()["dataset"]) == (200, created["dataset"])
    assert {u["path"] for u in again.json()["uploads"]} == {PATH, "gone"}
    same = started(served.operator, dataset_id, PATH, part_bytes=8 * MIB)
    assert (same["id"], same["part_bytes"]) == (upload["id"], PART), "its parts stay as they are"
    assert [p["number"] for p in served.viewer.get(f"{place(upload)}/parts").json()["items"]] == [1]
    sent(served.operator, upload, {2: PARTS[1], 3: PARTS[2]})
    page = served.viewer.get(f"{place(upload)}/parts", params={"limit": 2}).json()
    rest = served.viewer.get(f"{place(upload)}/parts", params={"limit": 2, "cursor": page["next"]}).json()
    assert [p["number"] for p in page["items"] + rest["items"]] == [1, 2, 3] and rest["next"] is None
    finished(served.operator, upload, PARTS)
    (last,) = served.operator.post("/v1/datasets", json=body).json()["uploads"]
    assert httpx.put(last["url"], content=b"gone").status_code == 200
    for other in ({"name": "other"}, {"modality": "ct"}, {"files": [*body["files"][1:], entry(PATH, b"!")]}):
        assert served.operator.post("/v1/datasets", json=body | other).status_code == 201, other
    assert served.operator.post(f"/v1/datasets/{dataset_id}/complete").json()["state"] == "ready"
    assert served.operator.post("/v1/datasets", json=body).status_code == 201, "a complete one is left alone"


def test_uploads_are_listed_in_pages(served: Served) -> None:
    dataset_id = drafted(served, {"a": b""})
    made = [started(served.operator, dataset_id, f"{n}", size=0)["id"] for n in range(3)]
    path = f"/v1/datasets/{dataset_id}/uploads"
    page = served.viewer.get(path, params={"limit": 2}).json()
    rest = served.viewer.get(path, params={"limit": 2, "cursor": page["next"]}).json()
    assert [u["id"] for u in page["items"] + rest["items"]] == made and rest["next"] is None
    problem(served.viewer.get(path, params={"cursor": "nonsense"}), 422)
    sent(served.operator, page["items"][0], {1: b""})
    assert finished(served.operator, page["items"][0], [b""], sha256=sha256(b"")).status_code == 200, "an empty file"


def test_what_nobody_goes_on_with_is_dropped_with_its_parts(served: Served) -> None:
    dataset_id = drafted(served, {PATH: CONTENT, "other": b""})
    upload = started(served.operator, dataset_id, PATH)
    (url, *_) = signed(served.operator, upload, NUMBERED)
    assert put(url, PARTS[0]).status_code == 200
    with served.database.session() as session:
        # almost over, but somebody goes on
        for table in (Dataset, UploadSession):
            session.execute(update(table).values(expires_at=now() + timedelta(seconds=5)))
    signed(served.operator, upload, {2: PARTS[1]})
    swept(served, now() + timedelta(hours=23))
    assert served.viewer.get(place(upload)).json()["state"] == "open", "its dataset lives, too"

    with served.database.session() as session:
        session.execute(update(Dataset).values(expires_at=now() + 2 * DAY))
    swept(served, now() + DAY)
    problem(served.viewer.get(place(upload)), 404)
    problem(finished(served.operator, upload, PARTS), 404)
    assert rows(served) == [] and assembly.begun_for(served.store, f"datasets/{dataset_id}/raw/{PATH}") == []
    assert put(url, PARTS[0]).status_code == 404, "a URL from before"
    assert started(served.operator, dataset_id, PATH)["id"] != upload["id"]


@pytest.mark.parametrize("how", ["aborted", "dataset deleted", "dataset expired"])
@engines
def test_no_parts_stay_behind(served: Served, how: str) -> None:
    dataset_id = drafted(served)
    upload = started(served.operator, dataset_id, PATH)
    sent(served.operator, upload, {1: PARTS[0]})
    key = f"datasets/{dataset_id}/raw/{PATH}"
    served.store.multipart.begin(key)  # by a request that died before it could say so
    if how == "aborted":
        assert served.operator.delete(place(upload)).status_code == 204
        problem(served.operator.delete(place(upload)), 404)
        other = started(served.operator, dataset_id, PATH)
        assert other["id"] != upload["id"]
    elif how == "dataset deleted":
        assert served.operator.delete(f"/v1/datasets/{dataset_id}").status_code == 204
    swept(served, now() + DAY if how == "dataset expired" else None)
    problem(served.operator.get(place(upload)), 404)
    left = rows(served)
    assert [row.id for row in left] == ([other["id"]] if how == "aborted" else [])
    assert assembly.begun_for(served.store, key) == [row.s3_id for row in left], "only what is in use"


@engines
def test_of_two_completes_one_does_it_and_both_are_told(served: Served) -> None:
    dataset_id = drafted(served, {"a": b""})
    upload = started(served.operator, dataset_id, "b", size=len(CONTENT), sha256=sha256(CONTENT))
    sent(served.operator, upload, NUMBERED)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: finished(served.operator, upload, PARTS), range(4)))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    assert len({answer.text for answer in answers}) == 1
    dataset = served.viewer.get(f"/v1/datasets/{dataset_id}").json()
    assert (dataset["file_count"], dataset["total_bytes"]) == (2, len(CONTENT)), "it has joined once"


@engines
def test_of_complete_and_abort_one_wins(served: Served) -> None:
    dataset_id = drafted(served, {"a": b""})
    for number in range(3):
        upload = started(served.operator, dataset_id, f"{number}", size=1, sha256=sha256(b"x"))
        sent(served.operator, upload, {1: b"x"})
        together = threading.Barrier(2)

        def do(call: Callable[[], httpx.Response], together: threading.Barrier = together) -> int:
            together.wait()
            return call().status_code

        with ThreadPoolExecutor(2) as pool:
            complete = pool.submit(do, lambda upload=upload: finished(served.operator, upload, [b"x"]))
            abort = pool.submit(do, lambda upload=upload: served.operator.delete(place(upload)))
        assert (complete.result(), abort.result()) in {(200, 409), (404, 204)}
        swept(served)
        there = served.store.size(f"datasets/{dataset_id}/raw/{number}")
        with served.database.reading() as session:
            recorded = session.scalars(select(DatasetFile.path).where(DatasetFile.path == f"{number}")).first()
        assert (there is not None) == (recorded is not None) == (complete.result() == 200)


@pytest.mark.parametrize("mended_by", ["the client", "the sweeper"])
def test_a_crash_behind_the_object_store_is_mended(
    served: Served, monkeypatch: pytest.MonkeyPatch, mended_by: str
) -> None:
    dataset_id = drafted(served)
    upload = started(served.operator, dataset_id, PATH)
    sent(served.operator, upload, NUMBERED)
    with monkeypatch.context() as crash:
        crash.setattr(uploads, "finish", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        problem(finished(served.operator, upload, PARTS), 500)
    assert served.viewer.get(place(upload)).json()["state"] == "completing"
    problem(served.operator.delete(place(upload)), 409)
    swept(served)
    assert served.viewer.get(place(upload)).json()["state"] == "completing", "somebody may be at it"
    if mended_by == "the sweeper":
        swept(served, now() + uploads.STALE * 2)
    else:
        assert finished(served.operator, upload, PARTS).status_code == 200
    assert served.viewer.get(place(upload)).json()["state"] == "completed"
    assert served.operator.post(f"/v1/datasets/{dataset_id}/complete").json()["state"] == "ready"


def test_a_crash_before_the_object_store_has_done_it_is_mended(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = started(served.operator, drafted(served), PATH)
    sent(served.operator, upload, NUMBERED)
    with monkeypatch.context() as crash:
        crash.setattr(assembly, "_assemble", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        problem(finished(served.operator, upload, PARTS), 500)
    there = served.viewer.get(f"{place(upload)}/parts").json()["items"]
    assert [part["number"] for part in there] == [1, 2, 3], "who comes back finds them"
    swept(served, now() + uploads.STALE * 2)
    assert served.viewer.get(place(upload)).json()["state"] == "open"
    assert finished(served.operator, upload, PARTS).status_code == 200


def test_parts_that_the_store_has_dropped_are_sent_again(served: Served) -> None:
    upload = started(served.operator, drafted(served), PATH)
    sent(served.operator, upload, NUMBERED)
    (row,) = rows(served)
    served.store.multipart.abort(row.key, str(row.s3_id))
    document = problem(finished(served.operator, upload, PARTS), 409)
    assert "3 of 3 parts" in document["detail"]
    sent(served.operator, upload, NUMBERED)
    assert finished(served.operator, upload, PARTS).status_code == 200


def test_a_part_that_was_sent_with_two_contents(served: Served) -> None:
    upload = started(served.operator, drafted(served), PATH)
    sent(served.operator, upload, NUMBERED)
    sent(served.operator, upload, {2: PARTS[0]})
    assert finished(served.operator, upload, PARTS).status_code == 200, "its MD5 says which"
    (row,) = rows(served)
    assert served.store.get_bytes(row.key) == CONTENT


def test_urls_are_not_kept_for_repetitions(served: Served) -> None:
    upload = started(served.operator, drafted(served), PATH)
    body = {"parts": [{"number": 1, "md5": md5(PARTS[0])}]}
    headers = {"Idempotency-Key": "urls-1"}
    assert served.operator.post(f"{place(upload)}/urls", json=body, headers=headers).status_code == 200
    assert (
        "told once" in problem(served.operator.post(f"{place(upload)}/urls", json=body, headers=headers), 409)["detail"]
    )
    wrong = {"parts": [{"number": 1, "md5": "x"}, {"number": 0, "md5": md5(b"")}]}
    document = problem(served.operator.post(f"{place(upload)}/urls", json=wrong), 422)
    assert pointers(document) == ["/parts/0/md5", "/parts/1/number"]
    beyond = {"parts": [{"number": 4, "md5": md5(b"")}]}
    assert pointers(problem(served.operator.post(f"{place(upload)}/urls", json=beyond), 422)) == ["/parts/0/number"]


def test_writes_are_on_record(served: Served) -> None:
    upload = started(served.operator, drafted(served), PATH)
    served.operator.delete(place(upload))
    routes = [item["route"] for item in served.admin.get("/v1/audit").json()["items"]]
    assert "/v1/datasets/{dataset_id}/uploads" in routes
    assert "/v1/datasets/{dataset_id}/uploads/{upload_id}" in routes


def test_files_in_one_piece_and_in_parts_are_one_dataset(served: Served) -> None:
    created = announced(served.operator, {"small": b"small", PATH: CONTENT})
    upload = started(served.operator, created["dataset"]["id"], PATH)
    sent(served.operator, upload, NUMBERED)
    finished(served.operator, upload, PARTS)
    small = next(u for u in created["uploads"] if u["path"] == "small")
    httpx.put(small["url"], content=b"small")
    done = served.operator.post(f"/v1/datasets/{created['dataset']['id']}/complete")
    assert done.json()["state"] == "ready"
