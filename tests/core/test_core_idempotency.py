"""The same key gives the same job, whoever comes first."""

import threading
from collections.abc import Callable

import pytest
from alembic import command
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.exc import IntegrityError

from services.core import attempts
from services.core.db import Database, _config, migrate
from services.core.errors import Conflict
from services.core.tables import Job, JobInput
from tests.core.databases import empty_engines, engines
from tests.core.steps import DATASET, SPEC, claimed, state, submitted


def count(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


@engines
def test_a_repeated_request_makes_one_job(database: Database) -> None:
    first = submitted(database, key="k1")
    assert submitted(database, key="k1") == first
    claim = claimed(database, first)
    assert claim is not None
    with database.session() as session:
        attempts.succeed(session, first, claim.fence, {})
    assert submitted(database, key="k1") == first, "also when the job is over"
    assert state(database, first) == "succeeded"
    assert count(database) == 1


@pytest.mark.parametrize(
    "change",
    [{"kind": "pretrain"}, {"spec": SPEC | {"seed": 1}}, {"name": "other"}, {"priority": 3}, {"max_attempts": 7}],
    ids=lambda change: next(iter(change)),
)
def test_another_request_under_the_same_key_is_refused(database: Database, change: dict[str, object]) -> None:
    submitted(database, key="k1")
    with pytest.raises(Conflict, match="'k1' was used for another request"):
        submitted(database, key="k1", **change)
    assert count(database) == 1


def test_keys_belong_to_their_owner(database: Database) -> None:
    assert submitted(database, key="k1", owner="key_1") != submitted(database, key="k1", owner="key_2")
    assert submitted(database) != submitted(database), "without a key every request is a new one"


@engines
def test_many_at_once_make_one_job(
    database: Database, database_url: str, open_database: Callable[[str], Database]
) -> None:
    barrier, found, refused = threading.Barrier(6), [], []
    connections = [open_database(database_url) for _ in range(6)]

    def ask(connection: Database) -> None:
        barrier.wait()
        try:
            found.append(submitted(connection, key="k1"))
        except IntegrityError:
            # what the API does: the other one has won, ask again
            refused.append(1)
            found.append(submitted(connection, key="k1"))

    threads = [threading.Thread(target=ask, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    assert count(database) == 1


def test_what_the_spec_names_is_recorded(database: Database) -> None:
    spec = {"dataset": DATASET, "init_model": "mdl_00000000", "rehearsal": ["ds_11111111", "ds_22222222", DATASET]}
    job_id = submitted(database, kind="pretrain", spec=spec)
    with database.reading() as session:
        found = {(i.resource, i.input_id) for i in session.scalars(select(JobInput).where(JobInput.job_id == job_id))}
    expected = {("dataset", name) for name in (DATASET, "ds_11111111", "ds_22222222")} | {("model", "mdl_00000000")}
    assert found == expected


@empty_engines
def test_keys_from_before_make_no_second_job(empty_url: str) -> None:
    command.upgrade(_config(empty_url), "0010")
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO jobs (id, project_id, kind, name, name_key, notes, state, spec, priority, rank, turn,"
                " attempt, max_attempts, fence, created_by, created_at, backoff_s, ran_s) VALUES ('job_1',"
                " 'prj_default', 'preprocess', 'n', 'n', '', 'queued', '{}', 0, 0, 0, 0, 3, 0, 'me',"
                " '2026-01-01 00:00:00', 0, 0)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO idempotency_keys (owner, key, digest, job_id, created_at) VALUES ('key_1', 'k1', 'x',"
                " 'job_1', '2026-01-01 00:00:00')"
            )
        )
    engine.dispose()
    for _ in range(2):
        migrate(empty_url)
        database = Database(empty_url)
        with pytest.raises(Conflict, match="made job_1; its answer is told once"):
            submitted(database, key="k1")
        database.engine.dispose()
        command.downgrade(_config(empty_url), "0010")
