"""Stored objects that no record owns are found and removed, and nothing else is."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from services.core import attempts, leftovers
from services.core.db import Database
from services.core.lifecycle import State
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
    assert list(rows(database)) == [f"jobs/{claim.job_id}/checkpoints/"], "nobody goes on from them"


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
