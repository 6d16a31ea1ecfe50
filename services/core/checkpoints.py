"""How checkpoints of jobs lie in the object store: `jobs/<id>/checkpoints/<step>.<fence>/`, the manifest last."""

import re
from collections.abc import Iterable

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from medcoss.specs.records import FileEntry
from services.core.tables import Job

MANIFEST = "manifest.json"
# retries in a row that are looked back through
_MOST = 100
_FOLDER = re.compile(r"/checkpoints/(\d{9})\.(\d{6})/")


class Manifest(BaseModel):
    """What a whole checkpoint holds."""

    step: int
    fence: int
    files: list[FileEntry]


def prefix_of(job_id: str) -> str:
    """Where the checkpoints of a job are, without a slash at the end."""
    return f"jobs/{job_id}/checkpoints"


def before(session: Session, job_id: str) -> list[str]:
    """The jobs whose checkpoints a job goes on from while it has none of its own, the newest first."""
    found = list[str]()
    following: str | None = job_id
    while following is not None and len(found) < _MOST:
        following = session.scalars(select(Job.continues).where(Job.id == following)).one_or_none()
        found += [] if following is None else [following]
    return found


def folder_of(job_id: str, step: int, fence: int) -> str:
    """Where one checkpoint is, without a slash at the end."""
    return f"{prefix_of(job_id)}/{step:09d}.{fence:06d}"


def folders(keys: Iterable[str], fence: int | None = None) -> list[tuple[str, bool]]:
    """The checkpoints of one job, newest first, and whether each has its manifest; those up to `fence` alone if given.

    The newest is the one of the highest fence, then step: an attempt that lost its lease writes under an older fence.
    """
    found: dict[tuple[int, int, str], bool] = {}
    for key in keys:
        match = _FOLDER.search(key)
        if match and (fence is None or int(match[2]) <= fence):
            place = (int(match[2]), int(match[1]), key[: match.end()])
            found[place] = found.get(place, False) or key == place[2] + MANIFEST
    return [(folder, whole) for (_, _, folder), whole in sorted(found.items(), reverse=True)]
