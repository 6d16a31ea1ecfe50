"""`inspect_dataset` in a process of its own, of a raw dataset."""

import json
import threading

from sqlalchemy import select

from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import JobArtifact
from services.worker.supervisor import Supervisor
from tests.worker.work import class_folders, logs, png, raw_dataset, row, submitted


def test_an_inspection_leaves_a_report_and_pictures(world: Settings) -> None:
    worker = Supervisor(world, threading.Event())
    files = class_folders(24) | {"bright/copy.png": png(1), "dark/broken.png": png(2)[:60]}
    raw = raw_dataset(worker.settings, worker.database, files, "ds_inspected00")
    job_id = submitted(worker.database, "inspect_dataset", {"dataset": raw})
    worker.run_next()
    job = row(worker.database, job_id)
    assert job.state == "succeeded", f"{job.error}\n" + "\n".join(logs(worker.database, job_id))
    assert job.result is not None
    assert job.result["metrics"] == {
        "samples": 25, "bad_files": 1, "warnings": 2, "warning/duplicates_within_split": 1, "warning/unreadable": 1,
    }  # fmt: skip
    with worker.database.reading() as session:
        kept = {a.name: a.key for a in session.scalars(select(JobArtifact).where(JobArtifact.job_id == job_id))}
    assert kept.keys() == {"report.json", "report.html", "montage_unsplit.png", "intensities.png", "classes.png"}
    report = json.loads(ObjectStore(world).get_bytes(kept["report.json"]))
    assert report["modality"] == "xray", "what the dataset was uploaded as"
    assert b"dark/broken.png" in ObjectStore(world).get_bytes(kept["report.html"])
    worker.database.engine.dispose()
