"""What supervisor and child say to each other: the job as JSON on standard input, reports as JSON lines back."""

import json
import os
import threading
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from medcoss.run import RunEvent
from medcoss.specs.records import DatasetInfo, DeploymentInfo, EvaluationInfo, FileEntry, IndexInfo, ModelInfo

REPORT_FD = "MEDCOSS_REPORT_FD"
STOPPED = 75
PARTED = 76
# what the database can store
Count = Annotated[int, Field(ge=0, lt=2**63)]


class InputRecord(BaseModel):
    """A dataset or model that the spec refers to."""

    name: str
    modality: str | None = None
    prefix: str
    files: list[FileEntry]


class ShareRecord(BaseModel):
    """A child job that has succeeded: what it was asked, what came of it, the size of the model that it has made, and
    the keys of its artifacts by name.
    """

    job_id: str
    size: str
    spec: dict[str, Any]
    result: dict[str, Any]
    artifacts: dict[str, str]


class ChildJob(BaseModel):
    """One attempt of a job.

    `output_id` is the identifier that what it makes will have, reserved together with the place in the object store,
    `evaluation_id` that of the evaluation that it may make besides; `version` is the number that a new deployment
    takes; `work` is its own empty folder. `patient_salt` is the project's key of the hashes that stand for patients.
    `parent_id` is the job that this one works for, if any: the parts that it makes are that one's.
    `shares` are the child jobs of a job that only adds up what they have reached. `golden` is the dataset among the
    inputs that an export takes golden inputs from, if any. `before` are jobs whose checkpoints it goes on from while it
    has none, the newest first.
    """

    job_id: str
    kind: str
    name: str
    spec: dict[str, Any]
    attempt: int
    fence: int
    inputs: dict[str, InputRecord]
    output_id: str = ""
    version: int = 0
    evaluation_id: str = ""
    before: list[str] = []
    work: str
    patient_salt: str = ""
    parent_id: str = ""
    shares: list[ShareRecord] = []
    golden: str = ""


class ProgressReport(BaseModel):
    """How far the work is."""

    type: Literal["progress"] = "progress"
    done: Count
    total: Count
    message: str


class MetricsReport(BaseModel):
    """Named numbers of a step; numbers that are not finite are left out."""

    type: Literal["metrics"] = "metrics"
    step: Count
    values: dict[str, Annotated[float, Field(allow_inf_nan=False)]]


class LogReport(BaseModel):
    """A line for people."""

    type: Literal["log"] = "log"
    level: str
    message: str


class EventReport(BaseModel):
    """What has become of a modality, with the numbers that tell it."""

    type: Literal["event"] = "event"
    event: RunEvent
    modality: Annotated[str, Field(max_length=64)]
    values: dict[str, Annotated[float, Field(allow_inf_nan=False)]]


class CheckpointReport(BaseModel):
    """A whole checkpoint was stored."""

    type: Literal["checkpoint"] = "checkpoint"
    step: Count


class ArtifactReport(BaseModel):
    """A file that was stored under `key`."""

    type: Literal["artifact"] = "artifact"
    name: Annotated[str, Field(max_length=256)]
    key: Annotated[str, Field(max_length=512)]
    content_type: Annotated[str, Field(max_length=128)]
    size: Count


class StoreReport(BaseModel):
    """A call of the object store, for the worker's numbers."""

    type: Literal["store"] = "store"
    operation: Literal["get", "put", "stat", "list", "remove", "multipart", "other"]
    seconds: Annotated[float, Field(ge=0)]
    failed: bool


class _Output(BaseModel):
    """Something made: stored already, registered when the attempt succeeds."""

    id: str
    name: str
    prefix: str
    files: list[FileEntry] = []
    parents: list[str] = []


class DatasetOutput(_Output):
    """A prepared dataset or a rehearsal buffer."""

    resource: Literal["dataset"] = "dataset"
    info: DatasetInfo


class ModelOutput(_Output):
    """A trained model, and the dataset that it was trained on."""

    resource: Literal["model"] = "model"
    info: ModelInfo
    dataset_id: str


class DeploymentOutput(_Output):
    """A version that Triton serves, the model that it was made from, and whether it is to answer for its name."""

    resource: Literal["deployment"] = "deployment"
    info: DeploymentInfo
    model_id: str
    activate: bool = True


class EvaluationOutput(_Output):
    """The scores of a model on a split of a dataset; the model may be another output of the same attempt.

    `seed` and `fold` are those of the model's training, None to take them from the job that made it.
    """

    resource: Literal["evaluation"] = "evaluation"
    info: EvaluationInfo
    model_id: str
    dataset_id: str
    split: str
    seed: int | None = None
    fold: int | None = None


class IndexOutput(_Output):
    """A version of the index `index_id`, and the model that it was embedded with."""

    resource: Literal["index"] = "index"
    info: IndexInfo
    index_id: str
    model_id: str


Output = Annotated[
    DatasetOutput | ModelOutput | DeploymentOutput | EvaluationOutput | IndexOutput, Field(discriminator="resource")
]


class ResultReport(BaseModel):
    """The attempt has succeeded. `runs` is a RunsInfo, of whose models `best_model` is the best."""

    type: Literal["result"] = "result"
    outputs: list[Output] = []
    metrics: dict[str, float] = {}
    evaluation: dict[str, Any] | None = None
    runs: dict[str, Any] | None = None
    best_model: str | None = None


class ErrorReport(BaseModel):
    """The attempt has failed. `data` is the user's to mend and not tried again."""

    type: Literal["error"] = "error"
    reason: Literal["data", "code", "killed", "out_of_memory", "storage", "serving"]
    detail: str
    where: str = ""


Report = Annotated[
    ProgressReport
    | MetricsReport
    | LogReport
    | EventReport
    | CheckpointReport
    | ArtifactReport
    | StoreReport
    | ResultReport
    | ErrorReport,
    Field(discriminator="type"),
]
REPORTS: TypeAdapter[Report] = TypeAdapter(Report)


class ReportWriter:
    """Writes reports to the supervisor's pipe, one line each, from any thread."""

    def __init__(self, fd: int) -> None:
        self._pipe = os.fdopen(fd, "w", encoding="utf-8")
        self._lock = threading.Lock()
        self.abandoned = threading.Event()

    def send(self, report: BaseModel) -> None:
        """Write one report. Without a supervisor it is dropped, and `abandoned` is set: the work has to stop."""
        line = json.dumps(report.model_dump(mode="json"), allow_nan=False)
        with self._lock:
            try:
                self._pipe.write(line + "\n")
                self._pipe.flush()
            except BrokenPipeError:
                self.abandoned.set()
