"""What supervisor and child say to each other: the job as JSON on standard input, reports as JSON lines back."""

import json
import os
import threading
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from medcoss.specs.records import FileEntry

REPORT_FD = "MEDCOSS_REPORT_FD"
STOPPED = 75


class InputRecord(BaseModel):
    """A dataset or model that the spec refers to."""

    name: str
    prefix: str
    files: list[FileEntry]


class ChildJob(BaseModel):
    """One attempt of a job. `version` is the number that a new deployment takes."""

    job_id: str
    kind: str
    name: str
    spec: dict[str, Any]
    attempt: int
    fence: int
    inputs: dict[str, InputRecord]
    version: int = 0


class ProgressReport(BaseModel):
    """How far the work is."""

    type: Literal["progress"] = "progress"
    done: int
    total: int
    message: str


class MetricsReport(BaseModel):
    """Named numbers of a step; numbers that are not finite are left out."""

    type: Literal["metrics"] = "metrics"
    step: int
    values: dict[str, float]


class LogReport(BaseModel):
    """A line for people."""

    type: Literal["log"] = "log"
    level: str
    message: str


class ArtifactReport(BaseModel):
    """A file that was stored under `key`."""

    type: Literal["artifact"] = "artifact"
    name: str
    key: str
    content_type: str
    size: int


class Output(BaseModel):
    """Something made: stored already, registered when the attempt succeeds."""

    resource: Literal["dataset", "model", "deployment"]
    id: str
    name: str
    prefix: str
    files: list[FileEntry]
    info: dict[str, Any]
    parents: list[str] = []
    dataset_id: str | None = None
    model_id: str | None = None


class ResultReport(BaseModel):
    """The attempt has succeeded."""

    type: Literal["result"] = "result"
    outputs: list[Output] = []
    metrics: dict[str, float] = {}
    evaluation: dict[str, Any] | None = None


class ErrorReport(BaseModel):
    """The attempt has failed. `data` is the user's to mend and not tried again."""

    type: Literal["error"] = "error"
    reason: Literal["data", "code", "out_of_memory", "storage"]
    detail: str
    where: str = ""


Report = Annotated[
    ProgressReport | MetricsReport | LogReport | ArtifactReport | ResultReport | ErrorReport,
    Field(discriminator="type"),
]
REPORTS: TypeAdapter[Report] = TypeAdapter(Report)


class ReportWriter:
    """Writes reports to the supervisor's pipe, one line each, from any thread."""

    def __init__(self, fd: int) -> None:
        self._pipe = os.fdopen(fd, "w", encoding="utf-8")
        self._lock = threading.Lock()

    def send(self, report: BaseModel) -> None:
        """Write one report."""
        line = json.dumps(report.model_dump(mode="json"), allow_nan=False)
        with self._lock:
            self._pipe.write(line + "\n")
            self._pipe.flush()
