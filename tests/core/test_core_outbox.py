"""Messages are written with what they tell of, sent by one at a time, and given up in the end."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from services.core import attempts, deliveries, jobs, outbox, projects, webhooks
from services.core.db import Database
from services.core.deliveries import Parcel, Result, Round
from services.core.errors import Conflict, Unavailable
from services.core.lifecycle import TERMINAL
from services.core.scope import EVERYTHING
from services.core.sealing import Seal, Sealed
from services.core.settings import Settings
from services.core.tables import DEFAULT_PROJECT, Delivery, Webhook
from services.core.tables.base import now
from tests.core.databases import engines
from tests.core.steps import running, submitted, swept

SEAL = Seal(Settings(encryption_key="a key of this test"))
PATIENCE_S = 3600.0
URL = "https://hooks.example/a"
WRONG = {"title": "t", "detail": "/data/Jane Doe.dcm: is empty", "reason": "data", "where": "Jane Doe.dcm"}


def hook(database: Database, *topics: str, project_id: str = DEFAULT_PROJECT) -> str:
    with database.session() as session:
        return webhooks.create(session, SEAL, project_id, URL, topics or ("*",), "", "ada")[0].id


def messages(database: Database, webhook_id: str) -> list[Delivery]:
    with database.reading() as session:
        return list(session.scalars(select(Delivery).where(Delivery.webhook_id == webhook_id).order_by(Delivery.seq)))


def taken(database: Database, later: float = 0.0) -> list[Round]:
    with database.session() as session:
        return deliveries.take(session, now() + timedelta(seconds=later))


def settled(database: Database, webhook_id: str, parcel: Parcel, result: Result, patience_s: float = PATIENCE_S) -> Any:
    with database.session() as session:
        return deliveries.settle(session, webhook_id, parcel, result, patience_s)


def seen(database: Database, webhook_id: str) -> Webhook:
    with database.reading() as session:
        return webhooks.get(session, EVERYTHING, webhook_id)


@engines
def test_a_job_is_told_to_who_listens_without_a_patients_name(database: Database) -> None:
    everything, ends = hook(database), hook(database, "job.succeeded", "job.failed")
    with database.session() as session:
        north = projects.create(session, "north").id
    elsewhere = hook(database, project_id=north)
    claim = running(database, name="chest")
    with database.session() as session:
        attempts.fail(session, claim.job_id, claim.fence, WRONG)
    assert [m.topic for m in messages(database, everything)] == [
        "job.queued", "job.running", "job.attempt_failed", "job.failed",
    ]  # fmt: skip
    (failed,) = messages(database, ends)
    assert failed.payload["type"] == "job.failed"
    assert failed.payload["data"] == {
        "job_id": claim.job_id, "project_id": DEFAULT_PROJECT, "kind": "preprocess", "name": "chest", "state": "failed",
        "attempt": 1, "reason": "data", "outputs": {},
    }  # fmt: skip
    assert "Jane" not in str([m.payload for m in messages(database, everything)])
    assert messages(database, elsewhere) == []
    assert failed.payload["timestamp"].startswith(f"{failed.created_at:%Y-%m-%dT%H:%M:%S}")


@engines
def test_a_success_names_what_was_made(database: Database) -> None:
    ends = hook(database, "job.succeeded")
    claim = running(database)
    result = {"outputs": {"dataset": "ds_0123456789", "note": "Jane Doe"}, "metrics": {"samples": 3}}
    with database.session() as session:
        attempts.succeed(session, claim.job_id, claim.fence, result)
    assert messages(database, ends)[0].payload["data"]["outputs"] == {"dataset": "ds_0123456789"}


@engines
def test_what_is_rolled_back_is_not_told(database: Database) -> None:
    everything, job_id = hook(database), submitted(database)
    with pytest.raises(RuntimeError), database.session() as session:
        jobs.request_cancel(session, EVERYTHING, job_id)
        session.flush()
        raise RuntimeError
    assert [m.topic for m in messages(database, everything)] == ["job.queued"]
    with database.session() as session:
        webhooks.change(session, webhooks.get(session, EVERYTHING, everything), url=None, topics=None, description=None,
                        active=False)  # fmt: skip
    with database.session() as session:
        jobs.request_cancel(session, EVERYTHING, job_id)
    assert len(messages(database, everything)) == 1, "who is off is told nothing"


@engines
def test_each_message_is_taken_by_one(database: Database) -> None:
    hooks = [hook(database) for _ in range(3)]
    for _ in range(12):
        submitted(database)
    barrier = threading.Barrier(4)

    def take(_: int) -> list[str]:
        barrier.wait()
        return [parcel.id for one in taken(database) for parcel in one.parcels]

    with ThreadPoolExecutor(4) as pool:
        found = [message for ids in pool.map(take, range(4)) for message in ids]
    assert len(found) == len(set(found)) and len(found) >= 30
    rest = [parcel.id for one in taken(database) for parcel in one.parcels]
    assert sorted(found + rest) == sorted(m.id for h in hooks for m in messages(database, h))
    assert taken(database) == []
    again = [parcel for one in taken(database, later=181) for parcel in one.parcels]
    assert len(again) == 30 and {parcel.attempt for parcel in again} == {2}, "whoever died has its messages sent again"
    with database.session() as session:
        deliveries.give_back(session, again[:5])
    assert sum(len(one.parcels) for one in taken(database)) == 5


@engines
def test_a_message_that_fails_is_tried_again_and_given_up(database: Database) -> None:
    webhook_id = hook(database, "job.queued")
    submitted(database)
    bad = Result(status=500, error="answered 500", excerpt="oops")
    (first,) = taken(database)
    assert settled(database, webhook_id, first.parcels[0], bad) == "pending"
    (row,) = messages(database, webhook_id)
    assert row.next_at is not None and 3 < (row.next_at - now()).total_seconds() < 7
    assert (row.attempts, row.status, row.error, row.excerpt) == (1, 500, "answered 500", "oops")
    assert seen(database, webhook_id).failing_since is not None
    assert taken(database) == []
    (second,) = taken(database, later=10)
    assert settled(database, webhook_id, first.parcels[0], Result(status=200)) is None, "it is another's now"
    assert settled(database, webhook_id, second.parcels[0], bad, patience_s=1) == "failed"
    assert messages(database, webhook_id)[0].finished_at is not None
    submitted(database)
    (third,) = taken(database)
    assert settled(database, webhook_id, third.parcels[0], Result(status=204)) == "delivered"
    assert seen(database, webhook_id).failing_since is None


@engines
@pytest.mark.parametrize(("status", "reason"), [(500, "failing"), (410, "gone"), (None, "failing")])
def test_a_webhook_that_fails_for_long_is_switched_off_and_others_are_told(
    database: Database, status: int | None, reason: str
) -> None:
    webhook_id, other = hook(database, "job.queued"), hook(database, "webhook.disabled")
    submitted(database)
    with database.session() as session:
        webhooks.get(session, EVERYTHING, webhook_id).failing_since = now() - timedelta(seconds=PATIENCE_S + 1)
    (one,) = taken(database)
    state = settled(database, webhook_id, one.parcels[0], Result(status=status, error="wrong"))
    assert state == ("failed" if status == 410 else "pending")
    off = seen(database, webhook_id)
    assert not off.active and off.disabled_reason
    (told,) = messages(database, other)
    assert told.payload["data"] == {"webhook_id": webhook_id, "project_id": DEFAULT_PROJECT, "reason": reason}
    assert [one.webhook_id for one in taken(database, later=3600)] == [other], "nothing is sent to who is off"
    with database.session() as session:
        row = webhooks.get(session, EVERYTHING, webhook_id)
        with pytest.raises(Conflict, match="switched off"):
            webhooks.test(session, row)
        webhooks.change(session, row, url=None, topics=None, description=None, active=True)
        assert row.disabled_reason is None and row.failing_since is None


@engines
def test_what_waits_for_nobody_is_given_up_and_forgotten(database: Database) -> None:
    off, gone = hook(database), hook(database)
    submitted(database)
    with database.session() as session:
        webhooks.get(session, EVERYTHING, off).active = False
        session.delete(webhooks.get(session, EVERYTHING, gone))
    with database.session() as session:
        deliveries.tidy(session, now() + timedelta(seconds=PATIENCE_S + 1), PATIENCE_S)
    assert [(m.state, m.error) for m in messages(database, off)] == [("failed", "the webhook was switched off")]
    assert messages(database, gone) == []
    with database.session() as session:
        deliveries.tidy(session, now() + timedelta(days=31), PATIENCE_S)
    assert messages(database, off) == []


@engines
def test_a_message_is_sent_again_on_request(database: Database) -> None:
    webhook_id = hook(database)
    submitted(database)
    (one,) = taken(database)
    with database.session() as session, pytest.raises(Conflict, match="still being sent"):
        webhooks.redeliver(session, webhooks.get(session, EVERYTHING, webhook_id), one.parcels[0].id)
    settled(database, webhook_id, one.parcels[0], Result(status=200))
    with database.session() as session:
        webhooks.redeliver(session, webhooks.get(session, EVERYTHING, webhook_id), one.parcels[0].id)
    (again,) = taken(database)
    assert (again.parcels[0].id, again.parcels[0].attempt) == (one.parcels[0].id, 1)
    with database.session() as session:
        webhooks.remove(session, webhooks.get(session, EVERYTHING, webhook_id))
    assert settled(database, webhook_id, again.parcels[0], Result(status=500, error="x")) is None


@engines
def test_sweeps_tell_of_what_they_change(database: Database) -> None:
    first = submitted(database)
    second = submitted(database, first)
    webhook_id = hook(database)
    with database.session() as session:
        jobs.request_cancel(session, EVERYTHING, first)
    swept(database)
    told = [(m.topic, m.payload["data"]["job_id"], m.payload["data"]["reason"]) for m in messages(database, webhook_id)]
    assert told == [("job.cancelled", first, None), ("job.failed", second, "dependency")]


def test_pauses_grow_and_differ() -> None:
    usual = [5 * 3 ** (n - 1) for n in range(1, 9)]
    assert all(0.75 * u <= deliveries.pause_s(n) <= 1.25 * u for n, u in enumerate(usual, start=1))
    assert deliveries.pause_s(100) <= 1.25 * 12 * 3600
    assert deliveries.pause_s(1, wait_s=60) == 60
    assert len({deliveries.pause_s(3) for _ in range(20)}) > 10


def test_secrets_are_sealed_and_survive_a_key_of_ones_own() -> None:
    before = Seal(Settings(s3_secret_key="store"))
    sealed = before.close("whsec_x")
    assert "whsec_x" not in sealed and sealed != before.close("whsec_x")
    after = Seal(Settings(s3_secret_key="store", encryption_key="own"))
    assert after.open(sealed) == "whsec_x"
    with pytest.raises(Sealed, match="rotate"):
        before.open(after.close("whsec_y"))
    with pytest.raises(Unavailable, match="MEDCOSS_ENCRYPTION_KEY"):
        Seal(Settings()).close("x")


def test_every_topic_that_is_offered_is_one_that_is_written() -> None:
    told = {f"job.{name}" for name in outbox.JOB_EVENTS} | {f"pipeline.{name}" for name in TERMINAL}
    assert told | {outbox.DISABLED} == set(outbox.TOPICS)
