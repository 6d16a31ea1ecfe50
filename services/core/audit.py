"""The audit log: who did what, when, from where, and how it ended. Rows are only ever added."""

from dataclasses import asdict, dataclass

import structlog
from sqlalchemy import Select, insert, select
from sqlalchemy.exc import SQLAlchemyError

from services.core.db import Database
from services.core.keys import Identity
from services.core.tables import AuditEntry

_log = structlog.get_logger()


@dataclass(frozen=True)
class Deed:
    """A request that is put on record: no body, no query and no header of it, which may hold secrets or patients."""

    method: str
    route: str
    path: str
    request_id: str
    status: int
    address: str | None = None
    actor: str | None = None
    key_id: str | None = None
    detail: str | None = None

    @property
    def outcome(self) -> str:
        """`done`, `denied` (no good key, or its role is too low), `rejected` (the request was wrong) or `failed`."""
        if self.status < 400:
            return "done"
        if self.status in {401, 403}:
            return "denied"
        return "rejected" if self.status < 500 else "failed"


def deed(method: str, route: str, path: str, request_id: str, status: int, address: str | None,
         identity: Identity | None, detail: str | None = None) -> Deed:  # fmt: skip
    """A request in a form that can be stored."""
    return Deed(
        method[:16], route[:128], "".join(c if c.isprintable() else "?" for c in path)[:256], request_id, status,
        address[:64] if address else None, identity.owner if identity else None,
        identity.key_id if identity else None, detail,
    )  # fmt: skip


def record(database: Database, *done: Deed) -> None:
    """Put requests on record. A database that does not answer leaves them to the log."""
    try:
        # every write waits for it: one statement, without the work of a session
        with database.alone.begin() as connection:
            connection.execute(insert(AuditEntry), [asdict(deed) | {"outcome": deed.outcome} for deed in done])
    except SQLAlchemyError as error:
        for deed in done:
            _log.error("audit_not_stored", error=type(error).__name__, deed=asdict(deed))


def entries(limit: int) -> Select[AuditEntry]:
    """The newest rows; `services.core.lists` has the list with its filters."""
    return select(AuditEntry).order_by(AuditEntry.seq.desc()).limit(limit)
