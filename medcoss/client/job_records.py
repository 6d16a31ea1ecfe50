"""What the server tells of jobs: the jobs themselves, what they report and what they keep."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, TypedDict, get_args

from pydantic import Field

from medcoss.client.records import Record
from medcoss.client.run_records import Runs

Level = Literal["debug", "info", "warning", "error"]
FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})


class Artifact(Record):
    """A file that a job kept, and a URL to fetch it from; size in bytes."""

    name: str
    content_type: str
    size: int
    url: str


class Progress(Record):
    """How far the present attempt is; `eta_s` in seconds."""

    done: int
    total: int
    fraction: float
    message: str | None = None
    eta_s: float | None = None


class Job(Record):
    """A job. `error` is a problem document with `log` and `advice`, `result` holds `outputs` and `metrics`."""

    id: str
    project_id: str = ""
    kind: str
    name: str
    notes: str = ""
    tags: list[str] = Field(default=[])
    state: str
    spec: dict[str, Any]
    priority: int = 0
    attempt: int = 0
    max_attempts: int = 1
    resources: dict[str, int | None] = Field(default={})
    time_limit_s: float | None = None
    ran_s: float = 0.0
    not_before: datetime | None = None
    worker: str | None = None
    depends_on: list[str] = Field(default=[])
    parent: str | None = None
    continues: str | None = None
    children: int | None = None
    progress: Progress | None = None
    checkpoint_step: int | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    reason: str | None = None
    created_by: str = ""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_s: float | None = None

    @property
    def outputs(self) -> dict[str, str]:
        """Ids of what the job made, by resource: `dataset`, `model`, `evaluation` or `deployment`."""
        return dict((self.result or {}).get("outputs", {}))

    @property
    def runs(self) -> Runs | None:
        """The trainings of a compare job, or of a finetune job with seeds or folds, and how their scores spread."""
        told = (self.result or {}).get("runs")
        return None if told is None else Runs.model_validate(told)

    @property
    def ended(self) -> bool:
        """True for succeeded, failed and cancelled jobs."""
        return self.state in FINAL_STATES


class Event(Record):
    """A change of a job's state."""

    seq: int
    attempt: int
    type: str
    data: dict[str, Any] = Field(default={})
    at: datetime


class Metric(Record):
    """Named numbers of one step."""

    seq: int
    attempt: int
    step: int
    values: dict[str, float]
    at: datetime


class LogLine(Record):
    """A line of a job's log."""

    seq: int
    attempt: int
    level: str
    message: str
    at: datetime

    def holds(self, text: str | None, level: Level | None = None) -> bool:
        """Whether it holds a text, without regard to case, and is of a level or above."""
        levels = get_args(Level)
        high = level is None or (self.level in levels and levels.index(self.level) >= levels.index(level))
        return high and (text is None or text.lower() in self.message.lower())


class JobProgress(Record):
    """Where a job stands at one moment; `fraction` is None until it is known, `eta_s` are the seconds to go."""

    state: str
    attempt: int = 0
    done: int | None = None
    total: int | None = None
    fraction: float | None = None
    message: str | None = None
    eta_s: float | None = None


class Change(Event):
    """A change of some job's state, with what tells which job it is."""

    job_id: str
    project_id: str = ""
    kind: str = ""
    name: str = ""


class JobKind(Record):
    """A kind of job and what it produces."""

    name: str
    description: str
    produces: str


class JobOptions(TypedDict, total=False):
    """What a job takes besides its kind and its spec, see `Jobs.submit`."""

    name: str | None
    project: str | None
    priority: int
    max_attempts: int | None
    depends_on: Iterable[str]
    nodes: int | None
    gpus: int | None
    memory_bytes: int | None
    time_limit_s: float | None
    backoff_s: float | None
    notes: str
    tags: Iterable[str]


class LeftOut(Record):
    """Why a job of a batch was left out; `pointer` leads into the request."""

    pointer: str
    detail: str


class Batch(Record):
    """The jobs of a batch in the order of the request, None for one that was left out."""

    jobs: list[Job | None]
    errors: list[LeftOut] = Field(default=[])
