"""Who sees what: every look-up and every list of what a project owns starts here."""

from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Select, select, true
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from services.core.errors import NotFound
from services.core.tables import (
    Alias,
    Dataset,
    Deployment,
    Erasure,
    Evaluation,
    Job,
    Model,
    Owned,
    Pipeline,
    SearchIndex,
    Webhook,
)

T = TypeVar("T", bound=Owned)
_NOUNS: dict[type[Owned], str] = {
    Alias: "alias", Dataset: "dataset", Deployment: "deployment", Erasure: "erasure",
    Evaluation: "evaluation", Job: "job",
    Model: "model", Pipeline: "pipeline", SearchIndex: "index", Webhook: "webhook",
}  # fmt: skip


@dataclass(frozen=True)
class Scope:
    """The projects that a caller belongs to; None: all of them, as for administrators and the platform itself."""

    projects: frozenset[str] | None

    @classmethod
    def of(cls, *project_ids: str) -> "Scope":
        """Only these projects."""
        return cls(frozenset(project_ids))

    def sees(self, project_id: str) -> bool:
        """True when what the project owns is seen."""
        return self.projects is None or project_id in self.projects

    def among(self, project_id: Any) -> ColumnElement[bool]:
        """The condition that a column holds one of the projects."""
        if self.projects is None:
            return true()
        condition: ColumnElement[bool] = project_id.in_(sorted(self.projects))
        return condition

    def select(self, table: type[T]) -> Select[T]:
        """The rows of a table that are seen; lists add their filters to it."""
        return select(table).where(self.among(table.project_id))

    def find(self, session: Session, table: type[T], row_id: str, **options: Any) -> T | None:
        """The row, or None when there is none or it is another project's. `options` are those of `Session.get`."""
        row = session.get(table, row_id, **options)
        return row if row is not None and self.sees(row.project_id) else None

    def get(self, session: Session, table: type[T], row_id: str, **options: Any) -> T:
        """The row. NotFound tells nobody whether it is another project's."""
        row = self.find(session, table, row_id, **options)
        if row is None:
            raise NotFound(f"there is no {_NOUNS[table]} {row_id}")
        return row


# the platform's own work: queue, attempts, sweeper
EVERYTHING = Scope(None)
