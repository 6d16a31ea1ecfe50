"""aliases of models, their promotions, and lineage that outlives jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "aliases",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("promoted_by", sa.String(length=128), nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_aliases_model_id_models")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_aliases_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_aliases")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_aliases_project_id")),
    )
    op.create_index("ix_aliases_project", "aliases", ["project_id", "created_at", "id"])
    for column in ("name", "model_id"):
        op.create_index(op.f(f"ix_aliases_{column}"), "aliases", [column])
    op.create_table(
        "promotions",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("alias", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("from_id", sa.String(length=64), nullable=True),
        sa.Column("to_id", sa.String(length=64), nullable=True),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_promotions_project_id_projects")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_promotions")),
    )
    op.create_index("ix_promotions_alias", "promotions", ["project_id", "alias", "seq"])
    for statement in _TRIGGERS[op.get_bind().dialect.name]:
        op.execute(statement)
    _lineage()


def _lineage() -> None:
    """What was made before, with the inputs of the job that made it."""
    lineage = op.create_table(
        "lineage",
        sa.Column("child_id", sa.String(length=64), nullable=False),
        sa.Column("input_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("child_id", "input_id", name=op.f("pk_lineage")),
    )
    op.create_index(op.f("ix_lineage_input_id"), "lineage", ["input_id"])
    inputs = sa.table("job_inputs", sa.column("job_id"), sa.column("input_id"))
    for name in ("datasets", "models"):
        made = sa.table(name, sa.column("id"), sa.column("job_id"))
        known = sa.select(made.c.id, inputs.c.input_id).join_from(made, inputs, made.c.job_id == inputs.c.job_id)
        op.execute(lineage.insert().from_select(["child_id", "input_id"], known))


# rows are only ever added
_TRIGGERS = {
    "sqlite": [
        f"CREATE TRIGGER promotions_no_{what} BEFORE {what} ON promotions "
        "BEGIN SELECT RAISE(ABORT, 'promotions are append-only'); END"
        for what in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE FUNCTION promotions_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'promotions are append-only'; END $$",
        "CREATE TRIGGER promotions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON promotions "
        "FOR EACH STATEMENT EXECUTE FUNCTION promotions_refuse()",
    ],
}


def downgrade() -> None:
    op.drop_table("lineage")
    # the triggers go with their table
    op.drop_table("promotions")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION promotions_refuse()")
    op.drop_table("aliases")
