"""Bringing a backup back into an empty platform that nobody uses yet."""

from collections.abc import Callable
from pathlib import Path

from minio.error import MinioException
from sqlalchemy import Connection, and_, func, insert, inspect, select, table, text, update
from sqlalchemy.exc import DBAPIError
from urllib3.exceptions import HTTPError

from services.core.backup import objects, tables
from services.core.backup.files import OBJECTS, BackupError, Header, check, read_header, read_lines
from services.core.db import make_engine, move, revision_of, revisions
from services.core.ids import new_id
from services.core.lifecycle import TERMINAL, State
from services.core.storage import ObjectStore
from services.core.tables import AuditEntry, GcRun, Job, JobEvent, ServedName, Webhook
from services.core.tables.base import now

# attempts that were made after the backup had higher fences than it tells: none of them may go on with a job now
FENCES = 1000
# what a platform that has just started holds
_FRESH = frozenset({"alembic_version", "api_keys", "audit", "idempotency_keys", "key_projects", "projects", "workers"})


def restore(url: str, store: ObjectStore, folder: Path, *, replace: bool, triton_folder: Path | None,
            say: Callable[[str], None], paused: bool = False) -> tuple[Header, objects.Found]:  # fmt: skip
    """Bring rows and objects back, and look whether all is there; what the backup was, and what is wrong with objects.

    `replace` allows for a database that is in use: all of it is thrown away. `triton_folder` is where Triton reads
    models from a folder. With `paused` no job goes on and no message is sent until somebody wants it: for a copy beside
    a platform that lives. Raises BackupError; the database is then as it was before.
    """
    header = read_header(folder)
    known = revisions()
    if header.revision not in known:
        raise BackupError(
            f"the backup is of the revision {header.revision} (medcoss {header.version}), this version of medcoss "
            f"knows up to {known[0]}; restore it with {header.version} or a newer version"
        )
    check(folder, header)
    engine = make_engine(url, foreign_keys=False)
    try:
        # before anything is stored: whoever is refused has changed nothing
        with engine.connect() as connection:
            _refuse_unless_empty(connection, replace)
        found = _objects(store, folder, triton_folder, say)
        versions = _versions(store)
        with engine.begin() as connection:
            _rows(connection, folder, header, replace, versions)
            if paused:
                say(_pause(connection))
    except DBAPIError as error:
        raise BackupError(f"the database does not take the backup ({type(error.orig).__name__})") from error
    except (MinioException, HTTPError) as error:
        raise BackupError(f"the object store does not take the backup ({type(error).__name__})") from error
    finally:
        engine.dispose()
    say(f"{sum(each.lines for each in header.tables.values()):,} rows of {len(header.tables)} tables are back")
    return header, found


def _refuse_unless_empty(connection: Connection, replace: bool) -> None:
    names = set(inspect(connection).get_table_names())
    if names and "alembic_version" not in names:
        raise BackupError("the database holds tables of something else; name an empty one in MEDCOSS_DATABASE_URL")
    used = [name for name in sorted(names - _FRESH) if connection.scalar(select(func.count()).select_from(table(name)))]
    projects = "projects" in names and (connection.scalar(text("SELECT count(*) FROM projects")) or 0) > 1
    if (used or projects) and not replace:
        raise BackupError(
            f"the database is in use (rows in {', '.join(used[:5] or ['projects'])}); restore into an empty one, or "
            "throw all of it away with --replace"
        )


def _objects(store: ObjectStore, folder: Path, triton_folder: Path | None,
             say: Callable[[str], None]) -> objects.Found:  # fmt: skip
    store.ensure_bucket()
    found = objects.put_back(
        store, folder, folder / OBJECTS, lambda seen: say(f"{seen.objects:,} objects, {seen.stored:,} of them stored")
    )
    say(f"{found.objects:,} objects looked at, {found.stored:,} stored, {found.wrong:,} missing or damaged")
    if triton_folder is not None:
        _fill(store, folder, triton_folder)
    return found


def _fill(store: ObjectStore, folder: Path, triton_folder: Path) -> None:
    """Where Triton reads a folder, its models are put there, too."""
    for line in read_lines(folder / OBJECTS):
        first, *rest = str(line["key"]).split("/")
        if first != "triton" or not {"", ".", ".."}.isdisjoint(rest):
            continue
        target = triton_folder.joinpath(*rest)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("wb") as file:
                file.writelines(store.read(line["key"]))
        except FileNotFoundError:
            # it was told already
            target.unlink()


def _rows(connection: Connection, folder: Path, header: Header, replace: bool,
          versions: dict[str, int]) -> None:  # fmt: skip
    """All in one transaction: the schema of the backup, its rows, the newest schema, and what time has changed."""
    _refuse_unless_empty(connection, replace)
    if revision_of(connection) is not None:
        move(connection, None)
    move(connection, header.revision)
    tables.load(connection, folder, header)
    tables.count(connection, header)
    move(connection, "head")
    if connection.dialect.name == "sqlite":
        wrong = connection.execute(text("PRAGMA foreign_key_check")).first()
        if wrong is not None:
            raise BackupError(f"a row of the table {wrong[0]} names one of {wrong[2]} that is not in the backup")
    _settle(connection, header, versions)


def _settle(connection: Connection, header: Header, versions: dict[str, int]) -> None:
    """What must not go on as if nothing had happened."""
    moment = now()
    unfinished = update(Job).where(Job.state.not_in(TERMINAL), Job.fence > 0)
    connection.execute(unfinished.values(fence=Job.fence + FENCES))
    # the sweeper finds them and has them go on from their checkpoints
    connection.execute(update(Job).where(Job.state == State.RUNNING).values(lease_until=moment))
    ended = {"state": "cancelled", "unfinished": None, "finished_at": moment, "error": "the database was restored"}
    connection.execute(update(GcRun).where(GcRun.unfinished.is_not(None)).values(**ended))
    for name, version in versions.items():
        given = update(ServedName).where(ServedName.name == name, ServedName.last_version < version)
        connection.execute(given.values(last_version=version))
    detail = f"restored the backup of {header.made_at:%Y-%m-%d %H:%M:%S} UTC, revision {header.revision}"
    connection.execute(
        insert(AuditEntry).values(
            method="RESTORE", route="backup", path="backup", request_id=new_id("req"), status=200, outcome="done",
            detail=detail,
        )
    )  # fmt: skip


def _pause(connection: Connection) -> str:
    """Nothing starts and nothing is sent by itself; what was paused, in words."""
    reason = "paused when the backup was restored"
    # what is to be cancelled is cancelled by the sweeper, and does not start either
    mine = and_(
        Job.state.in_([State.WAITING, State.QUEUED, State.RUNNING]), func.coalesce(Job.stop_order, "") != "cancel"
    )
    unfinished = connection.execute(select(Job.id, Job.attempt).where(mine)).all()
    # as if its worker had given it up after its checkpoint: the attempt is not counted
    given_up = {"attempt": Job.attempt - 1, "worker": None, "lease_until": None, "attempt_started_at": None}
    connection.execute(update(Job).where(mine, Job.state == State.RUNNING).values(**given_up))
    connection.execute(update(Job).where(mine).values(state=State.PAUSED, not_before=None, stop_order=None, eta_s=None))
    if unfinished:
        events = [{"job_id": job, "attempt": attempt, "type": "paused", "data": {"reason": reason}}
                  for job, attempt in unfinished]  # fmt: skip
        connection.execute(insert(JobEvent), events)
    off = update(Webhook).where(Webhook.active).values(active=False, disabled_reason=f"switched off: {reason}")
    hooks = connection.execute(off).rowcount
    return f"{len(unfinished):,} jobs that had not ended are paused, {hooks:,} webhooks are switched off"


def _versions(store: ObjectStore) -> dict[str, int]:
    """The highest version of each served name of which something is stored, also after the backup."""
    found: dict[str, int] = {}
    for page in store.pages("triton/"):
        for each in page:
            name, _, version = each.key.split("/")[1].rpartition(".")
            if version.isdecimal():
                found[name] = max(found.get(name, 0), int(version))
    return found
