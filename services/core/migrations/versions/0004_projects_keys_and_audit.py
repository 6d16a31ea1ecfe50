"""projects, keys that belong to people and end, audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# as they were when this was written
DEFAULT = "prj_default"
OWNED = ("datasets", "jobs", "models", "deployments")


def upgrade() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.execute(
        projects.insert().values(id=DEFAULT, name="default", description="", created_at=sa.func.current_timestamp())
    )
    for name in OWNED:
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("project_id", sa.String(length=64), nullable=False, server_default=DEFAULT))
            table.create_foreign_key(op.f(f"fk_{name}_project_id_projects"), "projects", ["project_id"], ["id"])
            table.create_index(f"ix_{name}_project", ["project_id", "created_at", "id"])
        with op.batch_alter_table(name) as table:
            table.alter_column("project_id", server_default=None)
    _keys()
    _audit()


def _keys() -> None:
    with op.batch_alter_table("api_keys") as table:
        table.add_column(sa.Column("owner", sa.String(length=128), nullable=True))
        table.add_column(sa.Column("previous_digest", sa.String(length=64), nullable=True))
        for name in ("previous_until", "expires_at", "revoked_at", "last_used_at"):
            table.add_column(sa.Column(name, sa.DateTime(timezone=True), nullable=True))
        table.create_index(op.f("ix_api_keys_previous_digest"), ["previous_digest"])
    keys = sa.table("api_keys", *map(sa.column, ("id", "name", "owner", "role")))
    op.execute(keys.update().values(owner=keys.c.name))
    with op.batch_alter_table("api_keys") as table:
        table.alter_column("owner", existing_type=sa.String(length=128), nullable=False)
    opened = op.create_table(
        "key_projects",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_key_projects_key_id_api_keys")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_key_projects_project_id_projects")),
        sa.PrimaryKeyConstraint("key_id", "project_id", name=op.f("pk_key_projects")),
    )
    op.create_index(op.f("ix_key_projects_project_id"), "key_projects", ["project_id"])
    # administrators open all projects
    known = sa.select(keys.c.id, sa.literal(DEFAULT)).where(keys.c.role != "admin")
    op.execute(opened.insert().from_select(["key_id", "project_id"], known))


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=True),
        sa.Column("key_id", sa.String(length=64), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("route", sa.String(length=128), nullable=False),
        sa.Column("path", sa.String(length=256), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_actor_seq", "audit", ["actor", "seq"])
    for name in ("at", "key_id", "request_id"):
        op.create_index(op.f(f"ix_audit_{name}"), "audit", [name])
    for statement in _TRIGGERS[op.get_bind().dialect.name]:
        op.execute(statement)


# rows are only ever added
_TRIGGERS = {
    "sqlite": [
        f"CREATE TRIGGER audit_no_{what} BEFORE {what} ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END"
        for what in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $$",
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
    ],
}


def downgrade() -> None:
    # the triggers go with their table
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_refuse()")
    op.drop_table("key_projects")
    # those that have ended must not come back to life
    ended = sa.table("api_keys", *map(sa.column, ("revoked_at", "expires_at")))
    moment = sa.func.current_timestamp()
    op.execute(ended.delete().where(sa.or_(ended.c.revoked_at.is_not(None), ended.c.expires_at <= moment)))
    with op.batch_alter_table("api_keys") as table:
        table.drop_index(op.f("ix_api_keys_previous_digest"))
        for name in ("last_used_at", "revoked_at", "expires_at", "previous_until", "previous_digest", "owner"):
            table.drop_column(name)
    for name in reversed(OWNED):
        with op.batch_alter_table(name) as table:
            table.drop_index(f"ix_{name}_project")
            table.drop_constraint(op.f(f"fk_{name}_project_id_projects"), type_="foreignkey")
            table.drop_column("project_id")
    op.drop_table("projects")
