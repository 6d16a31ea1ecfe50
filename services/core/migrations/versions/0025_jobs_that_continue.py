"""jobs that begin with the last checkpoint of another one."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_GOES_ON = sa.text("continues IS NOT NULL")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("continues", sa.String(length=64), nullable=True))
    op.create_index("ix_jobs_continues", "jobs", ["continues"], postgresql_where=_GOES_ON, sqlite_where=_GOES_ON)


def downgrade() -> None:
    op.drop_index("ix_jobs_continues", "jobs")
    op.drop_column("jobs", "continues")
