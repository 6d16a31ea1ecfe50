"""The watch over transactions, which every test is under, sees what it is there for."""

import socket
from collections.abc import Callable

import pytest

from services.core.bell import make_celery, ring
from services.core.db import Database
from services.core.settings import Settings
from services.core.storage import ObjectStore
from tests import transactions
from tests.core.databases import engines

CALLS: dict[str, Callable[[Settings], object]] = {
    "object store": lambda settings: ObjectStore(settings).list_keys("x/"),
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
        assert transactions.found and "test_core_transactions" in transactions.found[0]
        transactions.found.clear()
    with pytest.raises(ValueError, match="enough"), database.session() as session:
        session.connection()
        raise ValueError("enough")
    CALLS[what](settings)
    assert not transactions.found, "it was rolled back"
