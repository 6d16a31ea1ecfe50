"""job inputs and leftovers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# the fields of a spec that name a dataset or a model, as they were when this was written
REFERENCES = {
    "dataset": "dataset", "rehearsal": "dataset", "model": "model", "init_model": "model",
}  # fmt: skip
REPORTED = ("job_events", "job_logs", "job_metrics")


def upgrade() -> None:
    inputs = op.create_table(
        "job_inputs",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("input_id", sa.String(length=64), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_inputs_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", "input_id", name=op.f("pk_job_inputs")),
    )
    op.create_index(op.f("ix_job_inputs_input_id"), "job_inputs", ["input_id"], unique=False)
    op.create_table(
        "leftovers",
        sa.Column("prefix", sa.String(length=256), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=True),
        sa.Column("remove_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("watch_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_leftovers")),
    )
    op.create_index(op.f("ix_leftovers_job_id"), "leftovers", ["job_id"], unique=False)
    op.create_index(op.f("ix_leftovers_remove_at"), "leftovers", ["remove_at"], unique=False)
    # rows are read in order, from where the reader has come to
    for table in REPORTED:
        op.drop_index(f"ix_{table}_job_id", table_name=table)
        op.create_index(f"ix_{table}_job_id_seq", table, ["job_id", "seq"], unique=False)
    rows = _inputs_of_known_jobs(op.get_bind())
    if rows:
        op.bulk_insert(inputs, rows)


def _inputs_of_known_jobs(connection: sa.Connection) -> list[dict[str, str]]:
    jobs = sa.table("jobs", sa.column("id", sa.String), sa.column("spec", sa.JSON))
    found: dict[tuple[str, str], dict[str, str]] = {}
    for job_id, spec in connection.execute(sa.select(jobs.c.id, jobs.c.spec)):
        for field, resource in REFERENCES.items():
            value = spec.get(field) or []
            for input_id in [value] if isinstance(value, str) else value:
                found[job_id, input_id] = {"job_id": job_id, "input_id": input_id, "resource": resource}
    return list(found.values())


def downgrade() -> None:
    for table in REPORTED:
        op.drop_index(f"ix_{table}_job_id_seq", table_name=table)
        op.create_index(f"ix_{table}_job_id", table, ["job_id"], unique=False)
    op.drop_table("leftovers")
    op.drop_table("job_inputs")
