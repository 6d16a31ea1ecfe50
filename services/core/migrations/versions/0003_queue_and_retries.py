"""fair order of the queue, resources, retries and time limits."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("rank", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("turn", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("gpus", sa.Integer(), nullable=True))
        table.add_column(sa.Column("memory_bytes", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("retry_on", sa.JSON(), nullable=True))
        table.add_column(sa.Column("backoff_s", sa.Float(), nullable=False, server_default="0"))
        table.add_column(sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("time_limit_s", sa.Float(), nullable=True))
        table.add_column(sa.Column("ran_s", sa.Float(), nullable=False, server_default="0"))
        table.add_column(sa.Column("attempt_started_at", sa.DateTime(timezone=True), nullable=True))
        table.drop_index("ix_jobs_state_priority")
        table.create_index("ix_jobs_queue", ["state", "rank", "turn", "created_at", "id"])
        table.create_index("ix_jobs_owner", ["created_by", "state", "turn"])
    # what runs at this moment has run since its first start at the latest
    names = ("attempt_started_at", "started_at", "state", "rank", "priority")
    jobs = sa.table("jobs", *map(sa.column, names))
    op.execute(jobs.update().values(rank=-jobs.c.priority))
    op.execute(jobs.update().where(jobs.c.state == "running").values(attempt_started_at=jobs.c.started_at))
    with op.batch_alter_table("jobs") as table:
        table.alter_column("rank", server_default=None)
        table.alter_column("turn", server_default=None)
        table.alter_column("backoff_s", server_default=None)
        table.alter_column("ran_s", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.drop_index("ix_jobs_owner")
        table.drop_index("ix_jobs_queue")
        table.create_index("ix_jobs_state_priority", ["state", "priority", "created_at"])
        for name in (
            "attempt_started_at",
            "ran_s",
            "time_limit_s",
            "not_before",
            "backoff_s",
            "retry_on",
            "memory_bytes",
            "gpus",
            "turn",
            "rank",
        ):
            table.drop_column(name)
