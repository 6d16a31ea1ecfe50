"""A platform with a row in every table and objects of every sort."""

from pathlib import Path

from sqlalchemy import func, insert, select, update

from services.core import attempts
from services.core.db import Database
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT, Base, Deployment, Job, ServedName, Webhook
from services.core.tables.base import now
from services.worker.checkpoints import S3Checkpoints
from tests.core.owned import dataset, evaluation, failed_job, index, model, started
from tests.core.rows import value
from tests.core.steps import running, submitted

UMLAUT = "größer als µ \U0001f600 'quoted' \\ \"\n\t"


def fill(database: Database, store: ObjectStore, folder: Path) -> dict[str, str]:
    """A row in every table, with what is awkward to write down; objects of every sort. Ids by name."""
    dataset(database, store, "ds_1", "a b.png", "ü/c.png")
    dataset(database, store, "ds_coming", "late.png", state="uploading")
    model(database, store, "mdl_1")
    evaluation(database, store, "evl_1", "roc.png")
    index(database, store, "idx_1", "ixv_1/vectors.faiss")
    store.put_bytes("triton/chest.2/1/model.onnx", b"onnx")
    goes_on, claim = submitted(database), running(database, max_attempts=3)
    S3Checkpoints(store, claim.job_id, claim.fence).save(7, saved(folder / "checkpoint"))
    store.put_bytes(f"jobs/{claim.job_id}/artifacts/000001/curve.png", b"png")
    drawn = attempts.Artifact("curve.png", f"jobs/{claim.job_id}/artifacts/000001/curve.png", "image/png", 3)
    with database.session() as session:
        attempts.record_rows(session, claim.job_id, claim.fence, metrics=[(1, {"loss": 0.1 + 0.2})],
                             logs=[("info", UMLAUT)], artifacts=[drawn])  # fmt: skip
        attempts.record_checkpoint(session, claim.job_id, claim.fence, 7)
        session.add(
            Deployment(
                id="dep_1", name="chest", version=2, state="ready", info={"none": None, "ü": [1.5, True]},
                model_id="mdl_1", project_id=DEFAULT_PROJECT, ready_at=now(),
            )
        )  # fmt: skip
        session.add(ServedName(name="chest", project_id=DEFAULT_PROJECT, last_version=2))
        session.add(Webhook(id="whk_1", url="https://x", topics=["*"], secret="sealed", created_by="ada", active=False,
                            project_id=DEFAULT_PROJECT))  # fmt: skip
        session.execute(update(Job).where(Job.id == goes_on).values(result={}, retry_on=None, notes=UMLAUT))
    failed_job(database)
    started(database)
    fill_the_rest(database)
    return {"queued": goes_on, "running": claim.job_id}


def saved(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def fill_the_rest(database: Database) -> None:
    """A row in each table that has none, so that no table is forgotten."""
    with database.session() as session:
        for table in Base.metadata.sorted_tables:
            if session.scalar(select(func.count()).select_from(table)):
                continue
            row = {column.name: value(column, 1, sqlite=False) for column in table.columns if not column.nullable}
            for column in table.columns:
                for key in column.foreign_keys:
                    row[column.name] = session.scalars(select(key.column)).first()
            session.execute(insert(table), row)
