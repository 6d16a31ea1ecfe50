"""Finding datasets, jobs and models by words of their names, tags and notes."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from services.core.errors import FieldError, ValidationFailed
from services.core.labels import WORDS, Labelled
from services.core.scope import Scope
from services.core.tables import DatasetWord, JobWord, ModelWord
from services.core.tables.labels import words

Words = type[DatasetWord | JobWord | ModelWord]
MOST_WORDS = 8
# entries of an index that are looked at for one answer: the newest of those with the rarest word
MOST_ENTRIES = 5000
_END = "\U0010ffff"


def terms(text: str) -> list[str]:
    """The words that are searched for. ValidationFailed when there are none."""
    found = words(text, most=MOST_WORDS)
    if not found:
        detail = "expected a word, or the beginning of one"
        raise ValidationFailed(f"there is nothing to search for; {detail}", [FieldError("query:q", detail)])
    return found


def find(session: Session, scope: Scope, table: type[Labelled], wanted: Sequence[str], limit: int) -> list[Labelled]:
    """The newest `limit` rows that hold, for each of the words, one that begins so."""
    rows = WORDS[table]
    rarest = min(wanted, key=lambda word: _number(session, scope, rows, word))
    entries = (
        select(rows.item_id).where(scope.among(rows.project_id), _begins(rows, rarest))
        .order_by(rows.word.desc(), rows.item_id.desc()).limit(MOST_ENTRIES).subquery()
    )  # fmt: skip
    statement = select(table).where(table.id.in_(select(entries.c.item_id)))
    for word in wanted:
        if word != rarest:
            statement = statement.where(exists().where(rows.item_id == table.id, _begins(rows, word)))
    return list(session.scalars(statement.order_by(table.created_at.desc(), table.id.desc()).limit(limit)))


def _begins(rows: Words, word: str) -> ColumnElement[bool]:
    return (rows.word >= word) & (rows.word < word + _END)


def _number(session: Session, scope: Scope, rows: Words, word: str) -> int:
    """Entries of a word, counted up to the most that are looked at."""
    some = select(rows.item_id).where(scope.among(rows.project_id), _begins(rows, word)).limit(MOST_ENTRIES)
    return session.scalars(select(func.count()).select_from(some.subquery())).one()
