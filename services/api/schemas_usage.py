"""What the API tells of storage, quotas and disk."""

from typing import Any

from pydantic import BaseModel, Field

from services.api.schemas import BYTES

JOBS: dict[str, Any] = {"unit": "job"}


class StoredOut(BaseModel):
    """Things of one sort."""

    number: int = Field(description="how many there are")
    bytes: int = Field(description="size of all their files in the object store", json_schema_extra=BYTES)


class ProjectUsage(BaseModel):
    """What a project has."""

    project_id: str = Field(description="identifier, prj_...")
    project: str = Field(description="its name")
    running: int = Field(description="jobs that run, each child job counted", json_schema_extra=JOBS)
    waiting: int = Field(description="jobs that are waiting, queued or paused", json_schema_extra=JOBS)
    datasets: StoredOut = Field(description="raw and prepared data, rehearsal buffers")
    models: StoredOut = Field(description="encoders, classifiers, segmenters")
    evaluations: StoredOut = Field(description="scores with their pictures")
    indexes: StoredOut = Field(description="versions of search indexes that answer")
    artifacts: StoredOut = Field(description="files that jobs kept; checkpoints are not counted")
    total_bytes: int = Field(description="all of these together", json_schema_extra=BYTES)


class OwnerUsage(BaseModel):
    """Jobs of an owner, of all projects, as the quotas count them."""

    owner: str = Field(description="person or program, as in `created_by` of a job")
    running: int = Field(description="jobs that run, each child job counted", json_schema_extra=JOBS)
    waiting: int = Field(
        description="jobs that are waiting, queued or paused; a job and its child jobs are one", json_schema_extra=JOBS
    )


class DiskOut(BaseModel):
    """The disk that the object store lies on."""

    total_bytes: int = Field(description="its size", json_schema_extra=BYTES)
    free_bytes: int = Field(description="what is free of it", json_schema_extra=BYTES)


class UsageOut(BaseModel):
    """What is used, and what may be."""

    quota_running: int | None = Field(description="jobs that an owner may run at once; null: no limit",
                                      json_schema_extra=JOBS)  # fmt: skip
    quota_queued: int | None = Field(description="jobs that an owner may have waiting; null: no limit",
                                     json_schema_extra=JOBS)  # fmt: skip
    owners: list[OwnerUsage] = Field(
        description="the caller; for administrators all owners of jobs that run or wait, by name"
    )
    projects: list[ProjectUsage] = Field(description="the projects that the key opens, or the one asked for, by name")
    disk: DiskOut | None = Field(
        description="null where the control plane does not see it (MEDCOSS_STORAGE_DIR): an object store elsewhere "
        "does not tell"
    )
