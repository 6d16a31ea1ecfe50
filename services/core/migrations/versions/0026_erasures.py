"""erasures, and what they mark."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(length=64), primary_key=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("patient_key", sa.String(length=32), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("unknown", sa.JSON(), nullable=False),
        sa.Column("left", sa.JSON(), nullable=False),
        sa.Column("pipeline_id", sa.String(length=64), nullable=True),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_erasures_project_id_projects")),
    )
    op.create_index("ix_erasures_created", "erasures", ["created_at", "id"])
    op.create_index("ix_erasures_project", "erasures", ["project_id", "created_at", "id"])
    op.create_table(
        "erasure_marks",
        sa.Column("erasure_id", sa.String(length=64), primary_key=True),
        sa.Column("object_id", sa.String(length=64), primary_key=True),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["erasure_id"], ["erasures.id"], name=op.f("fk_erasure_marks_erasure_id_erasures"), ondelete="CASCADE"
        ),
    )
    op.create_index("ix_erasure_marks_object", "erasure_marks", ["object_id", "erasure_id"])


def downgrade() -> None:
    op.drop_table("erasure_marks")
    op.drop_table("erasures")
