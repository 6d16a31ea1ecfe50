"""the whole answer of a request that may be repeated, for any request."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLE = "idempotency_keys"
KEPT = timedelta(days=1)


def upgrade() -> None:
    with op.batch_alter_table(TABLE) as table:
        table.add_column(sa.Column("method", sa.String(8), nullable=False, server_default="POST"))
        table.add_column(sa.Column("path", sa.String(256), nullable=False, server_default="/v1/jobs"))
        table.add_column(sa.Column("status", sa.Integer(), nullable=True))
        table.add_column(sa.Column("headers", sa.JSON(), nullable=False, server_default="{}"))
        table.add_column(sa.Column("body", sa.Text(), nullable=True))
        table.add_column(sa.Column("made", sa.String(64), nullable=True))
        table.add_column(sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True))
    # what was asked was digested in another way, and the answer was not kept: the job alone is known
    columns = ("job_id", "made", "status", "digest")
    keys = sa.table(TABLE, *map(sa.column, columns), sa.column("expires_at", sa.DateTime(timezone=True)))
    end = datetime.now(UTC) + KEPT
    if op.get_bind().dialect.name == "sqlite":
        end = end.replace(tzinfo=None)
    op.execute(keys.update().values(made=keys.c.job_id, status=201, digest="", expires_at=end))
    with op.batch_alter_table(TABLE) as table:
        for name in ("method", "path", "headers"):
            table.alter_column(name, server_default=None)
        table.alter_column("expires_at", existing_type=sa.DateTime(timezone=True), nullable=False)
        table.drop_constraint("fk_idempotency_keys_job_id_jobs", type_="foreignkey")
        table.drop_column("job_id")
    op.create_index("ix_idempotency_keys_expires_at", TABLE, ["expires_at"])


def downgrade() -> None:
    op.drop_index("ix_idempotency_keys_expires_at", table_name=TABLE)
    keys = sa.table(TABLE, *map(sa.column, ("made",)))
    jobs = sa.table("jobs", sa.column("id"))
    op.execute(keys.delete().where(sa.or_(keys.c.made.is_(None), keys.c.made.not_in(sa.select(jobs.c.id)))))
    with op.batch_alter_table(TABLE) as table:
        table.alter_column("made", new_column_name="job_id", existing_type=sa.String(64), nullable=False)
    with op.batch_alter_table(TABLE) as table:
        table.create_foreign_key("fk_idempotency_keys_job_id_jobs", "jobs", ["job_id"], ["id"])
        for name in ("method", "path", "status", "headers", "body", "expires_at", "lease_until"):
            table.drop_column(name)
