"""What the API takes and gives."""

import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from medcoss.modalities import Kind, get_modality
from medcoss.specs.base import Name
from medcoss.specs.records import BadFile

T = TypeVar("T")

# object keys have at most 1024 bytes, file names on the workers' disks 255
MAX_PATH_BYTES = 900
MAX_NAME_BYTES = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _known_modality(value: str) -> str:
    get_modality(value)
    return value


def _printable(value: str) -> str:
    if _CONTROL.search(value.replace("\n", "").replace("\t", "")):
        raise ValueError("expected text without control characters")
    return value


ModalityName = Annotated[str, Field(max_length=32), AfterValidator(_known_modality)]
Text = Annotated[str, AfterValidator(_printable)]
JobId = Annotated[str, Field(pattern=r"^job_[0-9a-z]{8,40}$")]


class Body(BaseModel):
    """A request: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class UploadFile(Body):
    """One file that is going to be uploaded."""

    path: str = Field(min_length=1, max_length=900, description="path inside the dataset, with forward slashes")
    size: int = Field(ge=0, description="size of the file", json_schema_extra={"unit": "byte"})
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the content, hexadecimal")

    @field_validator("path")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        path = PurePosixPath(value)
        unsafe = path.is_absolute() or not path.parts or ".." in path.parts or "\\" in value or "//" in value
        if unsafe or value != path.as_posix() or _CONTROL.search(value):
            raise ValueError("expected a relative path with forward slashes, without '..' or control characters")
        if len(value.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_NAME_BYTES for part in path.parts):
            raise ValueError(f"expected at most {MAX_PATH_BYTES} bytes, {MAX_NAME_BYTES} between two slashes (UTF-8)")
        return value


ProjectRef = Annotated[
    str | None,
    Field(max_length=64, description="name or id; left out: the key's only project, or else `default`"),
]


class DatasetRequest(Body):
    """Announces a dataset and its files; the answer says where to PUT each."""

    name: Name = Field(description="name of the dataset")
    project: ProjectRef = None
    modality: ModalityName | None = Field(None, description="what the files show: report, xray, ct, mr or pathology")
    description: Text = Field("", max_length=4000, description="for people")
    files: list[UploadFile] = Field(max_length=200_000, description="every file that is going to be uploaded")

    @field_validator("files")
    @classmethod
    def _are_distinct(cls, value: list[UploadFile]) -> list[UploadFile]:
        if not value:
            raise ValueError("the dataset is empty; expected at least one file")
        seen: set[str] = set()
        for file in value:
            if file.path in seen:
                raise ValueError(f"{file.path} is listed twice; expected every path once")
            seen.add(file.path)
        for path in seen:
            inside = next((str(p) for p in PurePosixPath(path).parents if str(p) in seen), None)
            if inside is not None:
                raise ValueError(f"{inside} is listed as a file and as the folder of {path}; expected one of them")
        return value


class DatasetOut(BaseModel):
    """A dataset: raw (uploaded), prepared (shards) or buffer (rehearsal)."""

    id: str
    project_id: str
    name: str
    description: str
    role: str
    state: str
    modality: str | None
    kind: Kind | None
    samples: int | None
    splits: dict[str, int] | None
    classes: list[str] | None
    has_masks: bool
    sample_shape: list[int] | None
    recipe: dict[str, Any] | None
    bad_files: list[BadFile]
    file_count: int
    total_bytes: int
    parents: list[str]
    job_id: str | None
    created_at: datetime


class Upload(BaseModel):
    """Where to PUT one file."""

    path: str
    method: str = "PUT"
    url: str
    headers: dict[str, str] = {}


class DatasetCreated(BaseModel):
    """A dataset that waits for its files until `expires_at`; then POST to its `complete`."""

    dataset: DatasetOut
    uploads: list[Upload]
    expires_at: datetime


class FileOut(BaseModel):
    """A stored file and a URL to fetch it from."""

    path: str
    size: int
    sha256: str
    url: str


FailureReason = Literal["lost_worker", "killed", "out_of_memory", "storage", "serving", "code"]


class Resources(Body):
    """What a worker must have to run the job; what is left out does not matter."""

    gpus: int | None = Field(
        None, ge=0, le=64, description="0: a worker without GPUs will do; None: takes what is there"
    )
    memory_bytes: int | None = Field(
        None, ge=1, le=2**50, description="main memory of the worker", json_schema_extra={"unit": "byte"}
    )


class Retry(Body):
    """When a failed attempt is tried again. Wrong input never is; a lost worker costs no waiting."""

    backoff_s: float = Field(
        10, ge=0, le=3600, description="pause after the first failure, doubled after each, an hour at most",
        json_schema_extra={"unit": "s"},
    )  # fmt: skip
    on: list[FailureReason] | None = Field(None, max_length=6, description="only these reasons; None: all of them")


class JobRequest(Body):
    """Asks for a job."""

    kind: str = Field(description="one of /v1/job-kinds")
    project: ProjectRef = None
    spec: dict[str, Any] = Field(description="parameters, see /v1/job-kinds/{kind}/schema")
    name: Text | None = Field(None, min_length=1, max_length=128, description="for people; the kind when left out")
    priority: int = Field(0, ge=-100, le=100, description="higher runs first")
    max_attempts: int | None = Field(None, ge=1, le=20, description="attempts before the job has failed")
    retry: Retry = Field(Retry(), description="what happens after a failed attempt")
    resources: Resources = Field(Resources(), description="what the worker must have")
    time_limit_s: float | None = Field(
        None, gt=0, le=31_536_000, description="time that all attempts may run together; the job is then set aside",
        json_schema_extra={"unit": "s"},
    )  # fmt: skip
    depends_on: list[JobId] = Field(default=[], max_length=100, description="jobs that must have succeeded first")


class Progress(BaseModel):
    """How far the present attempt is; `eta_s` in seconds."""

    done: int
    total: int
    fraction: float
    message: str | None
    eta_s: float | None


class JobOut(BaseModel):
    """A job."""

    id: str
    project_id: str
    kind: str
    name: str
    state: str
    spec: dict[str, Any]
    priority: int
    attempt: int
    max_attempts: int
    retry: Retry
    resources: Resources
    time_limit_s: float | None
    ran_s: float
    not_before: datetime | None
    worker: str | None
    depends_on: list[str]
    progress: Progress | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    reason: str | None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None


class EventOut(BaseModel):
    """A change of a job's state."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    attempt: int
    type: str
    data: dict[str, Any]
    at: datetime


class MetricOut(BaseModel):
    """Named numbers of one step."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    attempt: int
    step: int
    values: dict[str, float]
    at: datetime


class LogOut(BaseModel):
    """A log line."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    attempt: int
    level: str
    message: str
    at: datetime


class ArtifactOut(BaseModel):
    """A file that a job kept, and a URL to fetch it from."""

    name: str
    content_type: str
    size: int
    url: str


class ModelOut(BaseModel):
    """A trained model."""

    id: str
    project_id: str
    name: str
    task: str
    size: str
    modalities: list[str]
    stage: int
    modality: str
    kind: Kind
    classes: list[str] | None
    sample_shape: list[int]
    recipe: dict[str, Any]
    config: dict[str, Any]
    metrics: dict[str, float]
    parents: list[str]
    dataset_id: str | None
    job_id: str | None
    total_bytes: int
    created_at: datetime


class DeploymentOut(BaseModel):
    """A served version of a model."""

    id: str
    project_id: str
    name: str
    version: int
    state: str
    task: str
    modality: str
    kind: Kind
    classes: list[str] | None
    model_id: str
    max_difference: float
    job_id: str | None
    created_at: datetime


class JobKindOut(BaseModel):
    """A kind of job."""

    name: str
    description: str
    produces: str


class Platform(BaseModel):
    """What a client has to know of this platform. Limits in bytes."""

    version: str
    gateway_url: str
    limits: dict[str, int]


class Page(BaseModel, Generic[T]):
    """A page of a list; `next` is the cursor of the following page."""

    items: list[T]
    next: str | None = None


class Rows(BaseModel, Generic[T]):
    """Ordered rows; give `next` as `after` to go on."""

    items: list[T]
    next: int
