"""pipelines and their steps."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    row_id = sa.String(length=64)
    name = sa.String(length=128)
    key = name.with_variant(sa.String(length=128, collation="C"), "postgresql")
    op.create_table(
        "pipelines",
        sa.Column("id", row_id, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("told", sa.String(length=16), nullable=True),
        sa.Column("rerun_of", row_id, nullable=True),
        sa.Column("curriculum", sa.JSON(), nullable=True),
        sa.Column("created_by", name, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("project_id", row_id, nullable=False),
        sa.Column("name_key", key, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_pipelines_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipelines")),
    )
    op.create_index("ix_pipelines_created", "pipelines", ["created_at", "id"])
    op.create_index("ix_pipelines_project", "pipelines", ["project_id", "created_at", "id"])
    op.create_index("ix_pipelines_told", "pipelines", ["told"])
    for way in (("created_by", "created_at"), ("rerun_of", "created_at"), ("name_key",)):
        op.create_index(f"ix_pipelines_by_{way[0]}", "pipelines", [*way, "id"])
        op.create_index(f"ix_pipelines_project_by_{way[0]}", "pipelines", ["project_id", *way, "id"])
    op.create_table(
        "pipeline_steps",
        sa.Column("pipeline_id", row_id, nullable=False),
        sa.Column("name", row_id, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("asked", sa.JSON(), nullable=False),
        sa.Column("job_id", row_id, nullable=False),
        sa.Column("reused", sa.Boolean(), nullable=False),
        sa.Column("key", row_id, nullable=True),
        sa.Column("expected_s", sa.Float(), nullable=True),
        sa.Column("earlier", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_pipeline_steps_pipeline_id_pipelines"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("pipeline_id", "name", name=op.f("pk_pipeline_steps")),
    )
    op.create_index("ix_pipeline_steps_job_id", "pipeline_steps", ["job_id"])
    op.create_index("ix_pipeline_steps_key", "pipeline_steps", ["key"])


def downgrade() -> None:
    op.drop_table("pipeline_steps")
    op.drop_table("pipelines")
