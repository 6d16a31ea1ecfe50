"""a secret of every project that keys the hashes of its patients."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("projects") as table:
        table.add_column(sa.Column("patient_salt", sa.String(length=64), nullable=True))
    projects = sa.table("projects", sa.column("id", sa.String), sa.column("patient_salt", sa.String))
    connection = op.get_bind()
    for project_id in connection.scalars(sa.select(projects.c.id)).all():
        salted = sa.update(projects).where(projects.c.id == project_id).values(patient_salt=secrets.token_hex(32))
        connection.execute(salted)
    with op.batch_alter_table("projects") as table:
        table.alter_column("patient_salt", existing_type=sa.String(length=64), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("projects") as table:
        table.drop_column("patient_salt")
