"""indexes of embeddings and their files."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    row_id = sa.String(length=64)
    moment = sa.DateTime(timezone=True)
    path = sa.String(length=1024).with_variant(sa.String(length=1024, collation="C"), "postgresql")
    op.create_table(
        "indexes",
        sa.Column("id", row_id, nullable=False),
        sa.Column("name", row_id, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("encoder", row_id, nullable=False),
        sa.Column("datasets", sa.JSON(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("model_id", row_id, nullable=True),
        sa.Column("info", sa.JSON(), nullable=True),
        sa.Column("built_at", moment, nullable=True),
        sa.Column("wanted_id", row_id, nullable=False),
        sa.Column("job_id", row_id, nullable=True),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("project_id", row_id, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_indexes_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_indexes")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_indexes_project_id")),
    )
    op.create_index("ix_indexes_created", "indexes", ["created_at", "id"])
    op.create_index("ix_indexes_project", "indexes", ["project_id", "created_at", "id"])
    for way in [("encoder", "created_at"), ("model_id", "created_at"), ("name",)]:
        op.create_index(f"ix_indexes_by_{way[0]}", "indexes", [*way, "id"])
        op.create_index(f"ix_indexes_project_by_{way[0]}", "indexes", ["project_id", *way, "id"])
    op.create_table(
        "index_files",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("index_id", row_id, nullable=False),
        sa.Column("path", path, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["index_id"], ["indexes.id"], name=op.f("fk_index_files_index_id_indexes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_index_files")),
        sa.UniqueConstraint("index_id", "path", name=op.f("uq_index_files_index_id")),
    )
    op.create_index("ix_index_files_index", "index_files", ["index_id", "seq"])
    op.create_index("ix_index_files_by_size", "index_files", ["index_id", "size", "seq"])


def downgrade() -> None:
    op.drop_table("index_files")
    op.drop_table("indexes")
