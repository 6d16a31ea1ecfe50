"""names of served models belong to projects."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    names = op.create_table(
        "served_names",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_served_names_project_id_projects")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_served_names")),
    )
    op.create_index(op.f("ix_served_names_taken_at"), "served_names", ["taken_at"])
    rows = _first_owners(op.get_bind())
    if rows:
        op.bulk_insert(names, rows)


def _first_owners(connection: sa.Connection) -> list[dict[str, object]]:
    """Every name with the project that served it first."""
    columns = (
        sa.column("id", sa.String), sa.column("name", sa.String), sa.column("project_id", sa.String),
        sa.column("version", sa.Integer), sa.column("created_at", sa.DateTime(timezone=True)),
    )  # fmt: skip
    served = sa.table("deployments", *columns)
    found: dict[str, dict[str, object]] = {}
    for row in connection.execute(sa.select(served).order_by(served.c.created_at, served.c.id)):
        first = {"name": row.name, "project_id": row.project_id, "last_version": 0, "taken_at": row.created_at}
        kept = found.setdefault(row.name, first)
        kept["last_version"] = max(int(str(kept["last_version"])), row.version)
    return list(found.values())


def downgrade() -> None:
    op.drop_table("served_names")
