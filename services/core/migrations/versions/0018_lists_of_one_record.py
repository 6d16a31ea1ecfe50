"""indexes for the filters and orders of the lists of one record; paths compared byte by byte."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# table: name of the index behind ix_TABLE_, and its columns
MADE = {
    "job_artifacts": {"by_size": ["job_id", "size", "name"], "by_type": ["job_id", "content_type", "name"]},
    "dataset_files": {"dataset": ["dataset_id", "seq"], "by_size": ["dataset_id", "size", "seq"]},
    "model_files": {"model": ["model_id", "seq"], "by_size": ["model_id", "size", "seq"]},
    "workers": {
        "seen_at": ["seen_at", "name"], "started_at": ["started_at", "name"], "state": ["state", "name"],
        "host": ["host", "name"],
    },
    "webhook_deliveries": {
        "webhook": ["webhook_id", "created_at", "seq"], "by_state": ["webhook_id", "state", "created_at", "seq"],
        "by_topic": ["webhook_id", "topic", "created_at", "seq"],
    },
    "upload_sessions": {
        "by_created_at": ["dataset_id", "state", "created_at", "id"], "by_path": ["dataset_id", "state", "path", "id"],
    },
    "gc_runs": {"by_state": ["state", "created_at", "id"], "by_dry_run": ["dry_run", "created_at", "id"]},
    "gc_findings": {f"by_{name}": ["run_id", name, "seq"] for name in ("kind", "owner", "objects", "bytes")},
    "promotions": {
        "by_at": ["project_id", "alias", "at", "seq"],
        **{f"by_{name}": ["project_id", "alias", name, "at", "seq"] for name in ("action", "actor", "to_id")},
    },
}  # fmt: skip
# indexes that the new ones begin with, or take the name of
OLD = {
    "dataset_files": ("dataset_id", ["dataset_id"]), "model_files": ("model_id", ["model_id"]),
    "workers": ("seen_at", ["seen_at"]), "webhook_deliveries": ("webhook", ["webhook_id", "seq"]),
}  # fmt: skip
PATHS = {
    "job_artifacts": ("name", 256), "dataset_files": ("path", 1024), "model_files": ("path", 1024),
    "upload_sessions": ("path", 1024),
}  # fmt: skip


def _collate(name: str | None) -> None:
    # SQLite compares byte by byte anyway
    if op.get_bind().dialect.name != "postgresql":
        return
    # its condition would be written down anew, in other words
    op.drop_index("ix_upload_sessions_live", table_name="upload_sessions")
    for table, (column, length) in PATHS.items():
        op.alter_column(table, column, type_=sa.String(length, collation=name))
    live = sa.text("state IN ('open', 'completing')")
    op.create_index(
        "ix_upload_sessions_live", "upload_sessions", ["dataset_id", "path"], unique=True, postgresql_where=live
    )


def upgrade() -> None:
    for table, (name, _) in OLD.items():
        op.drop_index(f"ix_{table}_{name}", table_name=table)
    _collate("C")
    for table, indexes in MADE.items():
        for name, columns in indexes.items():
            op.create_index(f"ix_{table}_{name}", table, columns)


def downgrade() -> None:
    for table, indexes in MADE.items():
        for name in indexes:
            op.drop_index(f"ix_{table}_{name}", table_name=table)
    _collate(None)
    for table, (name, columns) in OLD.items():
        op.create_index(f"ix_{table}_{name}", table, columns)
