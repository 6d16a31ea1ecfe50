"""Stored objects that no record owns, and their removal.

An attempt reserves the prefix it is going to store under before it starts; when its output is
registered, the reservation is dropped. Whatever else happens to the attempt, the sweeper finds the
reservation and removes what was stored. Deleted datasets and expired uploads go the same way.
"""

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog
from minio.error import MinioException
from sqlalchemy import delete, exists, insert, or_, select, update
from sqlalchemy.orm import Session
from urllib3.exceptions import HTTPError

from services.core.db import Database
from services.core.lifecycle import State
from services.core.storage import ObjectStore
from services.core.tables import Job, JobArtifact, Leftover
from services.core.tables.base import now, table_of

# an attempt that has lost its lease is killed well before; what it stores until then is still found
LINGER = timedelta(minutes=10)
BATCH = 1000

_log = structlog.get_logger()


def reserve(session: Session, prefix: str, job_id: str, fence: int) -> None:
    """Note that an attempt is going to store under `prefix`, which ends in a slash."""
    session.add(Leftover(prefix=prefix, job_id=job_id, fence=fence))


def keep(session: Session, job_id: str, fence: int) -> None:
    """What the attempt has stored is registered now."""
    session.execute(delete(Leftover).where(Leftover.job_id == job_id, Leftover.fence == fence))


def add(session: Session, prefix: str, watch_until: datetime | None = None, after_s: float = 0) -> None:
    """Have the objects below `prefix`, which ends in a slash, removed after `after_s`; and what arrives until
    `watch_until`.
    """
    remove_at = now() + timedelta(seconds=after_s)
    session.merge(Leftover(prefix=prefix, job_id=None, fence=None, remove_at=remove_at, watch_until=watch_until))


def end_of_job(session: Session, job_id: str, checkpoints: bool) -> None:
    """Have removed what the attempts of a job that has ended stored and nobody recorded: pictures that a later
    attempt has drawn again, files of an attempt that was killed before it could tell, and, if nobody will look at
    them, `checkpoints`. Attempts that have lost their lease may store some more for a while.
    """
    end_of_jobs(session, {job_id: checkpoints})


def end_of_jobs(session: Session, ended: Mapping[str, bool]) -> None:
    """The same for several jobs, each with whether its checkpoints go, too."""
    prefixes = [f"jobs/{job_id}/artifacts/" for job_id in ended]
    prefixes += [f"jobs/{job_id}/checkpoints/" for job_id, checkpoints in ended.items() if checkpoints]
    if not prefixes:
        return
    moment = now()
    values = {"job_id": None, "fence": None, "remove_at": moment, "watch_until": moment + LINGER}
    known = set(session.scalars(select(Leftover.prefix).where(Leftover.prefix.in_(prefixes))))
    if known:
        session.execute(update(Leftover).where(Leftover.prefix.in_(known)).values(values))
    if new := [values | {"prefix": prefix} for prefix in prefixes if prefix not in known]:
        session.execute(insert(table_of(Leftover)), new)


def reserved(session: Session, prefix: str) -> list[str]:
    """The prefixes below `prefix` that are reserved or wait for removal."""
    return list(session.scalars(select(Leftover.prefix).where(Leftover.prefix.startswith(prefix, autoescape=True))))


def set_due(session: Session, moment: datetime) -> None:
    """Give the reservations of attempts that have ended their time of removal."""
    running = exists().where(Job.id == Leftover.job_id, Job.fence == Leftover.fence, Job.state == State.RUNNING)
    session.execute(
        update(Leftover).where(Leftover.remove_at.is_(None), ~running).values(remove_at=moment + LINGER)
        .execution_options(synchronize_session=False)
    )  # fmt: skip


def clean(database: Database, store: ObjectStore, unload: Callable[[str], None], budget_s: float) -> int:
    """Remove what is due for at most about `budget_s` seconds; the number of prefixes that are gone.

    `unload` is called with the name of a served model before its files go. What cannot be removed now
    stays for the next time. Artifacts that their job knows stay for good.
    """
    until = time.monotonic() + budget_s
    with database.reading() as session:
        due = list(session.scalars(select(Leftover.prefix).where(Leftover.remove_at <= now())))
    gone = 0
    for prefix in due:
        try:
            if prefix.startswith("triton/"):
                unload(prefix.removeprefix("triton/").rstrip("/"))
            kept = _recorded(database, prefix)
            while not (empty := store.remove_some(prefix, BATCH, kept)) and time.monotonic() < until:
                continue
        except (MinioException, HTTPError, OSError) as error:
            _log.warning("leftover_stays", prefix=prefix, error=type(error).__name__)
            continue
        if empty:
            with database.session() as session:
                _removed(session, prefix)
            gone += 1
        if time.monotonic() > until:
            break
    return gone


def _recorded(database: Database, prefix: str) -> frozenset[str]:
    """The artifacts below a prefix that belong to their job."""
    if not prefix.startswith("jobs/"):
        return frozenset()
    with database.reading() as session:
        keys = select(JobArtifact.key).where(JobArtifact.job_id == prefix.split("/")[1])
        return frozenset(session.scalars(keys))


def _removed(session: Session, prefix: str) -> None:
    """Forget a prefix that is empty, or look again later if something may still arrive."""
    late = update(Leftover).where(Leftover.prefix == prefix, Leftover.watch_until > now())
    session.execute(late.values(remove_at=Leftover.watch_until).execution_options(synchronize_session=False))
    session.execute(
        delete(Leftover)
        .where(
            Leftover.prefix == prefix,
            Leftover.remove_at <= now(),
            or_(Leftover.watch_until.is_(None), Leftover.watch_until <= now()),
        )
        .execution_options(synchronize_session=False)
    )
