"""numbers of state changes are never used again, on SQLite, too."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _rebuild(**table_kwargs: bool) -> None:
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table("job_events", recreate="always", table_kwargs=table_kwargs) as table:
            table.alter_column("seq", existing_type=sa.Integer(), existing_nullable=False)
            if not table_kwargs:
                # the name is lost where SQLite counts up by itself
                table.create_primary_key("pk_job_events", ["seq"])


def upgrade() -> None:
    _rebuild(sqlite_autoincrement=True)


def downgrade() -> None:
    _rebuild()
