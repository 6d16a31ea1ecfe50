"""Short words for jobs, their data and their processes."""

import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
from PIL import Image
from sqlalchemy import select

from medcoss.specs import JOB_KINDS
from services.core import jobs
from services.core.db import Database
from services.core.jobs import NewJob
from services.core.scope import EVERYTHING
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT, Dataset, DatasetFile, Job, JobEvent, JobLog, JobMetric
from services.worker.supervisor import Supervisor

T = TypeVar("T")
FOLDER = {"name": "image_folder", "size": [32, 32], "labels": "folders"}


def png(seed: int, size: int = 40) -> bytes:
    """A picture whose brightness tells its seed's parity."""
    pixels = np.random.default_rng(seed).integers(0, 100, (size, size), dtype=np.uint8) + 100 * (seed % 2)
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "png")
    return out.getvalue()


def class_folders(count: int) -> dict[str, bytes]:
    """Pictures in two class folders."""
    return {f"{'bright' if n % 2 else 'dark'}/{n:03d}.png": png(n) for n in range(count)}


def raw_dataset(settings: Settings, database: Database, files: dict[str, bytes], dataset_id: str = "ds_raw0000000",
                recorded: dict[str, bytes] | None = None) -> str:  # fmt: skip
    """An uploaded dataset; `recorded` is what was announced where that is not what is stored."""
    store = ObjectStore(settings)
    for path, content in files.items():
        store.put_bytes(f"datasets/{dataset_id}/raw/{path}", content)
    announced = files | (recorded or {})
    rows = [
        DatasetFile(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in announced.items()
    ]
    with database.session() as session:
        session.add(
            Dataset(
                id=dataset_id, name="raw", role="raw", state="ready", modality="xray", parents=[], files=rows,
                prefix=f"datasets/{dataset_id}/raw", file_count=len(rows), project_id=DEFAULT_PROJECT,
            )
        )  # fmt: skip
    return dataset_id


def submitted(database: Database, kind: str = "preprocess", spec: dict[str, Any] | None = None, *,
              max_attempts: int = 3, priority: int = 0, gpus: int | None = None,
              nodes: int | None = None) -> str:  # fmt: skip
    """A queued job."""
    given = spec or {"dataset": "ds_raw0000000", "recipe": FOLDER}
    resolved = JOB_KINDS[kind].spec.model_validate(given).model_dump(mode="json")
    asked = NewJob(kind=kind, spec=resolved, name=kind, max_attempts=max_attempts, priority=priority,
                   gpus=gpus, nodes=nodes)  # fmt: skip
    with database.session() as session:
        return jobs.submit(session, asked, created_by="test").id


def scripted(database: Database, **options: Any) -> str:
    """A job for a child that is a script: its dataset is a row alone."""
    with database.session() as session:
        if session.get(Dataset, "ds_raw0000000") is None:
            session.add(
                Dataset(
                    id="ds_raw0000000",
                    name="raw",
                    role="raw",
                    state="ready",
                    parents=[],
                    prefix="datasets/x/raw",
                    project_id=DEFAULT_PROJECT,
                )
            )
    return submitted(database, **options)


def row(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return jobs.get(session, EVERYTHING, job_id)


def events(database: Database, job_id: str) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(JobEvent.type).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)))


def logs(database: Database, job_id: str) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(JobLog.message).where(JobLog.job_id == job_id).order_by(JobLog.seq)))


def metrics(database: Database, job_id: str) -> list[tuple[int, int]]:
    """Attempt and step of every metric row."""
    with database.reading() as session:
        rows = session.scalars(select(JobMetric).where(JobMetric.job_id == job_id).order_by(JobMetric.seq))
        return [(m.attempt, m.step) for m in rows]


def until(look: Callable[[], T], seconds: float = 60, what: str = "", every_s: float = 0.02) -> T:
    """The first answer that is true, looked for at this interval; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what or look}"
        time.sleep(every_s)
    return found


@contextmanager
def working(supervisor: Supervisor) -> Iterator[threading.Thread]:
    """The worker runs one attempt meanwhile; it is over when the context is."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            supervisor.run_next()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(90)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def child_of(job_id: str) -> psutil.Process | None:
    """The process that runs an attempt of the job, among the children of this one."""
    return next(iter(children_of(job_id).values()), None)


def children_of(job_id: str) -> dict[int, psutil.Process]:
    """The processes that run an attempt of the job together, by rank."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        # what loads data has inherited the lock, too, and is in the session of the attempt's process
        with suppress(psutil.Error, ProcessLookupError):
            folder = folder_of(process)
            if folder is not None and job_id in folder.name and os.getsid(process.pid) == process.pid:
                found[int(process.environ().get("RANK", "0"))] = process
    return found


def folder_of(process: psutil.Process) -> Path | None:
    """The folder of the attempt that a process runs, by the lock that it holds."""
    locks = (Path(file.path) for file in process.open_files())
    return next((lock.with_suffix("") for lock in locks if lock.suffix == ".lock" and lock.parent.name == "work"), None)
