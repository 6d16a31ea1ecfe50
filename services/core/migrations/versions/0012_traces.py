"""the trace that a job belongs to; failed attempts are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

FAILED = sa.text("type = 'attempt_failed'")


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("trace", sa.String(55), nullable=True))
    op.create_index("ix_job_events_failures", "job_events", ["type"], postgresql_where=FAILED, sqlite_where=FAILED)


def downgrade() -> None:
    op.drop_index("ix_job_events_failures", table_name="job_events")
    with op.batch_alter_table("jobs") as table:
        table.drop_column("trace")
