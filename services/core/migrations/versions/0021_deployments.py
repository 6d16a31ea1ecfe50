"""Deployments that load or have failed, and which version of a name answers."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

MOMENTS = ("ready_at", "activated_at")


def upgrade() -> None:
    with op.batch_alter_table("deployments") as table:
        table.alter_column("version", existing_type=sa.Integer(), nullable=True)
        table.add_column(sa.Column("error", sa.JSON(), nullable=True))
        for name in MOMENTS:
            table.add_column(sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    # the newest version of a name has answered
    op.execute("UPDATE deployments SET ready_at = created_at, activated_at = created_at WHERE state = 'ready'")


def downgrade() -> None:
    # only versions were known, whatever their state
    op.execute("DELETE FROM deployments WHERE version IS NULL")
    with op.batch_alter_table("deployments") as table:
        for name in (*MOMENTS, "error"):
            table.drop_column(name)
        table.alter_column("version", existing_type=sa.Integer(), nullable=False)
