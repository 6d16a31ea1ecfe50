"""What the API takes and tells of the garbage collector."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.api.schemas import BYTES, FRACTION, SECONDS, Body
from services.core.garbage.verdicts import Verdict
from services.core.tables import GcRun

GcState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
_RUN: dict[str, Any] = {
    "id": "gc_019a2b3c4d5e6f7a8b9c0", "dry_run": True, "state": "succeeded", "stage": "missing", "grace_s": 86400.0,
    "keep_checkpoints": 1, "max_fraction": 0.5, "listed": 48213, "expected": 48190, "fraction": 1.0,
    "report": {
        "stored": {"objects": 48169, "bytes": 294132736000}, "kept": {"objects": 18, "bytes": 5505024000},
        "orphan": {"objects": 26, "bytes": 183500800}, "missing": {"objects": 1, "bytes": 48213},
    },
    "removed": 0, "removed_bytes": 0, "error": None, "created_by": "ada", "created_at": "2026-03-02T08:30:00Z",
    "started_at": "2026-03-02T08:30:03Z", "finished_at": "2026-03-02T08:31:10Z",
}  # fmt: skip
_FINDING: dict[str, Any] = {
    "seq": 12, "kind": "missing", "prefix": "datasets/ds_0199c2b3f00a1b2c3d4e5/", "owner": "ds_0199c2b3f00a1b2c3d4e5",
    "owner_name": "chest", "objects": 1, "bytes": 48213, "oldest": None, "newest": None,
    "examples": ["datasets/ds_0199c2b3f00a1b2c3d4e5/raw/train/normal/0001.png"], "removed": 0, "removed_bytes": 0,
}  # fmt: skip


class GcRequest(Body):
    """What a run of the garbage collector is to do."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: bool = Field(True, description="only tell what would be removed")
    max_fraction: float = Field(
        0.5, gt=0, le=1, json_schema_extra=FRACTION,
        description="when more of all objects than this would go, nothing does: it may be the wrong database or bucket",
    )  # fmt: skip


class Amount(BaseModel):
    """So much of one sort."""

    objects: int = Field(description="how many")
    bytes: int = Field(description="how large together", json_schema_extra=BYTES)


class GcRunOut(BaseModel):
    """A run of the garbage collector. The `report` counts objects by what they are; what was found is in `findings`."""

    id: str = Field(description="identifier, gc_...")
    dry_run: bool = Field(description="nothing is removed")
    state: GcState = Field(description="queued, running, succeeded, failed or cancelled")
    stage: str = Field(description="what it does or did last: listing, missing or removing")
    grace_s: float = Field(description="what was changed within so long is left alone", json_schema_extra=SECONDS)
    keep_checkpoints: int | None = Field(
        description="newest checkpoints that stay of a job that failed or was cancelled; null: all"
    )
    max_fraction: float = Field(description="most of all objects that may go", json_schema_extra=FRACTION)
    listed: int = Field(description="objects that were looked at")
    expected: int = Field(description="about how many objects there are, by what rows own")
    fraction: float = Field(description="about how far the listing is, 0 to 1", json_schema_extra=FRACTION)
    report: dict[Verdict, Amount] = Field(
        description="how many objects are stored as recorded, unfinished, kept, reserved, young, foreign, orphan, "
        "superseded, missing, wrong_size, or an upload that nobody goes on with"
    )
    removed: int = Field(description="objects and unfinished uploads that were removed")
    removed_bytes: int = Field(description="what they had together", json_schema_extra=BYTES)
    error: str | None = Field(description="why it has failed; null when it has not")
    created_by: str = Field(description="owner of the key that asked for it")
    created_at: datetime = Field(description="when it was asked for")
    started_at: datetime | None = Field(description="when it began")
    finished_at: datetime | None = Field(description="when it ended")

    @classmethod
    def of(cls, row: GcRun) -> "GcRunOut":
        """A row as the API shows it."""
        own = {name: getattr(row, name) for name in cls.model_fields if name not in {"fraction", "report"}}
        far = 1.0 if row.stage != "listing" else min(row.listed / max(row.expected, 1), 1.0)
        found = {verdict: amount for verdict, amount in row.report.items() if amount["objects"]}
        return cls(**own, fraction=far, report=found)


class GcFindingOut(BaseModel):
    """What a run has found in one folder, or missing of one owner."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="number of the row")
    kind: Verdict = Field(description="orphan, superseded, upload, foreign, missing or wrong_size")
    prefix: str = Field(description="folder in the object store")
    owner: str | None = Field(description="dataset, model, deployment or job that it belongs to")
    owner_name: str | None = Field(description="its name, of what is missing or of a wrong size")
    objects: int = Field(description="how many")
    bytes: int = Field(description="how large together; of what is missing, as recorded", json_schema_extra=BYTES)
    oldest: datetime | None = Field(description="when the first of them was changed")
    newest: datetime | None = Field(description="when the last of them was changed")
    examples: list[str] = Field(description="some of the keys")
    removed: int = Field(description="how many were removed")
    removed_bytes: int = Field(description="how large those were together", json_schema_extra=BYTES)


EXAMPLES = (GcRunOut.model_validate(_RUN), GcFindingOut.model_validate(_FINDING))
