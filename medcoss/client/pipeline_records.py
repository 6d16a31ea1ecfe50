"""What the server tells of pipelines."""

from datetime import datetime
from typing import Any

from pydantic import Field

from medcoss.client.job_records import FINAL_STATES, LeftOut, Progress
from medcoss.client.preflight import Figure, Preflight
from medcoss.client.records import Record


class PipelineStep(Record):
    """A step of a pipeline and the job that does it; `reused`: it was not run, the job is that of an equal step.
    Durations in seconds.
    """

    name: str
    kind: str
    state: str
    job_id: str
    reused: bool = False
    depends_on: list[str] = Field(default=[])
    spec: dict[str, Any] = Field(default={})
    outputs: dict[str, str] = Field(default={})
    progress: Progress | None = None
    reason: str | None = None
    error: dict[str, Any] | None = None
    expected_s: float | None = None
    earlier_jobs: list[str] = Field(default=[])
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Pipeline(Record):
    """A pipeline; `progress` counts its steps."""

    id: str
    project_id: str = ""
    name: str
    notes: str = ""
    state: str
    progress: Progress
    steps: list[PipelineStep]
    rerun_of: str | None = None
    curriculum: dict[str, Any] | None = None
    created_by: str = ""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """True when no step goes on."""
        return self.state in FINAL_STATES

    def step(self, name: str) -> PipelineStep:
        """The step of this name. Raises KeyError."""
        found = next((step for step in self.steps if step.name == name), None)
        if found is None:
            raise KeyError(f"there is no step '{name}'; expected one of {', '.join(s.name for s in self.steps)}")
        return found


class PipelinePreflight(Record):
    """What would come of a pipeline: all that is wrong, each step by its name, and what all take together."""

    valid: bool
    errors: list[LeftOut] = Field(default=[])
    steps: dict[str, Preflight] = Field(default={})
    samples: Figure
    training_steps: Figure
    duration: Figure
    gpu_hours: Figure
    storage: Figure
