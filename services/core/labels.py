"""Tags, notes and what things are found by: kept up here, whenever one is made or changed."""

import re
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from services.core.tables import (
    Dataset,
    DatasetTag,
    DatasetWord,
    Job,
    JobTag,
    JobWord,
    Model,
    ModelMetric,
    ModelTag,
    ModelWord,
)
from services.core.tables.base import table_of
from services.core.tables.labels import folded, words

Labelled = Dataset | Job | Model
MOST_TAGS = 32
_TAG = re.compile(r"\w[\w.:/=+-]{0,63}")
TAGS: dict[type[Labelled], type[DatasetTag | JobTag | ModelTag]] = {
    Dataset: DatasetTag, Job: JobTag, Model: ModelTag,
}  # fmt: skip
WORDS: dict[type[Labelled], type[DatasetWord | JobWord | ModelWord]] = {
    Dataset: DatasetWord, Job: JobWord, Model: ModelWord,
}  # fmt: skip


def tag_of(text: str) -> str:
    """A tag as it is kept and looked for: without regard to case. ValueError for what is none."""
    tag = folded(text)
    if not _TAG.fullmatch(tag):
        raise ValueError("expected 1 to 64 letters, digits and . _ - : / = +, beginning with a letter or digit")
    return tag


def notes_of(row: Labelled) -> str:
    """What people wrote about it."""
    return row.description if isinstance(row, Dataset) else row.notes


def tags_of(session: Session, table: type[Labelled], ids: Iterable[str]) -> dict[str, list[str]]:
    """The tags of each, in the order of the alphabet."""
    wanted, tags = list(ids), TAGS[table]
    found: dict[str, list[str]] = {item_id: [] for item_id in wanted}
    for item_id, tag in session.execute(
        select(tags.item_id, tags.tag).where(tags.item_id.in_(wanted)).order_by(tags.tag)
    ):
        found[item_id].append(tag)
    return found


def made(session: Session, rows: Sequence[Labelled], tags: Mapping[str, Sequence[str]] | None = None) -> None:
    """Let new rows of one table, which are in the database by now, be found; `tags` by their ids."""
    if not rows:
        return
    table = type(rows[0])
    given = tags or {}
    found = [
        {"item_id": row.id, "project_id": row.project_id, "word": word}
        for row in rows for word in words(row.name, *given.get(row.id, ()), notes_of(row))
    ]  # fmt: skip
    if found:
        session.execute(insert(table_of(WORDS[table])), found)
    tagged = [
        {"item_id": row.id, "project_id": row.project_id, "created_at": row.created_at, "tag": tag}
        for row in rows for tag in given.get(row.id, ())
    ]  # fmt: skip
    if tagged:
        session.execute(insert(table_of(TAGS[table])), tagged)


def measured(session: Session, model: Model, metrics: Mapping[str, float]) -> None:
    """Let a new model be found by its metrics."""
    rows = [
        {"model_id": model.id, "project_id": model.project_id, "name": name[:128], "value": value}
        for name, value in metrics.items()
    ]  # fmt: skip
    if rows:
        session.execute(insert(ModelMetric), rows)


def change(session: Session, row: Labelled, *, name: str | None = None, notes: str | None = None,
           tags: Sequence[str] | None = None) -> None:  # fmt: skip
    """Another name, other notes, these tags and no others; what is None stays as it is."""
    table = type(row)
    if name is not None:
        row.name, row.name_key = name, folded(name)
    if notes is not None:
        setattr(row, "description" if isinstance(row, Dataset) else "notes", notes)
    session.flush()
    kept = tags_of(session, table, [row.id])[row.id] if tags is None else list(dict.fromkeys(tags))
    for rows in (TAGS[table], WORDS[table]):
        session.execute(delete(rows).where(rows.item_id == row.id))
    made(session, [row], {row.id: kept})
