"""Migrations make what the tables say; readers and writers do not stand in each other's way."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from services.core.db import Database, _config, migrate
from services.core.keys import Role, authenticate, new_key, store_key
from services.core.scope import EVERYTHING
from services.core.tables import DEFAULT_PROJECT, ApiKey, Base, Dataset, JobInput
from tests.core.databases import empty_engines, engines
from tests.core.steps import submitted


def dataset(dataset_id: str) -> Dataset:
    return Dataset(id=dataset_id, name="d", role="raw", state="ready", prefix=f"datasets/{dataset_id}/raw", parents=[],
                   project_id=DEFAULT_PROJECT)  # fmt: skip


@empty_engines
def test_migrations_make_the_tables_of_the_models(empty_url: str) -> None:
    migrate(empty_url)
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert set(Base.metadata.tables) <= set(inspect(connection).get_table_names())
    engine.dispose()
    migrate(empty_url)


@empty_engines
def test_migrations_go_back_and_forth(empty_url: str) -> None:
    migrate(empty_url)
    command.downgrade(_config(empty_url), "base")
    engine = create_engine(empty_url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()
    migrate(empty_url)


@empty_engines
def test_jobs_from_before_keep_what_they_name(empty_url: str) -> None:
    command.upgrade(_config(empty_url), "0001")
    specs = {
        "job_1": {"dataset": "ds_1", "rehearsal": ["ds_2", "ds_3"], "init_model": "mdl_1"},
        "job_2": {"dataset": "ds_1", "init_model": None},
    }
    insert = text(
        "INSERT INTO jobs (id, kind, name, state, spec, priority, attempt, max_attempts, fence, created_by, created_at)"
        " VALUES (:id, 'pretrain', 'n', 'queued', :spec, 0, 0, 3, 0, 'me', '2026-01-01 00:00:00')"
    )
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        for job_id, spec in specs.items():
            connection.execute(insert, {"id": job_id, "spec": json.dumps(spec)})
    engine.dispose()
    migrate(empty_url)
    database = Database(empty_url)
    with database.reading() as session:
        found = {(i.job_id, i.resource, i.input_id) for i in session.scalars(select(JobInput))}
    database.engine.dispose()
    assert found == {
        ("job_1", "dataset", "ds_1"),
        ("job_1", "dataset", "ds_2"),
        ("job_1", "dataset", "ds_3"),
        ("job_1", "model", "mdl_1"),
        ("job_2", "dataset", "ds_1"),
    }


@empty_engines
def test_two_processes_may_migrate_at_once(empty_url: str) -> None:
    program = "import sys; from services.core.db import migrate; sys.stdin.readline(); migrate(sys.argv[1])"
    processes = [
        subprocess.Popen([sys.executable, "-c", program, empty_url], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 0, errors.decode()


def test_a_migration_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'half.db'}"
    command.upgrade(_config(url), "0001")
    engine = create_engine(url)
    with engine.begin() as connection:
        # the second migration creates job_inputs first, then this one
        connection.execute(text("CREATE TABLE leftovers (x INTEGER)"))
    with pytest.raises(DBAPIError):
        migrate(url)
    assert "job_inputs" not in inspect(engine).get_table_names()
    engine.dispose()


@engines
def test_readers_cannot_write_and_writers_can_afterwards(database: Database) -> None:
    with pytest.raises(DBAPIError), database.reading() as session:
        session.add(dataset("ds_1"))
        session.flush()
    with database.session() as session:
        session.add(dataset("ds_1"))
    with database.reading() as session:
        assert session.get(Dataset, "ds_1") is not None


@engines
def test_a_long_transaction_does_not_stop_readers(database: Database) -> None:
    finished = threading.Event()

    def read() -> None:
        with database.reading() as session:
            assert session.get(Dataset, "ds_1") is None, "what is not committed is not seen"
        finished.set()

    with database.session() as session:
        session.add(dataset("ds_1"))
        session.flush()
        thread = threading.Thread(target=read)
        thread.start()
        assert finished.wait(5), "a reader waits for a writer"
    thread.join()


@engines
def test_an_error_rolls_back(database: Database) -> None:
    with pytest.raises(ValueError, match="enough"), database.session() as session:
        session.add(dataset("ds_1"))
        session.flush()
        raise ValueError("enough")
    with database.reading() as session:
        assert session.get(Dataset, "ds_1") is None


@engines
def test_values_do_not_reach_error_messages(database: Database) -> None:
    secret = "mk_very-secret"
    with pytest.raises(IntegrityError) as caught, database.session() as session:
        for _ in range(2):
            session.add(ApiKey(id="key_1", name="n", digest=secret, role="viewer"))
            session.flush()
            session.expunge_all()
    assert secret not in str(caught.value).splitlines()[-1]
    assert "SQL parameters hidden" in str(caught.value)


@engines
def test_rows_of_a_job_that_does_not_exist_are_refused(database: Database) -> None:
    with pytest.raises(IntegrityError), database.session() as session:
        session.add(JobInput(job_id="job_none", input_id="ds_1", resource="dataset"))


@engines
def test_moments_come_back_in_utc(database: Database) -> None:
    job_id = submitted(database)
    with database.reading() as session:
        from services.core.jobs import get

        created = get(session, EVERYTHING, job_id).created_at
    assert created.utcoffset() is not None and created.utcoffset().total_seconds() == 0  # type: ignore[union-attr]


@engines
def test_keys_are_kept_as_hashes_and_open_by_role(database: Database) -> None:
    key = new_key()
    with database.session() as session:
        store_key(session, key, "ward", Role.OPERATOR)
        store_key(session, key, "ward again", Role.ADMIN)
    with database.reading() as session:
        (stored,) = session.scalars(select(ApiKey))
        assert key not in (stored.digest, stored.id, stored.name)
        identity = authenticate(session, f"Bearer {key}")
    assert (identity.name, identity.role) == ("ward", Role.OPERATOR)
    assert Role.VIEWER < identity.role < Role.ADMIN


@engines
def test_two_processes_store_the_first_key_at_once(
    database: Database, database_url: str, open_database: Callable[[str], Database]
) -> None:
    key, barrier = new_key(), threading.Barrier(4)
    errors: list[BaseException] = []

    def start(connection: Database) -> None:
        barrier.wait()
        try:
            with connection.session() as session:
                store_key(session, key, "admin", Role.ADMIN)
        except BaseException as error:  # noqa: BLE001 - asserted below
            errors.append(error)

    threads = [threading.Thread(target=start, args=(open_database(database_url),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with database.reading() as session:
        assert len(list(session.scalars(select(ApiKey)))) == 1


def test_secrets_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    from services.core.settings import Settings

    settings = Settings(s3_secret_key="of-s3", bootstrap_admin_key="mk_first")  # type: ignore[arg-type]
    logging.getLogger("test").warning("settings: %s", settings)
    assert "s3_secret_key" in caplog.text
    assert "of-s3" not in caplog.text
    assert "mk_first" not in caplog.text


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_whose_machine_has_gone_is_given_up_within_half_a_minute(database: Database) -> None:
    with database.engine.connect() as connection:
        dbapi = connection.connection.dbapi_connection
        assert dbapi is not None
        asked = dbapi.info.get_parameters()
    silent_s = int(asked["keepalives_idle"]) + int(asked["keepalives_interval"]) * int(asked["keepalives_count"])
    assert silent_s <= 30, "a connection on which nothing is sent"
    assert int(asked["tcp_user_timeout"]) <= 30_000, "one on which something was sent, in milliseconds"
    assert int(asked["connect_timeout"]) <= 30
