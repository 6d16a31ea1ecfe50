"""indexes of lists, notes, tags, words that are searched for, metrics of models."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CHUNK = 1000
KEY = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
ITEMS = {"job": "jobs", "dataset": "datasets", "model": "models"}
JOB_SORTS = ("created_at", "name_key", "priority", "finished_at", "ran_s")
# filters in the order of creation, and orders of their own
WAYS = {
    "datasets": (("role", "state", "modality", "job_id"), ("name_key", "total_bytes")),
    "models": (("task", "modality", "job_id", "dataset_id"), ("name_key",)),
    "deployments": (("state", "model_id", "job_id"), ("name",)),
}
# indexes that the new ones begin with
OLD = {"jobs": ("kind", "state"), "datasets": ("name",), "models": ("name",), "deployments": ("name",)}


def _list_indexes(table: str) -> Iterator[tuple[str, list[str]]]:
    yield f"ix_{table}_created", ["created_at", "id"]
    if table == "jobs":
        ways = {f"by_{name}": ["state", name, "id"] for name in JOB_SORTS} | {
            "name": ["name_key", "id"],
            "by_kind": ["kind", "state", "created_at", "id"],
            "by_owner": ["created_by", "state", "created_at", "id"],
        }
        for name, way in ways.items():
            yield f"ix_jobs_{name}", way
            yield f"ix_jobs_project_{name}", ["project_id", *way]
        return
    filters, sorts = WAYS[table]
    for way in [[name, "created_at"] for name in filters] + [[name] for name in sorts]:
        yield f"ix_{table}_by_{way[0]}", [*way, "id"]
        yield f"ix_{table}_project_by_{way[0]}", ["project_id", *way, "id"]


def _words(*texts: str) -> list[str]:
    found = (w[:128] for text in texts for w in re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text)))
    return list(dict.fromkeys(word.casefold()[:128] for word in found))[:500]


def upgrade() -> None:
    added: dict[str, list[sa.Column[Any]]] = {
        "jobs": [sa.Column("notes", sa.Text(), nullable=False, server_default="")],
        "datasets": [],
        "models": [
            sa.Column("notes", sa.Text(), nullable=False, server_default=""),
            sa.Column("task", sa.String(32), nullable=False, server_default=""),
            sa.Column("modality", sa.String(32), nullable=False, server_default=""),
        ],
    }
    for name, columns in added.items():
        columns.append(sa.Column("name_key", KEY, nullable=False, server_default=""))
        with op.batch_alter_table(name) as table:
            for column in columns:
                table.add_column(column)
    for item, name in ITEMS.items():
        _label_tables(item, name)
    _fill()
    for name, columns in added.items():
        with op.batch_alter_table(name) as table:
            for column in columns:
                table.alter_column(column.name, server_default=None)
    for name, old in OLD.items():
        for column_name in old:
            op.drop_index(f"ix_{name}_{column_name}", table_name=name)
        for index, indexed in _list_indexes(name):
            op.create_index(index, name, indexed)
    _audit_indexes()


def _label_tables(item: str, name: str) -> None:
    def owner(table: str, column: str = "item_id") -> list[Any]:
        return [
            sa.Column(column, sa.String(64), nullable=False),
            sa.Column("project_id", sa.String(64), nullable=False),
            sa.ForeignKeyConstraint([column], [f"{name}.id"], name=f"fk_{table}_{column}_{name}", ondelete="CASCADE"),
        ]

    tags, words = f"{item}_tags", f"{item}_words"
    op.create_table(
        tags, *owner(tags), sa.Column("tag", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("item_id", "tag", name=f"pk_{tags}"),
    )  # fmt: skip
    op.create_index(f"ix_{tags}_tag", tags, ["tag", "created_at", "item_id"])
    op.create_index(f"ix_{tags}_project_tag", tags, ["project_id", "tag", "created_at", "item_id"])
    op.create_table(
        words, *owner(words), sa.Column("word", KEY, nullable=False),
        sa.PrimaryKeyConstraint("item_id", "word", name=f"pk_{words}"),
    )  # fmt: skip
    op.create_index(f"ix_{words}_word", words, ["word", "item_id"])
    op.create_index(f"ix_{words}_project_word", words, ["project_id", "word", "item_id"])
    if item == "model":
        op.create_table(
            "model_metrics", *owner("model_metrics", "model_id"), sa.Column("name", sa.String(128), nullable=False),
            sa.Column("value", sa.Float(), nullable=False),
            sa.PrimaryKeyConstraint("model_id", "name", name="pk_model_metrics"),
        )  # fmt: skip
        op.create_index("ix_model_metrics_value", "model_metrics", ["name", "value", "model_id"])
        op.create_index("ix_model_metrics_project_value", "model_metrics", ["project_id", "name", "value", "model_id"])


def _chunks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _fill() -> None:
    connection = op.get_bind()
    for item, name in ITEMS.items():
        notes = "description" if item == "dataset" else "notes"
        columns: list[Any] = [sa.column(c) for c in ("id", "name", "name_key", "project_id", notes)]
        if item == "model":
            columns += [sa.column("task"), sa.column("modality"), sa.column("info", sa.JSON)]
        table = sa.table(name, *columns)
        found = sa.table(f"{item}_words", *map(sa.column, ("item_id", "project_id", "word")))
        rows = connection.execute(sa.select(table)).mappings().all()
        for chunk in _chunks(rows):
            keys = [{"i": r["id"], "k": unicodedata.normalize("NFKC", r["name"]).casefold()[:128]} for r in chunk]
            connection.execute(
                table.update().where(table.c.id == sa.bindparam("i")).values(name_key=sa.bindparam("k")), keys
            )
            words = [
                {"item_id": r["id"], "project_id": r["project_id"], "word": word}
                for r in chunk for word in _words(r["name"], r[notes] or "")
            ]  # fmt: skip
            if words:
                connection.execute(found.insert(), words)
        if item == "model":
            _fill_models(connection, table, rows)


def _fill_models(connection: sa.Connection, table: Any, rows: Iterable[Any]) -> None:
    metrics = sa.table("model_metrics", *map(sa.column, ("model_id", "project_id", "name", "value")))
    for row in rows:
        info = row["info"]
        connection.execute(
            table.update().where(table.c.id == row["id"])
            .values(task=info.get("task", ""), modality=info.get("modality", ""))
        )  # fmt: skip
        numbers = [
            {"model_id": row["id"], "project_id": row["project_id"], "name": name[:128], "value": value}
            for name, value in info.get("metrics", {}).items() if value is not None
        ]  # fmt: skip
        if numbers:
            connection.execute(metrics.insert(), numbers)


def _audit_indexes() -> None:
    op.drop_index("ix_audit_actor_seq", table_name="audit")
    op.drop_index("ix_audit_at", table_name="audit")
    op.drop_index("ix_audit_key_id", table_name="audit")
    op.create_index("ix_audit_at", "audit", ["at", "seq"])
    for name in ("actor", "key_id", "outcome", "route"):
        op.create_index(f"ix_audit_by_{name}", "audit", [name, "at", "seq"])


def downgrade() -> None:
    for name in ("actor", "key_id", "outcome", "route"):
        op.drop_index(f"ix_audit_by_{name}", table_name="audit")
    op.drop_index("ix_audit_at", table_name="audit")
    op.create_index("ix_audit_actor_seq", "audit", ["actor", "seq"])
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_key_id", "audit", ["key_id"])
    op.drop_table("model_metrics")
    for item in ITEMS:
        op.drop_table(f"{item}_words")
        op.drop_table(f"{item}_tags")
    for name, columns in OLD.items():
        for index, _ in _list_indexes(name):
            op.drop_index(index, table_name=name)
        for column in columns:
            op.create_index(f"ix_{name}_{column}", name, [column])
    gone = {"jobs": ("notes", "name_key"), "datasets": ("name_key",),
            "models": ("notes", "task", "modality", "name_key")}  # fmt: skip
    for name, columns in gone.items():
        with op.batch_alter_table(name) as table:
            for column in columns:
                table.drop_column(column)
