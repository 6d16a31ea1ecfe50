"""gates of aliases, and why one was passed all the same."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("aliases") as table:
        table.add_column(sa.Column("gate", sa.JSON(none_as_null=True), nullable=True))
    with op.batch_alter_table("promotions") as table:
        table.add_column(sa.Column("override", sa.Text(), nullable=True))
        table.add_column(sa.Column("report_id", sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("promotions") as table:
        table.drop_column("report_id")
        table.drop_column("override")
    with op.batch_alter_table("aliases") as table:
        table.drop_column("gate")
