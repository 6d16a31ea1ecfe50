"""jobs that are shared out among child jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

IS_CHILD = sa.text("parent_id IS NOT NULL")


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("parent_id", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("children", sa.Integer(), nullable=True))
    op.create_index("ix_jobs_parent_id", "jobs", ["parent_id"], postgresql_where=IS_CHILD, sqlite_where=IS_CHILD)


def downgrade() -> None:
    op.drop_index("ix_jobs_parent_id", table_name="jobs")
    with op.batch_alter_table("jobs") as table:
        table.drop_column("children")
        table.drop_column("parent_id")
