"""What is used of quotas, storage and disk."""

from medcoss.client.records import Record


class StoredAmount(Record):
    """Things of one sort in the object store, and the size of all their files in bytes."""

    number: int
    bytes: int


class ProjectUsage(Record):
    """What a project has: jobs that run and wait, and what it has stored."""

    project_id: str
    project: str
    running: int
    waiting: int
    datasets: StoredAmount
    models: StoredAmount
    evaluations: StoredAmount
    indexes: StoredAmount
    artifacts: StoredAmount
    total_bytes: int


class OwnerUsage(Record):
    """Jobs of an owner that run and wait, of all projects, as the quotas count them."""

    owner: str
    running: int
    waiting: int


class Disk(Record):
    """The disk that the object store lies on, in bytes."""

    total_bytes: int
    free_bytes: int


class Usage(Record):
    """What is used of quotas, storage and disk; None where there is no quota, or the disk cannot be seen."""

    owners: list[OwnerUsage]
    projects: list[ProjectUsage]
    quota_running: int | None = None
    quota_queued: int | None = None
    disk: Disk | None = None
