"""What the server tells of jobs that are looked over before they are submitted."""

from typing import Any

from pydantic import Field

from medcoss.client.job_records import LeftOut
from medcoss.client.records import Record


class Figure(Record):
    """A number with its unit and, in a sentence, how it is known; `value` is None when nobody can know it. `parts` add
    up to it.
    """

    value: int | float | None = None
    unit: str = ""
    how: str = ""
    parts: dict[str, int] = Field(default={})


class Wait(Record):
    """What a job would wait for: `what` is dependency, resources, quota or turn."""

    what: str
    detail: str


class Preflight(Record):
    """What would come of a job. It is `valid` without `errors`; figures are None when fields are wrong."""

    valid: bool
    kind: str = ""
    ref: str | None = None
    spec: dict[str, Any] | None = None
    aliases: dict[str, str] = Field(default={})
    errors: list[LeftOut] = Field(default=[])
    warnings: list[LeftOut] = Field(default=[])
    runs_on: str | None = None
    samples: Figure | None = None
    batches: Figure | None = None
    steps: Figure | None = None
    parameters: Figure | None = None
    memory: Figure | None = None
    duration: Figure | None = None
    storage: Figure | None = None
    waits_for: list[Wait] = Field(default=[])
    checked_at_start: list[LeftOut] = Field(default=[])


class BatchPreflight(Record):
    """What would come of the jobs of a batch, in the order of the request, each with pointers into itself."""

    valid: bool
    errors: list[LeftOut] = Field(default=[])
    jobs: list[Preflight]
    duration: Figure
    storage: Figure
