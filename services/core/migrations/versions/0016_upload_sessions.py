"""files that arrive in parts."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

LIVE = sa.text("state IN ('open', 'completing')")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "upload_sessions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("dataset_id", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("part_bytes", sa.BigInteger(), nullable=False),
        sa.Column("s3_id", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("etag", sa.String(length=64), nullable=True),
        sa.Column("claimed_at", moment, nullable=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload_sessions")),
    )
    op.create_index(
        "ix_upload_sessions_live", "upload_sessions", ["dataset_id", "path"], unique=True,
        postgresql_where=LIVE, sqlite_where=LIVE,
    )  # fmt: skip
    op.create_index("ix_upload_sessions_dataset", "upload_sessions", ["dataset_id", "id"])
    op.create_index("ix_upload_sessions_state", "upload_sessions", ["state", "expires_at"])
    op.create_index("ix_upload_sessions_key", "upload_sessions", ["key"])


def downgrade() -> None:
    op.drop_table("upload_sessions")
