"""What the garbage collector tells, as the client shows it."""

from datetime import datetime

from pydantic import Field

from medcoss.client.records import Record


class Amount(Record):
    """So many objects, and their bytes together."""

    objects: int
    bytes: int


class GcRun(Record):
    """A run of the garbage collector; `state` is queued, running, succeeded, failed or cancelled.

    `report` counts objects by what they are: stored, unfinished, kept, reserved, young, foreign, orphan, superseded,
    upload, missing or wrong_size. `fraction` is how far the listing is, 0 to 1.
    """

    id: str
    dry_run: bool
    state: str
    stage: str
    grace_s: float
    keep_checkpoints: int | None = None
    max_fraction: float
    listed: int
    expected: int
    fraction: float
    report: dict[str, Amount] = Field(default={})
    removed: int
    removed_bytes: int
    error: str | None = None
    created_by: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """True when it is over."""
        return self.state not in {"queued", "running"}


class GcFinding(Record):
    """What a run has found in one folder, or missing of one owner; `examples` are some of the keys."""

    seq: int
    kind: str
    prefix: str
    owner: str | None = None
    owner_name: str | None = None
    objects: int
    bytes: int
    oldest: datetime | None = None
    newest: datetime | None = None
    examples: list[str] = Field(default=[])
    removed: int
    removed_bytes: int
