"""evaluations and their files."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

FILTERS = ("dataset_id", "model_id", "encoder_id", "task", "split", "job_id")


def upgrade() -> None:
    name = sa.String(length=128)
    row_id = sa.String(length=64)
    path = sa.String(length=1024).with_variant(sa.String(length=1024, collation="C"), "postgresql")
    op.create_table(
        "evaluations",
        sa.Column("id", row_id, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("model_id", row_id, nullable=False),
        sa.Column("model_name", name, nullable=False),
        sa.Column("encoder_id", row_id, nullable=True),
        sa.Column("dataset_id", row_id, nullable=False),
        sa.Column("dataset_name", name, nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("headline", name, nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("fold", sa.Integer(), nullable=True),
        sa.Column("info", sa.JSON(), nullable=False),
        sa.Column("job_id", row_id, nullable=True),
        sa.Column("project_id", row_id, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_evaluations_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
    )
    op.create_index("ix_evaluations_created", "evaluations", ["created_at", "id"])
    op.create_index("ix_evaluations_project", "evaluations", ["project_id", "created_at", "id"])
    for way in [(column, "created_at") for column in FILTERS] + [("score",)]:
        op.create_index(f"ix_evaluations_by_{way[0]}", "evaluations", [*way, "id"])
        op.create_index(f"ix_evaluations_project_by_{way[0]}", "evaluations", ["project_id", *way, "id"])
    op.create_table(
        "evaluation_files",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("evaluation_id", row_id, nullable=False),
        sa.Column("path", path, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluations.id"], name=op.f("fk_evaluation_files_evaluation_id_evaluations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_evaluation_files")),
        sa.UniqueConstraint("evaluation_id", "path", name=op.f("uq_evaluation_files_evaluation_id")),
    )  # fmt: skip
    op.create_index("ix_evaluation_files_evaluation", "evaluation_files", ["evaluation_id", "seq"])
    op.create_index("ix_evaluation_files_by_size", "evaluation_files", ["evaluation_id", "size", "seq"])


def downgrade() -> None:
    op.drop_table("evaluation_files")
    op.drop_table("evaluations")
