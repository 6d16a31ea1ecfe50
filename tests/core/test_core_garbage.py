"""The garbage collector finds what nobody owns and what is missing, and never removes what somebody makes meanwhile."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from services.core import leftovers
from services.core.checkpoints import MANIFEST, Manifest, folder_of
from services.core.db import Database
from services.core.errors import Conflict, NotFound
from services.core.garbage import runs
from services.core.garbage.collect import Collection, TooMuch
from services.core.garbage.runs import Stopped
from services.core.ids import new_id
from services.core.settings import Settings
from services.core.storage import PAGE, ObjectStore
from services.core.tables import (
    DEFAULT_PROJECT,
    AuditEntry,
    Deployment,
    GcFinding,
    GcRun,
    Job,
    UploadSession,
)
from services.core.tables.base import now
from services.embedded.servers import free_port
from services.worker.collector import Collector
from tests.core.databases import engines
from tests.core.owned import GRACE, dataset, entry, evaluation, failed_job, index, model, started
from tests.core.steps import running, submitted


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return ObjectStore(settings)


def collected(database: Database, store: ObjectStore, unload: Callable[[str], None] = lambda _: None,
              later: timedelta = 2 * GRACE, **asked: object) -> dict[str, int]:  # fmt: skip
    """Carry out a run as if it were `later`; the number of objects by verdict, and of those that were removed."""
    started(database, **asked)  # type: ignore[arg-type]
    with database.session() as session:
        run = runs.take(session, now())
    assert run is not None
    work = Collection(database, store, run, unload, now() + later)
    try:
        work.carry_out()
    finally:
        with database.session() as session:
            assert runs.finish(session, run.id, run.fence, "succeeded")
    found = {verdict: counts["objects"] for verdict, counts in work.report.items() if counts["objects"]}
    return found | ({"removed": work.removed["objects"]} if work.removed["objects"] else {})


def found(database: Database) -> list[tuple[str, str, str | None, int]]:
    """What the last run has found."""
    with database.reading() as session:
        run_id = session.scalars(select(GcRun.id).order_by(GcRun.created_at.desc())).first()
        rows = session.scalars(select(GcFinding).where(GcFinding.run_id == run_id).order_by(GcFinding.seq))
        return sorted((row.kind, row.prefix, row.owner, row.objects) for row in rows)


def checkpoint(store: ObjectStore, job_id: str, step: int, *, whole: bool = True) -> str:
    """Store a checkpoint of two objects, or one without its manifest; its folder."""
    folder = folder_of(job_id, step, 1)
    store.put_bytes(f"{folder}/model.safetensors", b"x")
    if whole:
        manifest = Manifest(step=step, fence=1, files=[entry("model.safetensors")])
        store.put_bytes(f"{folder}/{MANIFEST}", manifest.model_dump_json().encode())
    return f"{folder}/"


def no_leftovers(database: Database) -> None:
    """What the sweeper does in its time has been done."""
    with database.session() as session:
        session.query(leftovers.Leftover).delete()


@engines
def test_everything_is_told_apart_and_only_what_nobody_owns_goes(database: Database, store: ObjectStore) -> None:
    dataset(database, store, "ds_whole", "a b.png", "ü/c.png")
    dataset(database, store, "ds_hurt", "gone.png", "cut.png", "good.png")
    store.remove(["datasets/ds_hurt/raw/gone.png"])
    store.put_bytes("datasets/ds_hurt/raw/cut.png", b"")
    store.put_bytes("datasets/ds_whole/raw/unasked.png", b"xx")
    dataset(database, None, "ds_coming", "a", "b", state="uploading")
    store.put_bytes("datasets/ds_coming/raw/a", b"longer than it says")
    served = model(database, store, "mdl_1")
    evaluation(database, store, "evl_hurt", "roc.png", "gone.png")
    store.remove(["evaluations/evl_hurt/gone.png"])
    store.put_bytes("evaluations/evl_never/roc.png", b"x")
    index(database, store, "idx_two", "ixv_2/vectors.faiss")
    store.put_bytes("indexes/idx_two/ixv_1/vectors.faiss", b"x")
    with database.session() as session:
        for name in ("chest", "lost"):
            session.add(
                Deployment(id=f"dep_{name}", name=name, version=2, state="ready", info={}, model_id=served,
                           project_id=DEFAULT_PROJECT, ready_at=now())
            )  # fmt: skip
    for name in ("chest.2", "chest.1"):
        store.put_bytes(f"triton/{name}/1/model.onnx", b"x")
    claim = running(database)
    store.put_bytes(f"jobs/{claim.job_id}/artifacts/000001/just_stored.png", b"x")
    with database.session() as session:
        leftovers.reserve(session, "models/mdl_new/", claim.job_id, claim.fence)
    store.put_bytes("models/mdl_new/half", b"x")
    store.put_bytes("datasets/ds_never/shards/a", b"x")
    store.put_bytes("somebody/elses", b"x")
    before = store.sizes("")

    counts = {"stored": 2 + 1 + 1 + 1 + 1 + 1, "unfinished": 2, "reserved": 1, "orphan": 5, "foreign": 1, "missing": 3,
              "wrong_size": 1}  # fmt: skip
    assert collected(database, store) == counts
    assert store.sizes("") == before, "a dry run removes nothing"
    told = [
        ("foreign", "somebody/", None, 1),
        ("missing", "datasets/ds_hurt/", "ds_hurt", 1),
        ("missing", "evaluations/evl_hurt/", "evl_hurt", 1),
        ("missing", "triton/lost.2/", "dep_lost", 1),
        ("orphan", "datasets/ds_never/", None, 1),
        ("orphan", "datasets/ds_whole/", None, 1),
        ("orphan", "evaluations/evl_never/", None, 1),
        ("orphan", "indexes/idx_two/", None, 1),
        ("orphan", "triton/chest.1/", None, 1),
        ("wrong_size", "datasets/ds_hurt/", "ds_hurt", 1),
    ]
    assert found(database) == told
    young = collected(database, store, later=timedelta(), dry_run=False)
    assert young["young"] == 5 and "orphan" not in young and store.sizes("") == before, "the grace is not over"

    unloaded: list[str] = []
    assert collected(database, store, unloaded.append, dry_run=False) == counts | {"removed": 5}
    assert before.keys() - store.sizes("").keys() == {
        "datasets/ds_whole/raw/unasked.png", "datasets/ds_never/shards/a", "triton/chest.1/1/model.onnx",
        "evaluations/evl_never/roc.png", "indexes/idx_two/ixv_1/vectors.faiss",
    }  # fmt: skip
    assert unloaded == ["chest.1"], "it is taken out of Triton first"
    after = collected(database, store, dry_run=False)
    assert "orphan" not in after and "removed" not in after


def test_checkpoints_of_ended_jobs_stay_as_far_as_the_setting_says(database: Database, store: ObjectStore) -> None:
    ended, goes_on = failed_job(database), submitted(database)
    no_leftovers(database)
    for job_id in (ended, goes_on):
        folders = [checkpoint(store, job_id, step) for step in (10, 20, 30)]
        half = checkpoint(store, job_id, 40, whole=False)
    mine = [folder.replace(goes_on, ended) for folder in folders]
    assert collected(database, store, dry_run=False) == {"kept": 7, "unfinished": 7}, "by default all stay"
    with database.session() as session:
        session.execute(update(Job).where(Job.id == ended).values(finished_at=now() + timedelta(hours=1.5)))
    assert collected(database, store, dry_run=False, keep=2) == {"kept": 7, "unfinished": 7}, "it has just ended"
    with database.session() as session:
        session.execute(update(Job).where(Job.id == ended).values(finished_at=now()))
    counts = collected(database, store, dry_run=False, keep=2)
    assert counts == {"kept": 4, "superseded": 3, "unfinished": 7, "removed": 3}
    assert [row[:3] for row in found(database)] == [
        ("superseded", mine[0], ended), ("superseded", half.replace(goes_on, ended), ended),
    ]  # fmt: skip
    assert sorted(store.list_keys(f"jobs/{ended}/")) == sorted(
        f"{folder}{name}" for folder in mine[1:] for name in (MANIFEST, "model.safetensors")
    )
    assert collected(database, store, dry_run=False, keep=0)["removed"] == 4


def test_a_checkpoint_that_a_job_wants_to_go_on_from_is_missed(database: Database, store: ObjectStore) -> None:
    gone, hurt, cut = (submitted(database) for _ in range(3))
    with database.session() as session:
        session.execute(update(Job).values(checkpoint_step=20))
    for job_id in (hurt, cut):
        checkpoint(store, job_id, 10)
        newest = checkpoint(store, job_id, 20)
    store.remove([f"{newest.replace(cut, hurt)}model.safetensors"])
    store.put_bytes(f"{newest}{MANIFEST}", b"{")
    assert collected(database, store) == {"unfinished": 7, "missing": 2, "wrong_size": 1}
    assert found(database) == sorted([
        ("missing", f"jobs/{gone}/checkpoints/", gone, 1), ("missing", newest.replace(cut, hurt), hurt, 1),
        ("wrong_size", newest, cut, 1),
    ])  # fmt: skip


def test_multipart_uploads_that_nobody_goes_on_with_are_aborted(database: Database, store: ObjectStore) -> None:
    claim = running(database)
    dataset(database, None, "ds_coming", "a", state="uploading")
    dataset(database, store, "ds_ready", "a")
    nobodys = [f"datasets/ds_never/raw/{number} ü.bin" for number in range(3)] + ["datasets/ds_ready/raw/a"]
    joins = "datasets/ds_coming/raw/not announced"
    with database.session() as session:
        session.add(
            UploadSession(id="upl_1", dataset_id="ds_coming", path="not announced", key=joins, size=4, part_bytes=4,
                          expires_at=now())
        )  # fmt: skip
    others = ["datasets/ds_coming/raw/a", joins, f"jobs/{claim.job_id}/checkpoints/000000001.000001/m", "foreign/a"]
    for key in nobodys + others:
        upload_id = store._client._create_multipart_upload(store.bucket, key, {})
        store._client._upload_part(store.bucket, key, b"part", {}, upload_id, 1)

    def unfinished() -> list[str]:
        return sorted(each.key for page in store.multipart.unfinished() for each in page)

    assert collected(database, store) == {"stored": 1, "upload": 4}
    assert "upload" not in collected(database, store, later=timedelta(), dry_run=False)
    assert unfinished() == sorted(nobodys + others)
    assert collected(database, store, dry_run=False)["removed"] == 4
    assert unfinished() == sorted(others)
    assert store.size("datasets/ds_ready/raw/a") == 1
    for page in store.multipart.unfinished():
        for each in page:
            store.multipart.abort(each.key, each.upload_id)
            store.multipart.abort(each.key, each.upload_id)


def test_unfinished_uploads_come_in_pages(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        store._client._create_multipart_upload(store.bucket, f"datasets/d/{number}", {})
    monkeypatch.setattr("services.core.multipart._PAGE", 2)
    pages = [[each.key for each in page] for page in store.multipart.unfinished("datasets/d/")]
    assert len(pages) >= 3
    assert sorted(key for page in pages for key in page) == [f"datasets/d/{number}" for number in range(5)]
    for page in list(store.multipart.unfinished()):
        for each in page:
            store.multipart.abort(each.key, each.upload_id)


def test_more_than_is_allowed_is_not_removed(database: Database, store: ObjectStore) -> None:
    """An empty database in front of a full bucket is no reason to empty the bucket."""
    dataset(database, store, "ds_1", "a")
    for number in range(2):
        store.put_bytes(f"datasets/ds_never/{number}/a", b"x")
    with pytest.raises(TooMuch, match="2 of 3 objects"):
        collected(database, store, dry_run=False, fraction=0.5)
    assert len(store.list_keys("")) == 3
    assert collected(database, store, dry_run=False, fraction=0.7)["removed"] == 2


@engines
def test_there_is_one_run_at_a_time_and_a_dead_collector_is_replaced(database: Database) -> None:
    first = started(database)
    with pytest.raises(Conflict, match="not over"):
        started(database)
    for fence in range(1, runs.ATTEMPTS + 1):
        with database.session() as session:
            run = runs.take(session, now() + (fence - 1) * (runs.LEASE + timedelta(minutes=1)))
            assert run is not None and (run.id, run.fence) == (first, fence)
        with database.session() as session:
            assert runs.take(session, now()) is None, "somebody has it"
            if fence > 1:
                with pytest.raises(Stopped):
                    runs.note(session, first, fence - 1, listed=5)
            runs.note(session, first, fence, listed=3)
    with database.session() as session:
        assert runs.take(session, now() + timedelta(days=1)) is None
        run = runs.get(session, first)
        assert run.state == "failed" and "died 3 times" in str(run.error)
    assert started(database) != first
    with database.session() as session, pytest.raises(NotFound):
        runs.get(session, "gc_other")


def test_a_run_can_be_cancelled_before_it_runs_and_while_it_does(database: Database, store: ObjectStore) -> None:
    run_id = started(database)
    with database.session() as session:
        assert runs.cancel(session, run_id).state == "cancelled"
    run_id = started(database, dry_run=False)
    store.put_bytes("datasets/ds_never/a/b", b"x")
    with database.session() as session:
        run = runs.take(session, now())
        assert run is not None and runs.cancel(session, run_id).state == "running"
    with pytest.raises(Stopped):
        Collection(database, store, run, lambda _: None, now() + 2 * GRACE).carry_out()
    assert store.list_keys("") == ["datasets/ds_never/a/b"]


def test_the_collector_ends_runs_and_puts_removals_on_record(
    database: Database, store: ObjectStore, make_settings: Callable[..., Settings]
) -> None:
    store.put_bytes("datasets/ds_never/a/b", b"xyz")
    collector = Collector(database, store, lambda _: None)
    assert collector.run_next() is None
    for fraction, state in ((0.5, "failed"), (1.0, "succeeded")):
        run_id = started(database, dry_run=False, fraction=fraction, grace=timedelta())
        assert collector.run_next() == state
    with database.reading() as session:
        run = runs.get(session, run_id)
        assert (run.removed, run.removed_bytes, run.unfinished) == (1, 3, None)
        last = session.scalars(select(AuditEntry).order_by(AuditEntry.seq.desc())).first()
        assert last is not None and last.actor == "ada" and "removed 1 objects, 3 bytes" in str(last.detail)
    run_id = started(database)
    away = ObjectStore(make_settings(s3_endpoint=f"127.0.0.1:{free_port()}"), retries=0)
    assert Collector(database, away, lambda _: None).run_next() == "failed"
    with database.reading() as session:
        assert "object store" in str(runs.get(session, run_id).error)
    with database.session() as session:
        for _ in range(runs.REMEMBERED + 3):
            session.add(GcRun(id=new_id("gc"), dry_run=True, state="failed", unfinished=None, grace_s=0, max_fraction=1,
                              created_by="ada"))  # fmt: skip
    started(database)
    with database.reading() as session:
        assert len(runs.known(session)) <= runs.REMEMBERED + 1


def test_a_listing_of_many_pages_is_told_folder_by_folder(database: Database, store: ObjectStore,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    assert PAGE == 1000
    monkeypatch.setattr("services.core.storage.PAGE", 4)
    for folder in ("ds_a", "ds_a-b", "ds_b"):
        for number in range(5):
            store.put_bytes(f"datasets/{folder}/raw/{number}", b"x")
    assert collected(database, store, dry_run=False) == {"orphan": 15, "removed": 15}
    assert found(database) == [("orphan", f"datasets/{f}/", None, 5) for f in ("ds_a-b", "ds_a", "ds_b")]
    assert store.list_keys("") == []
