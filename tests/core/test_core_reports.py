"""Readers who go by the number of a row get every row, once, whatever is written at the same time."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from sqlalchemy import create_engine, delete, select, text

from services.core import attempts, feed, jobs, reports
from services.core.db import Database, _config, migrate
from services.core.errors import Conflict
from services.core.feed import Choice, Horizon
from services.core.jobs import add_event
from services.core.reports import Position
from services.core.scope import EVERYTHING, Scope
from services.core.sweep import sweep
from services.core.tables import Job, JobEvent, JobLog, JobMetric
from tests.core.databases import empty_engines, engines
from tests.core.steps import LEASE_S, claimed, later, running, submitted

ALL = Choice(EVERYTHING)
TABLES = ("events", "metrics", "logs")


def look(database: Database, horizon: Horizon) -> int:
    with database.reading() as session:
        return horizon.look(session)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_nothing_is_read_past_a_number_that_may_still_come(database: Database, ending: str) -> None:
    first, second = submitted(database), submitted(database)
    horizon = Horizon()
    start = look(database, horizon)
    slow = database._writers()
    add_event(slow, first, 0, "slow")
    slow.flush()
    with database.session() as session:
        add_event(session, second, 0, "quick")
    for _ in range(3):
        assert look(database, horizon) == start, "the number of the slow one lies before that of the quick one"
    getattr(slow, ending)()
    slow.close()
    settled = look(database, horizon)
    with database.reading() as session:
        found = [c.type for c in feed.changes(session, start, settled, ALL, 10)]
    assert found == (["slow", "quick"] if ending == "commit" else ["quick"])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_writers_of_other_tables_hold_nobody_up(database: Database) -> None:
    job_id = submitted(database)
    horizon = Horizon()
    with database.session() as other:
        other.execute(text("UPDATE projects SET description = 'x'"))
        other.execute(select(JobEvent)).all()
        assert look(database, horizon) > 0
        with database.session() as session:
            add_event(session, job_id, 0, "new")
        before = horizon.settled
        assert look(database, horizon) == before + 1


@engines
def test_readers_get_every_row_once_while_many_write(database: Database) -> None:
    """Owners, workers and sweepers change the same jobs at once, and take their time before they commit."""
    ids = [submitted(database) for _ in range(4)]
    stop, numbers = threading.Event(), random.Random(5)
    seen_feed: list[int] = []
    seen: dict[tuple[str, str], list[int]] = {(table, job): [] for table in TABLES for job in ids}

    def read() -> None:
        horizon, after = Horizon(), 0
        while True:
            last = stop.is_set()
            with database.reading() as session:
                settled = horizon.look(session)
                found = feed.changes(session, after, settled, ALL, 1000)
                seen_feed.extend(change.seq for change in found)
                after = max(after, settled)
                known = {t: {j: (seen[t, j] or [0])[-1] for j in ids} for t in TABLES}
                for table, rows in reports.news(session, known, ids, 1000).rows.items():
                    for row in rows:
                        seen[table, row.job_id].append(row.seq)
            if last:
                return

    def write(number: int) -> None:
        for step in range(25):
            job_id = numbers.choice(ids)
            try:
                with database.session() as session:
                    change(session, number, job_id, step)
                    session.flush()
                    time.sleep(numbers.random() * 0.004)
            except Conflict:
                continue

    def change(session, number: int, job_id: str, step: int) -> None:  # type: ignore[no-untyped-def]
        if number == 0:
            # every job at once
            sweep(session, later() if step % 5 == 0 else later(0))
        elif number < 5:
            act = numbers.choice([jobs.request_pause, jobs.request_resume])
            act(session, EVERYTHING, job_id)
        else:
            attempts.claim(session, job_id, "worker", LEASE_S)
            row = session.get(Job, job_id)
            attempts.record_rows(
                session, job_id, row.fence, metrics=[(step, {"loss": 1.0})] * 3, logs=[("info", "x")] * 2
            )

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(8))) == [None] * 8
    stop.set()
    reader.join(30)
    with database.reading() as session:
        look(database, Horizon())
        assert seen_feed == list(session.scalars(select(JobEvent.seq).order_by(JobEvent.seq)))
        for name, table in zip(TABLES, (JobEvent, JobMetric, JobLog), strict=True):
            for job_id in ids:
                stored = select(table.seq).where(table.job_id == job_id).order_by(table.seq)
                assert seen[name, job_id] == list(session.scalars(stored))
    assert len(seen_feed) > 20 and sum(map(len, seen.values())) > len(seen_feed) + 10


@engines
def test_a_page_says_where_the_job_stood_before_its_rows_were_read(database: Database) -> None:
    claim = running(database)
    with database.session() as session:
        attempts.record_rows(session, claim.job_id, claim.fence, logs=[("info", str(n)) for n in range(5)])
    with database.reading() as session:
        first = reports.page(session, claim.job_id, Position(), TABLES, 2)
        assert not first.whole and [len(first.rows[t]) for t in TABLES] == [2, 0, 2]
        end = reports.end_of(session, claim.job_id)
        rest = reports.page(session, claim.job_id, end.after("logs", end.logs - 1), ("logs",), 2)
        assert rest.whole and [row.message for row in rest.rows["logs"]] == ["4"]
        assert not rest.standings[claim.job_id].ended
        assert reports.page(session, "job_none", Position(), TABLES, 2).standings == {}
    with database.session() as session:
        attempts.succeed(session, claim.job_id, claim.fence, {})
    with database.reading() as session:
        assert reports.page(session, claim.job_id, end, TABLES, 9).standings[claim.job_id].ended


@engines
def test_changes_are_chosen_by_project_job_and_kind(database: Database) -> None:
    mine = submitted(database, kind="preprocess")
    other = submitted(database, kind="evaluate", spec={"model": "mdl_1", "dataset": "ds_1"})

    def found(choice: Choice) -> set[str]:
        with database.reading() as session:
            stored = feed.changes(session, 0, 100, choice, 10)
            everything = feed.changes(session, 0, 100, ALL, 10)
        assert list(stored) == [c for c in everything if choice.takes(c)]
        return {c.job_id for c in stored}

    assert found(ALL) == {mine, other}
    assert found(Choice(EVERYTHING, job_id=mine)) == {mine}
    assert found(Choice(EVERYTHING, kind="evaluate")) == {other}
    assert found(Choice(Scope.of("prj_elsewhere"))) == set()


@pytest.mark.parametrize("words", ["", "12", "e1.m2", "e1.m2.l3.stop", "e-1.m0.l0", "e١.m0.l0", "e1.m2.l3\n"])
def test_what_is_no_position_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="like e12"):
        Position.parse(words)


def test_positions_are_text_and_back() -> None:
    for position in (Position(), Position(12, 340, 77), Position(1, 2, 3, ended=True)):
        assert Position.parse(str(position)) == position
    assert Position.parse("e9999999999999999999.m0.l0").events == 2**63 - 1


@empty_engines
def test_numbers_of_deleted_changes_are_not_used_again(
    empty_url: str, open_database: Callable[[str], Database]
) -> None:
    command.upgrade(_config(empty_url), "0008")
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text(
            "INSERT INTO jobs (id, kind, name, state, spec, priority, attempt, max_attempts, fence, created_by, "
            "created_at, rank, turn, backoff_s, ran_s, project_id) VALUES ('job_1', 'evaluate', 'n', 'queued', '{}', "
            "0, 0, 3, 0, 'me', '2026-01-01 00:00:00', 0, 0, 0, 0, 'prj_default')"
        ))  # fmt: skip
        for _ in range(3):
            connection.execute(text(
                "INSERT INTO job_events (job_id, attempt, type, data, at) "
                "VALUES ('job_1', 0, 'old', '{}', '2026-01-01')"
            ))  # fmt: skip
    engine.dispose()
    migrate(empty_url)
    database = open_database(empty_url)
    with database.session() as session:
        session.execute(delete(JobEvent))
    with database.session() as session:
        add_event(session, "job_1", 0, "new")
    with database.reading() as session:
        assert session.scalars(select(JobEvent.seq)).all() == [4]
    database.engine.dispose()
    command.downgrade(_config(empty_url), "0008")
    migrate(empty_url)


def test_a_job_that_is_claimed_reports_in_order(database: Database) -> None:
    job_id = submitted(database)
    assert claimed(database, job_id) is not None
    with database.reading() as session:
        assert [c.type for c in feed.changes(session, 0, 10, ALL, 10)] == ["queued", "running"]
