"""indexes for the filters and orders of keys, projects, aliases and webhooks."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

MADE = {
    "api_keys": {
        "created": ["created_at", "id"], "by_name": ["name", "id"], "by_last_used_at": ["last_used_at", "id"],
        "by_expires_at": ["expires_at", "id"], "by_owner": ["owner", "created_at", "id"],
        "by_role": ["role", "created_at", "id"],
    },
    "projects": {"created": ["created_at", "id"], "by_name": ["name", "id"]},
    "aliases": {
        "created": ["created_at", "id"], "by_name": ["name", "id"], "project_by_name": ["project_id", "name", "id"],
        "by_promoted_at": ["promoted_at", "id"], "project_by_promoted_at": ["project_id", "promoted_at", "id"],
        "by_model_id": ["model_id", "created_at", "id"],
        "project_by_model_id": ["project_id", "model_id", "created_at", "id"],
    },
    "webhooks": {
        "by_active": ["active", "created_at", "id"], "project_by_active": ["project_id", "active", "created_at", "id"],
    },
}  # fmt: skip
# indexes that the new ones begin with
OLD = ("name", "model_id")


def upgrade() -> None:
    for table, indexes in MADE.items():
        for name, columns in indexes.items():
            op.create_index(f"ix_{table}_{name}", table, columns)
    for column in OLD:
        op.drop_index(f"ix_aliases_{column}", table_name="aliases")


def downgrade() -> None:
    for column in OLD:
        op.create_index(f"ix_aliases_{column}", "aliases", [column])
    for table, indexes in MADE.items():
        for name in indexes:
            op.drop_index(f"ix_{table}_{name}", table_name=table)
