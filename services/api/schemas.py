"""What the API takes and gives."""

import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from medcoss.modalities import BUILTIN, Kind, get_modality
from medcoss.specs.base import Name
from medcoss.specs.records import BadFile
from services.core.labels import MOST_TAGS, tag_of
from services.core.uploads import MOST_FILES

T = TypeVar("T")
BYTES: dict[str, Any] = {"unit": "byte"}
SECONDS: dict[str, Any] = {"unit": "s"}
FRACTION: dict[str, Any] = {"unit": "fraction"}

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


ModalityName = Annotated[
    str, Field(max_length=32, json_schema_extra={"enum": [*BUILTIN]}), AfterValidator(_known_modality)
]
Text = Annotated[str, AfterValidator(_printable)]
Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(tag_of)]
Tags = Annotated[
    list[Tag],
    Field(max_length=MOST_TAGS, description="what it is found by: letters, digits and . _ - : / = +, case is ignored",
          examples=[["nightly", "site:north"]]),
]  # fmt: skip
Notes = Annotated[Text, Field(max_length=4000, description="for people", examples=["first try with more patches"])]
JobId = Annotated[str, Field(pattern=r"^job_[0-9a-z]{8,40}$")]


class Body(BaseModel):
    """A request: unknown fields are errors."""

    # with a bound, text is also looked at for what is no Unicode: lone surrogates cannot be stored, nor answered
    model_config = ConfigDict(extra="forbid", str_max_length=4096)


def _safe_path(value: str) -> str:
    path = PurePosixPath(value)
    unsafe = path.is_absolute() or not path.parts or ".." in path.parts or "\\" in value or "//" in value
    if unsafe or value != path.as_posix() or _CONTROL.search(value):
        raise ValueError("expected a relative path with forward slashes, without '..' or control characters")
    if len(value.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_NAME_BYTES for part in path.parts):
        raise ValueError(f"expected at most {MAX_PATH_BYTES} bytes, {MAX_NAME_BYTES} between two slashes (UTF-8)")
    return value


FilePath = Annotated[
    str,
    Field(min_length=1, max_length=900, description="path inside the dataset, with forward slashes"),
    AfterValidator(_safe_path),
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the content, hexadecimal")]


class UploadFile(Body):
    """One file that is going to be uploaded."""

    path: FilePath
    size: int = Field(ge=0, description="size of the file", json_schema_extra=BYTES)
    sha256: Sha256


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
    tags: Tags = []
    files: list[UploadFile] = Field(
        max_length=MOST_FILES, description="every file that is going to be uploaded", json_schema_extra={"minItems": 1}
    )
    resume: bool = Field(
        False, description="go on with an upload of the same name, modality and files that was not completed, if any"
    )

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

    id: str = Field(description="identifier, ds_...")
    project_id: str = Field(description="project that owns it, prj_...")
    name: str = Field(description="name that its owner chose")
    description: str = Field(description="for people")
    tags: list[str] = Field(description="what it is found by, in the order of the alphabet")
    role: str = Field(description="raw: uploaded; prepared: training shards; buffer: rehearsal samples")
    state: str = Field(description="uploading until it is completed, then ready")
    modality: str | None = Field(description="what the files show; null when nobody has said")
    kind: Kind | None = Field(description="shape of a sample: text, image2d or volume3d; null for a raw dataset")
    samples: int | None = Field(description="number of samples; null for a raw dataset")
    splits: dict[str, int] | None = Field(description="samples in train, val and test; null for a raw dataset")
    classes: list[str] | None = Field(
        description="names of the classes in the order of their numbers; null without labels"
    )
    has_masks: bool = Field(description="true when samples have segmentation masks")
    sample_shape: list[int] | None = Field(description="(C, H, W), (C, D, H, W) or (tokens,); null for a raw dataset")
    recipe: dict[str, Any] | None = Field(
        description="the resolved recipe that made the samples; null for a raw dataset"
    )
    bad_files: list[BadFile] = Field(description="inputs that could not be used, and why")
    file_count: int = Field(description="number of files")
    total_bytes: int = Field(description="size of all files together", json_schema_extra=BYTES)
    parents: list[str] = Field(description="what it was made from")
    job_id: str | None = Field(description="job that made it; null for an upload")
    created_at: datetime = Field(description="when it was recorded")


class Upload(BaseModel):
    """Where to PUT one file."""

    path: str = Field(description="path inside the dataset")
    method: str = Field("PUT", description="HTTP method to use")
    url: str | None = Field(
        description="presigned URL that takes this one file until `expires_at`; null above 5 GiB, which goes in parts"
    )
    headers: dict[str, str] = Field({}, description="headers that the request has to carry")


class DatasetCreated(BaseModel):
    """A dataset that waits for its files until `expires_at`; then POST to its `complete`."""

    dataset: DatasetOut = Field(description="the dataset, still uploading")
    uploads: list[Upload] = Field(description="where each file goes that is not there yet")
    expires_at: datetime = Field(description="when the URLs end and the dataset is forgotten")


class FileOut(BaseModel):
    """A stored file and a URL to fetch it from."""

    path: str = Field(description="path inside the dataset or model")
    size: int = Field(description="size of the file", json_schema_extra=BYTES)
    sha256: str = Field(description="SHA-256 of the content, hexadecimal")
    url: str = Field(description="presigned URL to fetch it from, for a limited time")


FailureReason = Literal["lost_worker", "killed", "out_of_memory", "storage", "serving", "code"]


class Resources(Body):
    """What a worker must have to run the job; what is left out does not matter."""

    nodes: int | None = Field(
        None,
        ge=1,
        le=64,
        description="machines that a training runs on together, with what the other fields ask for on each; None or 1: "
        "on one. It needs a worker that has jobs run on several",
    )
    gpus: int | None = Field(
        None,
        ge=0,
        le=64,
        description="a training runs one process on each, other jobs one process on all; 0: none is needed nor given; "
        "None: one where the worker has any",
    )
    memory_bytes: int | None = Field(
        None, ge=1, le=2**50, description="main memory of the worker", json_schema_extra=BYTES
    )


class Retry(Body):
    """When a failed attempt is tried again. Wrong input never is; a lost worker costs no waiting."""

    backoff_s: float = Field(
        10, ge=0, le=3600, description="pause after the first failure, doubled after each, an hour at most",
        json_schema_extra=SECONDS,
    )  # fmt: skip
    on: list[FailureReason] | None = Field(None, max_length=6, description="only these reasons; None: all of them")


class JobRequest(Body):
    """Asks for a job."""

    kind: str = Field(description="one of /v1/job-kinds")
    project: ProjectRef = None
    spec: dict[str, Any] = Field(description="parameters, see /v1/job-kinds/{kind}/schema")
    name: Text | None = Field(None, min_length=1, max_length=128, description="for people; the kind when left out")
    notes: Notes = ""
    tags: Tags = []
    priority: int = Field(0, ge=-100, le=100, description="higher runs first")
    max_attempts: int | None = Field(None, ge=1, le=20, description="attempts before the job has failed")
    retry: Retry = Field(Retry(), description="what happens after a failed attempt")
    resources: Resources = Field(Resources(), description="what the worker must have")
    time_limit_s: float | None = Field(
        None, gt=0, le=31_536_000, description="time that all attempts may run together; the job is then set aside",
        json_schema_extra=SECONDS,
    )  # fmt: skip
    depends_on: list[JobId] = Field(default=[], max_length=100, description="jobs that must have succeeded first")


class Progress(BaseModel):
    """How far the present attempt is; `eta_s` in seconds."""

    done: int = Field(description="units that are done")
    total: int = Field(description="units in all")
    fraction: float = Field(description="share that is done", json_schema_extra=FRACTION)
    message: str | None = Field(description="what is being done")
    eta_s: float | None = Field(description="time to go", json_schema_extra=SECONDS)


class JobOut(BaseModel):
    """A job."""

    id: str = Field(description="identifier, job_...")
    project_id: str = Field(description="project that owns it, prj_...")
    kind: str = Field(
        description="one of /v1/job-kinds; of child jobs preprocess_chunk (of `chunks`) or finetune_run (of `seeds`, "
        "`folds` and compare)"
    )
    name: str = Field(description="for people")
    notes: str = Field(description="for people")
    tags: list[str] = Field(description="what it is found by, in the order of the alphabet")
    state: str = Field(description="waiting, queued, running, paused, succeeded, failed or cancelled")
    spec: dict[str, Any] = Field(description="parameters with every default filled in")
    priority: int = Field(description="-100 to 100; higher runs first")
    attempt: int = Field(description="number of the present attempt; 0 before the first")
    max_attempts: int = Field(description="attempts before it has failed")
    retry: Retry = Field(description="what happens after a failed attempt")
    resources: Resources = Field(description="what a worker must have")
    time_limit_s: float | None = Field(
        description="time that all attempts may run together; null: no limit", json_schema_extra=SECONDS
    )
    ran_s: float = Field(description="time that it has run, all attempts together", json_schema_extra=SECONDS)
    not_before: datetime | None = Field(description="end of the pause after a failed attempt")
    worker: str | None = Field(description="who runs it now")
    depends_on: list[str] = Field(description="jobs that must have succeeded first")
    parent: str | None = Field(description="job whose child job it is: one of its chunks or runs")
    continues: str | None = Field(
        description="job before, whose last checkpoint it begins with: it does its step again"
    )
    children: int | None = Field(
        description="child jobs that it is shared out among and waits for; null where it does all itself",
        json_schema_extra={"unit": "job"},
    )
    progress: Progress | None = Field(
        description="how far the present attempt is, or its child jobs together; null before they say so"
    )
    checkpoint_step: int | None = Field(description="step of its last checkpoint, which the next attempt goes on from")
    result: dict[str, Any] | None = Field(description="what it made and its final numbers; null until it has succeeded")
    error: dict[str, Any] | None = Field(
        description="why the last attempt failed: a problem with typed `reason`, `log` (its last lines), `advice`"
    )
    reason: str | None = Field(description="what it waits for, or why it is about to stop")
    created_by: str = Field(description="owner of the key that submitted it")
    created_at: datetime = Field(description="when it was submitted")
    started_at: datetime | None = Field(description="when its first attempt began")
    finished_at: datetime | None = Field(description="when it ended")
    duration_s: float | None = Field(description="from its first start to its end", json_schema_extra=SECONDS)


class EventOut(BaseModel):
    """A change of a job's state."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="number of the row; give it as `after`")
    attempt: int = Field(description="attempt that it belongs to; 0 before the first")
    type: str = Field(description="the new state, or what was asked for")
    data: dict[str, Any] = Field(description="what is known about it: `reason`, `worker`")
    at: datetime = Field(description="when it happened")


class MetricOut(BaseModel):
    """Named numbers of one step."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="number of the row; give it as `after`")
    attempt: int = Field(description="attempt that reported it")
    step: int = Field(description="optimizer step")
    values: dict[str, float] = Field(description="numbers by name")
    at: datetime = Field(description="when it was reported")


class LogOut(BaseModel):
    """A log line."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="number of the row; give it as `after`")
    attempt: int = Field(description="attempt that wrote it")
    level: str = Field(description="debug, info, warning or error")
    message: str = Field(description="the line")
    at: datetime = Field(description="when it was written")


class ArtifactOut(BaseModel):
    """A file that a job kept, and a URL to fetch it from."""

    name: str = Field(description="file name, unique in the job")
    content_type: str = Field(description="media type of the file")
    size: int = Field(description="size of the file", json_schema_extra=BYTES)
    url: str = Field(description="presigned URL to fetch it from, for a limited time")


class JobKindOut(BaseModel):
    """A kind of job."""

    name: str = Field(description="what `kind` of a request takes")
    description: str = Field(description="what such a job does")
    produces: str = Field(
        description="dataset, model, evaluation, comparison, deployment, report, embeddings or predictions"
    )


class Platform(BaseModel):
    """What a client has to know of this platform. Limits in bytes."""

    version: str = Field(description="version of the control plane")
    gateway_url: str = Field(description="address of the inference gateway")
    limits: dict[str, int] = Field(description="largest file, dataset and inference request", json_schema_extra=BYTES)


class Page(BaseModel, Generic[T]):
    """A page of a list; `next` is the cursor of the following page."""

    items: list[T] = Field(description="the entries")
    next: str | None = Field(None, description="`cursor` of the following page; null on the last one")


class Rows(BaseModel, Generic[T]):
    """Ordered rows; give `next` as `after` to go on."""

    items: list[T] = Field(description="the rows, in order")
    next: int = Field(description="`after` of the following answer")


class LogRows(Rows[LogOut]):
    """Lines of a log; give `next` as `after` to go on behind all that was looked through."""

    matches: int | None = Field(description="lines of the whole log that are so; null unless `count` was asked for")
