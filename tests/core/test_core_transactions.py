"""The watch over transactions, which every test is under, sees what it is there for."""

import socket
from collections.abc import Callable
from contextlib import suppress

import pytest

from medcoss.specs.records import FileEntry
from services.core.bell import make_celery, ring
from services.core.db import Database
from services.core.settings import Settings
from services.core.storage import DamagedFile, ObjectStore
from tests import transactions
from tests.core.databases import engines

ENTRY = FileEntry(path="a", size=1, sha256="0" * 64)


def fetched(settings: Settings) -> None:
    with suppress(DamagedFile):
        ObjectStore(settings).download("x", [ENTRY], settings.cache_dir)


CALLS: dict[str, Callable[[Settings], object]] = {
    "object store": lambda settings: ObjectStore(settings).list_keys("x/"),
    "object store, by threads": fetched,
    "broker": lambda settings: ring(make_celery(settings), "job_1"),
    "name": lambda _: socket.getaddrinfo("localhost", 80),
}


@engines
@pytest.mark.parametrize("what", CALLS)
def test_a_network_call_within_a_transaction_is_seen(database: Database, settings: Settings, what: str) -> None:
    CALLS[what](settings)
    for transaction in (database.session, database.reading):
        with transaction() as session:
            session.connection()
            assert not transactions.found
            CALLS[what](settings)
        assert transactions.found and "while a transaction is open" in transactions.found[0]
        transactions.found.clear()
    with pytest.raises(ValueError, match="enough"), database.session() as session:
        session.connection()
        raise ValueError("enough")
    CALLS[what](settings)
    assert not transactions.found, "it was rolled back"
