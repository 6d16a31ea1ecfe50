"""jobs that run on several machines, and the workers that start them."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("jobs", "workers"):
        op.add_column(table, sa.Column("nodes", sa.Integer(), nullable=True))


def downgrade() -> None:
    for table in ("workers", "jobs"):
        op.drop_column(table, "nodes")
