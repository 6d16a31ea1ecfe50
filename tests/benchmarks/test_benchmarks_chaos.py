"""The chaos benchmark: what it does is a function of the seed, relays cut and stall, the checks see what is wrong."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from itertools import islice

import pytest
from sqlalchemy import update

from benchmarks import _chaos_checks as checks
from benchmarks._chaos_faults import DECK, schedule
from benchmarks._chaos_jobs import TEMPLATES, stories
from benchmarks._chaos_relay import LOOPBACK, Relay
from benchmarks._chaos_users import Expected
from medcoss.specs.records import DatasetInfo, FileEntry
from services.core import attempts, jobs, registry
from services.core.db import Database
from services.core.jobs import NewJob
from services.core.lifecycle import State
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT, Job

LEASE_S = 6.0


def test_faults_and_stories_are_a_function_of_the_seed() -> None:
    names = tuple(TEMPLATES)
    assert schedule(7, 200, LEASE_S) == schedule(7, 200, LEASE_S)
    assert list(islice(stories(7, names), 100)) == list(islice(stories(7, names), 100))
    assert schedule(7, 20, LEASE_S) == schedule(7, 200, LEASE_S)[:20], "a longer run begins as a shorter one"
    assert schedule(7, 20, LEASE_S) != schedule(8, 20, LEASE_S)
    assert {fault.kind for fault in schedule(7, 200, LEASE_S)} == set(DECK), "every kind of fault comes"
    assert {story.template for story in islice(stories(7, names), 100)} == set(names)


def test_freezes_outlast_the_lease() -> None:
    frozen = [fault.hold_s for fault in schedule(1, 200, LEASE_S) if fault.kind.startswith("freeze")]
    assert frozen and min(frozen) > LEASE_S


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends everything back."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(100):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay(echo: int) -> Iterator[Relay]:
    made = Relay((LOOPBACK, echo))
    yield made
    made.close()


def _connected(relay: Relay) -> socket.socket:
    return socket.create_connection((LOOPBACK, relay.port), timeout=10)


def _said(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return connection.recv(100)


def _refused(relay: Relay) -> bool:
    try:
        with _connected(relay) as connection:
            return _said(connection, b"hello") == b""
    except ConnectionError:
        return True


def test_a_cut_ends_connections_and_refuses_new_ones(relay: Relay) -> None:
    with _connected(relay) as before:
        assert _said(before, b"hello") == b"hello"
        relay.cut()
        with pytest.raises(ConnectionError):
            # what is sent first may still be taken by the system
            while _said(before, b"hello"):
                continue
            raise ConnectionResetError
        assert _refused(relay)
        relay.mend()
        assert not _refused(relay)


def test_a_stall_delays_and_loses_nothing(relay: Relay) -> None:
    with _connected(relay) as connection:
        assert _said(connection, b"hello") == b"hello"
        relay.stall()
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            _said(connection, b"late")
        relay.mend()
        connection.settimeout(10)
        assert connection.recv(100) == b"late"


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return ObjectStore(settings)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    made = Database(settings.database_url)
    yield made
    made.engine.dispose()


def _prepared(database: Database, store: ObjectStore, content: bytes) -> tuple[str, str]:
    """A job that has made a dataset of one file; both ids."""
    files = [FileEntry(path="images.b2nd", size=len(content), sha256=hashlib.sha256(content).hexdigest())]
    info = DatasetInfo(modality="xray", kind="image2d", samples=1, splits={"train": 1}, sample_shape=[1, 32, 32],
                       recipe={})  # fmt: skip
    with database.session() as session:
        job = jobs.submit(session, NewJob(kind="preprocess", spec={}, name=f"key-{content!r}", max_attempts=3),
                          created_by="test")  # fmt: skip
        claim = attempts.claim(session, job.id, "worker", 30)
    assert claim is not None
    dataset_id = f"ds_{job.id[-12:]}"
    store.put_bytes(f"datasets/{dataset_id}/shards/images.b2nd", content)
    with database.session() as session:
        assert attempts.succeed(
            session, job.id, claim.fence, {"outputs": {"dataset": dataset_id}},
            lambda s: registry.register_dataset(
                s, dataset_id, name="made", info=info, prefix=f"datasets/{dataset_id}/shards", files=files, parents=[],
                job_id=job.id, project_id=DEFAULT_PROJECT,
            ),
        )  # fmt: skip
    return job.id, dataset_id


def _found(database: Database, store: ObjectStore, job_id: str, content: bytes, dataset_id: str) -> list[str]:
    expected = {job_id: Expected(f"key-{content!r}", "succeeded", "images")}
    return checks.everything(database, store, expected, {"images": dataset_id})


def test_nothing_is_wrong_with_a_job_that_went_well(database: Database, store: ObjectStore) -> None:
    job_id, dataset_id = _prepared(database, store, b"a")
    assert _found(database, store, job_id, b"a", dataset_id) == []


def test_the_checks_see_what_is_wrong(database: Database, store: ObjectStore) -> None:
    known, reference = _prepared(database, store, b"a")
    other, dataset_id = _prepared(database, store, b"b")
    expected = {known: Expected("key-b'a'", "succeeded", "images"), other: Expected("key-b'b'", "succeeded", "images"),
                "job_lost": Expected("lost", "succeeded")}  # fmt: skip
    store.put_bytes("models/mdl_nobody/model.safetensors", b"x")
    store.put_bytes(f"datasets/{dataset_id}/shards/images.b2nd", b"c")
    store.remove_prefix(f"datasets/{reference}/")
    with database.session() as session:
        jobs.add_event(session, other, 1, "succeeded")
        session.execute(update(Job).where(Job.id == other).values(fence=2))
    wrong = "\n".join(checks.everything(database, store, expected, {"images": reference}))
    for words in (
        "job_lost (lost) was acknowledged and is lost", f"{other} succeeded 2 times",
        f"{other} went from succeeded to succeeded", f"{other} was claimed 1 times, its fence is 2",
        f"{other} (key-b'b', images) differs from the undisturbed run",
        "object models/mdl_nobody/model.safetensors belongs to nothing",
        f"object datasets/{reference}/shards/images.b2nd is missing",
        f"object datasets/{dataset_id}/shards/images.b2nd has other content",
    ):  # fmt: skip
        assert words in wrong
    assert wrong.count("\n") == 7, f"and nothing else:\n{wrong}"


def test_a_job_that_ended_otherwise_is_named(database: Database, store: ObjectStore) -> None:
    job_id, dataset_id = _prepared(database, store, b"a")
    expected = {job_id: Expected("key-b'a'", State.FAILED, None, "data")}
    wrong = checks.everything(database, store, expected, {"images": dataset_id})
    assert any(f"{job_id} (key-b'a') is succeeded, expected failed" in line for line in wrong)
    assert any(f"{job_id} failed 0 times because of its data" in line for line in wrong)
