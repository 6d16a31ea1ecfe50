"""What the server tells, typed. Fields that a newer server adds are kept, not refused."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(extra="allow")


class BadFile(Record):
    """An input that could not be used, and why."""

    path: str
    reason: str


class Dataset(Record):
    """A dataset: raw (uploaded), prepared (shards) or buffer (rehearsal).

    `sample_shape` is `(C, H, W)`, `(C, D, H, W)` or `(tokens,)`; `splits` counts samples.
    """

    id: str
    project_id: str = ""
    name: str
    description: str = ""
    tags: list[str] = []
    role: str
    state: str
    modality: str | None = None
    kind: str | None = None
    samples: int | None = None
    splits: dict[str, int] | None = None
    classes: list[str] | None = None
    has_masks: bool = False
    sample_shape: list[int] | None = None
    recipe: dict[str, Any] | None = None
    bad_files: list[BadFile] = []
    file_count: int = 0
    total_bytes: int = 0
    parents: list[str] = []
    job_id: str | None = None
    created_at: datetime


class Upload(Record):
    """Where to PUT one file; `url` is None for one that is too large for a single request and goes in parts."""

    path: str
    method: str = "PUT"
    url: str | None = None
    headers: dict[str, str] = {}


class Registered(Record):
    """A dataset that waits for its files until `expires_at`; `uploads` are those that it lacks."""

    dataset: Dataset
    uploads: list[Upload]
    expires_at: datetime


class StoredFile(Record):
    """A stored file and a URL to fetch it from; size in bytes."""

    path: str
    size: int
    sha256: str | None = None
    url: str


class Webhook(Record):
    """Where a project's events are sent; `disabled_reason` says why the platform has switched it off."""

    id: str
    project_id: str = ""
    url: str
    description: str = ""
    events: list[str] = []
    active: bool = True
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    previous_until: datetime | None = None
    created_by: str = ""
    created_at: datetime


class NewWebhook(Record):
    """A webhook and its secret, which is not told again."""

    webhook: Webhook
    secret: str


class Delivery(Record):
    """A message to a webhook: `state` is pending, delivered or failed, `error` what was wrong at the last attempt."""

    id: str
    event: str
    payload: dict[str, Any] = {}
    state: str
    attempts: int = 0
    status: int | None = None
    error: str | None = None
    excerpt: str | None = None
    created_at: datetime
    sent_at: datetime | None = None
    next_at: datetime | None = None
    finished_at: datetime | None = None


class Model(Record):
    """A trained model; `modalities` in the order in which they were learnt."""

    id: str
    project_id: str = ""
    name: str
    notes: str = ""
    tags: list[str] = []
    task: str
    size: str
    modalities: list[str]
    stage: int
    modality: str
    kind: str
    classes: list[str] | None = None
    sample_shape: list[int] = []
    recipe: dict[str, Any] = {}
    config: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    parents: list[str] = []
    dataset_id: str | None = None
    job_id: str | None = None
    total_bytes: int = 0
    created_at: datetime


class Alias(Record):
    """A name that stands for one model at a time; `@name` is taken wherever a model's id is."""

    id: str
    project_id: str = ""
    name: str
    model_id: str
    note: str = ""
    promoted_by: str = ""
    promoted_at: datetime
    gate: dict[str, Any] | None = None
    created_at: datetime


class Promotion(Record):
    """One move of an alias: `action` is promoted, rolled_back or removed."""

    seq: int
    alias: str
    action: str
    from_id: str | None = None
    to_id: str | None = None
    actor: str
    note: str = ""
    override: str | None = None
    report_id: str | None = None
    at: datetime


class GateCheck(Record):
    """Whether an alias may move to a model, by the forgetting report `report_id`; `refusals` say why not."""

    alias: str
    model_id: str
    passes: bool
    report_id: str | None = None
    refusals: list[str] = []


class Deployment(Record):
    """A version of a served model: `loading`, `ready` or `failed` (`error` says why). The `active` one answers for its
    name. `max_difference` is that to PyTorch's outputs.
    """

    id: str
    project_id: str = ""
    name: str
    version: int | None = None
    state: str
    active: bool = False
    error: dict[str, Any] | None = None
    task: str
    modality: str
    kind: str
    classes: list[str] | None = None
    precision: str = "fp32"
    accelerator: str = "none"
    model_id: str
    golden: str | None = None
    tolerance: float = 1e-3
    max_difference: float | None = None
    job_id: str | None = None
    created_at: datetime
    ready_at: datetime | None = None
    activated_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """True when it has been loaded, or has failed."""
        return self.state != "loading"


class PlatformInfo(Record):
    """What a client has to know of a platform. Limits in bytes."""

    version: str
    gateway_url: str
    limits: dict[str, int] = {}


class Worker(Record):
    """A worker: what it offers and does; `state` is idle, running, draining or gone. Sizes in bytes."""

    name: str
    host: str
    state: str
    job_id: str | None = None
    version: str = ""
    gpus: int = 0
    nodes: int | None = None
    gpu_model: str | None = None
    gpu_memory_bytes: int | None = None
    gpu_utilisation: float | None = None
    gpu_memory_used_bytes: int | None = None
    memory_bytes: int | None = None
    cpus: int = 0
    started_at: datetime
    seen_at: datetime


class Project(Record):
    """A project: what it owns is seen by its own keys only."""

    id: str
    name: str
    description: str = ""
    created_at: datetime


class ApiKey(Record):
    """A key, without its secret; `projects` is None for administrators, who see all."""

    id: str
    name: str
    owner: str
    role: str
    projects: list[str] | None = None
    state: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    previous_until: datetime | None = None


class NewKey(Record):
    """A key and its secret, which is shown this once."""

    key: ApiKey
    secret: str


class Me(Record):
    """Whose key this is, and the projects that it opens."""

    key_id: str
    name: str
    owner: str
    role: str
    all_projects: bool = False
    projects: list[Project] = []
    expires_at: datetime | None = None


class AuditEntry(Record):
    """One write, or one call without a good key."""

    seq: int
    at: datetime
    actor: str | None = None
    key_id: str | None = None
    address: str | None = None
    method: str
    route: str
    path: str
    request_id: str
    status: int
    outcome: str
    detail: str | None = None


class Hit(Record):
    """A dataset, job or model that a search has found; `detail` is its role, kind or task."""

    type: str
    id: str
    project_id: str = ""
    name: str
    notes: str = ""
    tags: list[str] = []
    detail: str = ""
    state: str | None = None
    created_at: datetime
