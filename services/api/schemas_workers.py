"""What the API tells of workers."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.api.schemas import BYTES, FRACTION
from services.core.tables import Worker
from services.core.workers import WorkerState

_EXAMPLE: dict[str, Any] = {
    "name": "ward-gpu-1:4211", "host": "ward-gpu-1", "pid": 4211, "version": "0.1.0", "queues": ["jobs", "jobs.gpu"],
    "state": "running", "job_id": "job_019a2b3c4d5e6f7a8b9c0", "gpus": 2, "nodes": None,
    "gpu_model": "NVIDIA H100 80GB HBM3",
    "gpu_memory_bytes": 85520809984, "gpu_utilisation": 0.97, "gpu_memory_used_bytes": 61203283968,
    "memory_bytes": 270582939648, "cpus": 64, "started_at": "2026-01-05T08:00:00Z", "seen_at": "2026-01-05T09:30:02Z",
}  # fmt: skip


class WorkerOut(BaseModel):
    """A worker: what it offers, what it does, when it was last heard of.

    `state` is `idle`, `running`, `draining` (it ends its job and takes no other) or `gone` (it said good-bye or was
    silent for 30 s). `job_id` is what it runs, null also where the job is of a project that the key does not open.
    """

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    name: str = Field(description="as in `worker` of a job")
    host: str = Field(description="name of its machine or container")
    pid: int = Field(description="number of its process there")
    version: str = Field(description="version of medcoss that it runs")
    queues: list[str] = Field(description="queues that ring for it")
    state: WorkerState = Field(description="idle, running, draining or gone")
    job_id: str | None = Field(description="what it runs; null also for a job that the key does not see")
    gpus: int = Field(description="GPUs that it offers; of each machine where `nodes` is not null")
    nodes: int | None = Field(description="machines that it can have jobs run on; null: it runs them on its own")
    gpu_model: str | None = Field(description="null where the machine does not tell")
    gpu_memory_bytes: int | None = Field(description="memory of its smallest GPU", json_schema_extra=BYTES)
    gpu_utilisation: float | None = Field(description="time that its GPUs compute", json_schema_extra=FRACTION)
    gpu_memory_used_bytes: int | None = Field(description="used on all its GPUs", json_schema_extra=BYTES)
    memory_bytes: int | None = Field(description="main memory that it offers", json_schema_extra=BYTES)
    cpus: int = Field(description="processors that it may use")
    started_at: datetime = Field(description="when it started")
    seen_at: datetime = Field(description="when it was last heard of")

    @classmethod
    def of(cls, row: Worker, state: WorkerState, job_id: str | None) -> "WorkerOut":
        """A row as the API shows it."""
        own = {name: getattr(row, name) for name in cls.model_fields if name not in {"state", "job_id"}}
        return cls(**own, state=state, job_id=job_id)
