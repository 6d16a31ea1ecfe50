"""Of files that were uploaded with their headers, jobs let nothing out but pixels: neither recipes nor inspections."""

import threading

import numpy as np
from sqlalchemy import select

from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import Dataset
from services.core.tables.base import Base
from services.worker.supervisor import Supervisor
from tests.medcoss.preprocess.dicom_files import TEXT, UID, identified_file
from tests.worker.work import raw_dataset, row, submitted

PATIENT = "MRN-48151"


def test_no_header_value_is_in_objects_rows_or_logs(world: Settings) -> None:
    worker = Supervisor(world, threading.Event())
    rng = np.random.default_rng(0)
    files = {
        f"{n}.dcm": identified_file(rng.integers(0, 255, (64, 64), dtype=np.uint8), PatientID=f"{PATIENT}{n}",
                                    SOPInstanceUID=f"{UID}{n}")
        for n in range(4)
    }  # fmt: skip
    files["broken.dcm"] = files["0.dcm"][:3000]
    files["burned.dcm"] = identified_file(PatientID=PATIENT, BurnedInAnnotation="YES", SOPInstanceUID=f"{UID}9")
    for place in range(4):
        files[f"ct/{place}"] = identified_file(
            rng.integers(0, 255, (64, 64), dtype=np.uint8), PatientID=PATIENT, SOPInstanceUID=f"{UID}1{place}",
            Modality="CT", ImagePositionPatient=[0, 0, place], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1, 1], RescaleSlope=1, RescaleIntercept=0,
        )  # fmt: skip
    raw = raw_dataset(world, worker.database, files)
    inspection = submitted(worker.database, "inspect_dataset", {"dataset": raw})
    worker.run_next()
    seen = row(worker.database, inspection)
    assert seen.result is not None and seen.result["metrics"]["samples"] == 6, seen.error
    recipe = {"name": "dicom_export", "modality": "xray"}
    job = submitted(worker.database, spec={"dataset": raw, "recipe": recipe, "max_bad_fraction": 0.6})
    worker.run_next()
    made = row(worker.database, job)
    assert made.state == "succeeded", made.error
    store = ObjectStore(world)
    with worker.database.reading() as session:
        rows = [
            repr([tuple(found) for found in session.execute(select(table))]) for table in Base.metadata.sorted_tables
        ]
        prepared = session.scalars(select(Dataset).where(Dataset.job_id == job)).one()
        assert len(prepared.files) >= 3
    keys = [key for key in store.list_keys("") if not key.startswith(f"datasets/{raw}/raw/")]
    assert sum(key.endswith("report.json") for key in keys) == 2 and any(
        key.endswith("samples.parquet") for key in keys
    )
    kept = b"\n".join(
        [*(store.get_bytes(key) for key in keys), *(key.encode() for key in keys), *map(str.encode, rows)]
    )
    for marker in (TEXT, UID, PATIENT):
        assert marker.encode() not in kept, marker
    worker.database.engine.dispose()
