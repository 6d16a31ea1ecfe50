"""Stored objects that no record owns are found and removed, and nothing else is."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from services.core import attempts, jobs, leftovers
from services.core.db import Database
from services.core.lifecycle import State
from services.core.scope import EVERYTHING
from services.core.served_names import next_version
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import Leftover
from services.core.tables.base import now
from services.embedded.servers import free_port
from tests.core.databases import engines
from tests.core.steps import later, running, swept

PLACE = "datasets/ds_new/"


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return ObjectStore(settings)


def rows(database: Database) -> dict[str, Leftover]:
    with database.reading() as session:
        return {row.prefix: row for row in session.scalars(select(Leftover))}


def shift(database: Database, by: timedelta) -> None:
    """Let time pass for everything that waits for its removal."""
    with database.session() as session:
        for row in session.scalars(select(Leftover)):
            row.remove_at = row.remove_at and row.remove_at - by
            row.watch_until = row.watch_until and row.watch_until - by


def clean(database: Database, store: ObjectStore, unloaded: list[str] | None = None) -> int:
    return leftovers.clean(database, store, (unloaded if unloaded is not None else []).append, 30)


def reserved(database: Database) -> attempts.Claim:
    claim = running(database, max_attempts=3)
    with database.session() as session:
        leftovers.reserve(session, PLACE, claim.job_id, claim.fence)
    return claim


@engines
def test_what_succeeds_is_kept(database: Database) -> None:
    claim = reserved(database)
    with database.session() as session:
        attempts.succeed(session, claim.job_id, claim.fence, {})
    ended = f"jobs/{claim.job_id}"
    assert set(rows(database)) == {f"{ended}/artifacts/", f"{ended}/checkpoints/"}, "nobody goes on from them"


def _end(database: Database, claim: attempts.Claim, how: str) -> None:
    """End a running job."""
    wrong = {"title": "Input that cannot be used", "detail": "a.png: is empty", "reason": "data"}
    with database.session() as session:
        if how == "succeeded":
            attempts.succeed(session, claim.job_id, claim.fence, {})
        elif how == "failed":
            attempts.fail(session, claim.job_id, claim.fence, wrong)
        elif how == "cancelled while it ran":
            attempts.release(session, claim.job_id, claim.fence, State.CANCELLED, "cancelled by its owner")
        else:
            attempts.release(session, claim.job_id, claim.fence, State.QUEUED, "shutdown")
            jobs.request_cancel(session, EVERYTHING, claim.job_id)


@pytest.mark.parametrize("how", ["succeeded", "failed", "cancelled while it ran", "cancelled later"])
def test_artifacts_that_no_row_names_go_with_the_end_of_the_job(
    database: Database, store: ObjectStore, how: str
) -> None:
    claim = running(database)
    folder = f"jobs/{claim.job_id}/artifacts"
    keys = [f"{folder}/000001/picture.png", f"{folder}/000001/killed_before_it_could_tell.png",
            f"{folder}/000002/picture.png"]  # fmt: skip
    for key in keys:
        store.put_bytes(key, b"x")
    for key in (keys[0], keys[2]):
        with database.session() as session:
            drawn = attempts.Artifact("picture.png", key, "image/png", 1)
            assert attempts.record_rows(session, claim.job_id, claim.fence, artifacts=[drawn])
    clean(database, store)
    assert len(store.list_keys(folder)) == 3, "the job goes on"
    _end(database, claim, how)
    clean(database, store)
    assert store.list_keys(folder) == [keys[2]], "the picture that was drawn last"
    late = f"jobs/{claim.job_id}/artifacts/000001/late.png"
    store.put_bytes(late, b"an attempt that has lost its lease stores for a while")
    shift(database, leftovers.LINGER)
    clean(database, store)
    assert store.list_keys(folder) == [keys[2]]
    assert rows(database) == {}


def test_a_checkpoint_that_comes_after_the_end_goes_too(database: Database, store: ObjectStore) -> None:
    claim = running(database)
    _end(database, claim, "succeeded")
    clean(database, store)
    store.put_bytes(f"jobs/{claim.job_id}/checkpoints/000000005.000001/model.safetensors", b"a zombie's")
    shift(database, leftovers.LINGER)
    clean(database, store)
    assert store.list_keys(f"jobs/{claim.job_id}/") == []


@engines
def test_what_a_lost_attempt_has_stored_goes_once_it_is_surely_dead(database: Database, store: ObjectStore) -> None:
    claim = reserved(database)
    store.put_bytes(f"{PLACE}shards/meta.json", b"{}")
    store.put_bytes("datasets/ds_new2/shards/meta.json", b"{}")
    swept(database)
    assert rows(database)[PLACE].remove_at is None, "the attempt is running"
    swept(database, later())
    shift(database, timedelta(minutes=2))
    assert clean(database, store) == 0, "its process may still be storing"
    shift(database, leftovers.LINGER)
    assert clean(database, store) == 1
    assert store.list_keys("") == ["datasets/ds_new2/shards/meta.json"]
    assert rows(database) == {}
    del claim


@engines
def test_a_second_attempt_does_not_protect_what_the_first_has_stored(database: Database) -> None:
    first = reserved(database)
    with database.session() as session:
        attempts.release(session, first.job_id, first.fence, State.QUEUED, "shutdown")
        assert attempts.claim(session, first.job_id, "other", 30) is not None
    swept(database)
    assert rows(database)[PLACE].remove_at is not None


def test_what_may_still_arrive_is_looked_for_again(database: Database, store: ObjectStore) -> None:
    with database.session() as session:
        leftovers.add(session, PLACE, watch_until=now() + timedelta(hours=1))
    store.put_bytes(f"{PLACE}raw/a", b"x")
    assert clean(database, store) == 1
    assert store.list_keys(PLACE) == [], "removed at once"
    store.put_bytes(f"{PLACE}raw/b", b"late")
    assert clean(database, store) == 0
    shift(database, timedelta(hours=2))
    clean(database, store)
    assert store.list_keys(PLACE) == []
    assert rows(database) == {}


def test_a_served_model_is_unloaded_before_its_files_go(database: Database, store: ObjectStore) -> None:
    store.put_bytes("triton/chest.3/3/model.onnx", b"x")
    with database.session() as session:
        leftovers.add(session, "triton/chest.3/")
    unloaded: list[str] = []
    assert clean(database, store, unloaded) == 1
    assert unloaded == ["chest.3"]
    assert store.list_keys("triton/") == []


def test_what_cannot_be_removed_now_waits(
    database: Database, store: ObjectStore, make_settings: Callable[..., Settings]
) -> None:
    store.put_bytes(f"{PLACE}a", b"x")
    store.put_bytes("triton/chest.3/a", b"x")
    with database.session() as session:
        leftovers.add(session, PLACE)
        leftovers.add(session, "triton/chest.3/")

    def away(_: str) -> None:
        raise OSError("Triton is away")

    assert leftovers.clean(database, store, away, 30) == 1, "the other one is removed all the same"
    assert list(rows(database)) == ["triton/chest.3/"]
    gone = ObjectStore(make_settings(s3_endpoint=f"127.0.0.1:{free_port()}"), retries=0)
    assert leftovers.clean(database, gone, lambda _: None, 30) == 0
    assert clean(database, store) == 1


@engines
def test_versions_under_way_are_taken(database: Database) -> None:
    with database.session() as session:
        assert next_version(session, "chest") == 1
        for version in (1, 2, 10):
            leftovers.reserve(session, f"triton/chest.{version}/", "job_1", 1)
        leftovers.reserve(session, "triton/chest_x.40/", "job_1", 1)
        leftovers.reserve(session, "triton/chestXx.50/", "job_1", 1)
    with database.reading() as session:
        assert next_version(session, "chest") == 11
        assert next_version(session, "chest_x") == 41, "an underscore is no wildcard"
        assert next_version(session, "other") == 1


def test_a_large_removal_does_not_hold_the_sweeper_up(database: Database, store: ObjectStore,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    for number in range(6):
        store.put_bytes(f"{PLACE}{number}", b"x")
    with database.session() as session:
        leftovers.add(session, PLACE)
        leftovers.add(session, "datasets/ds_other/")
    monkeypatch.setattr(leftovers, "BATCH", 4)
    assert leftovers.clean(database, store, lambda _: None, 0) == 0
    assert len(store.list_keys(PLACE)) == 2, "one portion, and no more of them"
    assert set(rows(database)) == {PLACE, "datasets/ds_other/"}
    with database.session() as session:
        session.execute(update(Leftover).values(remove_at=now()))
    assert clean(database, store) == 2
