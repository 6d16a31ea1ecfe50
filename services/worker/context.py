"""The run context of a child: reports go to the supervisor, files to the object store."""

import math
import threading
from contextlib import AbstractContextManager
from pathlib import Path

from medcoss.run import RunEvent
from medcoss.specs.records import TABLE
from services.core.cache import Bring, LocalCache
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.worker.checkpoints import S3Checkpoints
from services.worker.parts import S3Parts
from services.worker.phases import Phases
from services.worker.protocol import (
    ArtifactReport,
    CheckpointReport,
    ChildJob,
    EventReport,
    LogReport,
    MetricsReport,
    ProgressReport,
    ReportWriter,
)


class WorkerRun:
    """Implements medcoss.run.RunContext for one attempt, and gives runners the stores."""

    def __init__(self, job: ChildJob, settings: Settings, writer: ReportWriter, stop: threading.Event) -> None:
        self.job, self.settings = job, settings
        self.store = ObjectStore(settings)
        self._writer, self._stop = writer, stop
        self._cache = LocalCache(settings.cache_dir, settings.cache_max_bytes, self.store)
        self.checkpoints = S3Checkpoints(
            self.store, job.job_id, job.fence, lambda step: writer.send(CheckpointReport(step=step)), job.before
        )
        self.parts = S3Parts(
            self.store, job.parent_id or job.job_id, lambda step: writer.send(CheckpointReport(step=step)), job.before
        )
        self.phases = Phases()

    def input(self, record_id: str) -> AbstractContextManager[Path]:
        """The verified local folder of a dataset or model that the spec names."""
        record = self.job.inputs[record_id]
        return self._cache.fetch(record_id, record.prefix, record.files, self.should_stop)

    def outline(self, dataset_id: str) -> AbstractContextManager[tuple[Path, Bring | None]]:
        """A local folder with the names and sizes of a dataset's files, and what brings those that are needed; None
        when this worker has them all.
        """
        record, attempt = self.job.inputs[dataset_id], f"{self.job.job_id}-{self.job.fence}"
        return self._cache.outline(dataset_id, attempt, record.prefix, record.files, self.should_stop)

    def scratch(self, name: str) -> AbstractContextManager[Path | None]:
        """Where this job's folder `name` may be made, which the job finds again when it comes back to this worker."""
        return self._cache.scratch(f"{self.job.job_id}-{name}")

    def table(self, dataset_id: str) -> AbstractContextManager[Path]:
        """A local folder with the verified `samples.parquet` of a dataset that the spec names, and nothing else."""
        record = self.job.inputs[dataset_id]
        files = [file for file in record.files if file.path == TABLE]
        return self._cache.fetch(f"{dataset_id}-table", record.prefix, files, self.should_stop)

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Report how far the work is."""
        self.phases.progress(message)
        self._writer.send(ProgressReport(done=done, total=total, message=message))

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Report numbers; what is not finite has no place in JSON and is logged instead."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self._writer.send(MetricsReport(step=step, values=finite))
        self.phases.metrics(step, finite)
        for name in values.keys() - finite.keys():
            self.log(f"{name} is not finite at step {step}", "warning")

    def log(self, message: str, level: str = "info") -> None:
        """Report a line."""
        self._writer.send(LogReport(level=level, message=message))

    def event(self, name: RunEvent, modality: str, values: dict[str, float]) -> None:
        """Report what has become of a modality; it joins the events of the job."""
        finite = {key: float(value) for key, value in values.items() if math.isfinite(value)}
        self._writer.send(EventReport(event=name, modality=modality, values=finite))

    def artifact(self, path: Path, name: str, content_type: str) -> None:
        """Store a file with the job, where no other attempt can overwrite it."""
        key = f"jobs/{self.job.job_id}/artifacts/{self.job.fence:06d}/{name}"
        self.store.put_file(key, path, content_type)
        size = path.stat().st_size
        self._writer.send(ArtifactReport(name=name, key=key, content_type=content_type, size=size))

    def should_stop(self) -> bool:
        """True once SIGTERM has come or the supervisor is gone."""
        return self._stop.is_set() or self._writer.abandoned.is_set()
