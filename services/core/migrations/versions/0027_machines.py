"""jobs that run on several machines, and the workers that start them."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("jobs", "workers"):
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("nodes", sa.Integer(), nullable=True))


def downgrade() -> None:
    for name in ("workers", "jobs"):
        with op.batch_alter_table(name) as table:
            table.drop_column("nodes")
