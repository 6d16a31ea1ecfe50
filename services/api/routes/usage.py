"""What is used of quotas, storage and disk."""

from fastapi import APIRouter

from services.api.dependencies import PartsOf, ReaderOf, Viewer
from services.api.pages import InProject
from services.api.schemas_usage import DiskOut, OwnerUsage, ProjectUsage, StoredOut, UsageOut
from services.core import projects, usage
from services.core.keys import Role

router = APIRouter(prefix="/v1", tags=["access"])


@router.get("/usage")
def show_usage(session: ReaderOf, parts: PartsOf, caller: Viewer, project: InProject = None) -> UsageOut:
    """What projects have stored, how many jobs run and wait against the quotas, and how full the disk is."""
    scope = projects.narrowed(session, caller.scope, project)
    only = None if caller.role is Role.ADMIN else caller.owner
    found = usage.disk(parts.settings.storage_dir)
    return UsageOut(
        quota_running=parts.settings.quota_running, quota_queued=parts.settings.quota_queued,
        owners=[OwnerUsage(owner=o.owner, running=o.running, waiting=o.waiting) for o in usage.owners(session, only)],
        projects=[_project(each) for each in usage.of_projects(session, scope)],
        disk=found and DiskOut(total_bytes=found.total, free_bytes=found.free),
    )  # fmt: skip


def _project(use: usage.ProjectUse) -> ProjectUsage:
    stored = {sort: StoredOut(number=each.number, bytes=each.bytes) for sort, each in use.stored.items()}
    return ProjectUsage(
        project_id=use.id, project=use.name, running=use.running, waiting=use.waiting,
        total_bytes=sum(each.bytes for each in stored.values()), **stored,
    )  # fmt: skip
