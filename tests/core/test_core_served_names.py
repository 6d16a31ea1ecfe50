"""A served name belongs to the project that took it first, whatever happens at the same moment."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from alembic import command
from sqlalchemy import create_engine, select, text

from services.core import leftovers, projects, served_names
from services.core.db import Database, _config, migrate
from services.core.errors import Conflict
from services.core.served_names import UNUSED
from services.core.tables import DEFAULT_PROJECT, ServedName
from services.core.tables.base import now
from tests.core.databases import empty_engines, engines
from tests.core.steps import swept


@pytest.fixture
def south(database: Database) -> str:
    """The id of a second project."""
    with database.session() as session:
        return projects.create(session, "south").id


def owners(database: Database) -> dict[str, str]:
    with database.reading() as session:
        return {row.name: row.project_id for row in session.scalars(select(ServedName))}


@engines
def test_two_projects_take_a_name_at_once(
    database: Database, database_url: str, open_database: Callable[[str], Database], south: str
) -> None:
    barrier, results = threading.Barrier(2), {}

    def export(connection: Database, project: str) -> None:
        barrier.wait()
        try:
            with connection.session() as session:
                results[project] = served_names.reserve_version(session, "chest", project, f"job_{project}", 1)
        except Conflict as error:
            results[project] = error

    threads = [threading.Thread(target=export, args=(open_database(database_url), p)) for p in (DEFAULT_PROJECT, south)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [project for project, found in results.items() if found == 1]
    (error,) = [found for project, found in results.items() if project != winner]
    assert "'chest' is taken" in str(error)
    assert owners(database) == {"chest": winner}


@engines
def test_the_second_waits_for_the_first_and_has_it_when_that_gives_up(
    database: Database, database_url: str, open_database: Callable[[str], Database], south: str
) -> None:
    """What is taken in a transaction that is rolled back was never taken."""
    taken, other = threading.Event(), open_database(database_url)

    def second() -> None:
        with other.session() as session:
            served_names.take(session, "chest", south)
        taken.set()

    with pytest.raises(ZeroDivisionError), database.session() as session:
        served_names.take(session, "chest", DEFAULT_PROJECT)
        thread = threading.Thread(target=second)
        thread.start()
        assert not taken.wait(0.3)
        raise ZeroDivisionError
    assert taken.wait(15)
    thread.join()
    assert owners(database) == {"chest": south}


@engines
def test_attempts_of_one_project_at_once_get_versions_of_their_own(
    database: Database, database_url: str, open_database: Callable[[str], Database]
) -> None:
    versions: list[int] = []

    def export(number: int, connection: Database) -> None:
        with connection.session() as session:
            versions.append(served_names.reserve_version(session, "chest", DEFAULT_PROJECT, f"job_{number}", 1))

    threads = [threading.Thread(target=export, args=(n, open_database(database_url))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [1, 2, 3, 4]
    with database.session() as session:
        leftovers.keep(session, "job_3", 1)
        session.execute(text("DELETE FROM leftovers"))
        assert served_names.next_version(session, "chest") == 5, "no number is given twice, whatever was removed"


@engines
def test_a_name_that_was_never_served_is_free_again(database: Database, south: str) -> None:
    with database.session() as session:
        served_names.reserve_version(session, "chest", DEFAULT_PROJECT, "job_1", 1)
        served_names.take(session, "lungs", DEFAULT_PROJECT)
    later = now() + UNUSED + timedelta(minutes=1)
    swept(database)
    assert set(owners(database)) == {"chest", "lungs"}
    swept(database, later)
    assert set(owners(database)) == {"chest"}, "its files wait to be removed still"
    with database.session() as session:
        session.execute(text("DELETE FROM leftovers"))
    swept(database, later)
    with database.session() as session:
        assert served_names.reserve_version(session, "chest", south, "job_2", 1) == 1


@empty_engines
def test_what_was_served_before_keeps_its_first_owner(empty_url: str) -> None:
    command.upgrade(_config(empty_url), "0004")
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        moment = "2026-01-01 00:00:00"
        connection.execute(
            text(f"INSERT INTO projects (id, name, description, created_at) VALUES ('prj_s', 'south', '', '{moment}')")
        )
        connection.execute(
            text("INSERT INTO models (id, name, prefix, info, parents, created_at, project_id) VALUES "
                 f"('mdl_1', 'm', 'models/mdl_1', '{{}}', '[]', '{moment}', 'prj_default')")
        )  # fmt: skip
        rows = [("dep_1", "chest", 1, "prj_s", "01"), ("dep_2", "chest", 2, "prj_default", "02"),
                ("dep_3", "lungs", 7, "prj_default", "01")]  # fmt: skip
        for row_id, name, version, project, day in rows:
            connection.execute(
                text("INSERT INTO deployments (id, name, version, state, info, model_id, created_at, project_id) "
                     f"VALUES ('{row_id}', '{name}', {version}, 'ready', '{{}}', 'mdl_1', '2026-01-{day} 00:00:00', "
                     f"'{project}')")
            )  # fmt: skip
    engine.dispose()
    migrate(empty_url)
    database = Database(empty_url)
    with database.reading() as session:
        found = {(n.name, n.project_id, n.last_version) for n in session.scalars(select(ServedName))}
    database.engine.dispose()
    assert found == {("chest", "prj_s", 2), ("lungs", "prj_default", 7)}
    command.downgrade(_config(empty_url), "0004")
    migrate(empty_url)
