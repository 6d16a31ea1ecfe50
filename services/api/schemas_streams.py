"""What streams send: the data of each event."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from services.api.schemas import EventOut, LogOut, MetricOut
from services.core.reports import Row
from services.core.tables import JobEvent, JobMetric

Part = Literal["events", "metrics", "logs", "progress"]


class Announcement(BaseModel):
    """A change of some job's state."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    job_id: str
    project_id: str
    kind: str
    name: str
    attempt: int
    type: str
    data: dict[str, Any]
    at: datetime


class ProgressNow(BaseModel):
    """Where a job stands at this moment; `fraction` is null until it is known, `eta_s` are the seconds to go."""

    model_config = ConfigDict(from_attributes=True)

    state: str
    attempt: int
    done: int | None
    total: int | None
    fraction: float | None
    message: str | None
    eta_s: float | None


class StreamEnd(BaseModel):
    """The last event of a job's stream: everything has been sent."""

    state: str


def as_json(row: Row) -> str:
    """A row as the lists show it, as JSON."""
    view = EventOut if isinstance(row, JobEvent) else MetricOut if isinstance(row, JobMetric) else LogOut
    return view.model_validate(row).model_dump_json()
