"""What projects hold in the object store, what jobs owners have against their quotas, and the disk below."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from services.core import projects
from services.core.lifecycle import TO_RUN, State
from services.core.scope import Scope
from services.core.tables import (
    Dataset,
    Evaluation,
    EvaluationFile,
    IndexFile,
    Job,
    JobArtifact,
    Model,
    ModelFile,
    Project,
    SearchIndex,
)


@dataclass(frozen=True)
class Stored:
    """So many things of one sort, and the bytes of all their files."""

    number: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class OwnerUse:
    """Jobs of an owner that run, each child job counted, and that wait, where a job and its child jobs are one."""

    owner: str
    running: int
    waiting: int


@dataclass
class ProjectUse:
    """What a project has: jobs as of an owner, and what is stored, by sort."""

    id: str
    name: str
    running: int = 0
    waiting: int = 0
    stored: dict[str, Stored] = field(default_factory=dict)


@dataclass(frozen=True)
class Disk:
    """Size and free space in bytes."""

    total: int
    free: int


def owners(session: Session, only: str | None) -> list[OwnerUse]:
    """Owners with jobs that run or wait, by name: all, or `only` this one, which is told of without jobs, too."""
    counts = _unfinished(Job.created_by)
    if only is not None:
        counts = counts.where(Job.created_by == only)
    found = {} if only is None else {only: (0, 0)}
    return [OwnerUse(name, *numbers) for name, numbers in sorted((found | _counted(session, counts)).items())]


def of_projects(session: Session, scope: Scope) -> list[ProjectUse]:
    """What each project of the scope has, by name: a handful of questions, however many projects there are."""
    rows = session.scalars(projects.visible(scope).order_by(Project.name)).all()
    jobs = _counted(session, _unfinished(Job.project_id).where(scope.among(Job.project_id)))
    stored = {sort: _stored(session, question) for sort, question in _questions(scope).items()}
    return [
        ProjectUse(row.id, row.name, *jobs.get(row.id, (0, 0)),
                   {sort: found.get(row.id, Stored()) for sort, found in stored.items()})
        for row in rows
    ]  # fmt: skip


def disk(folder: Path | None) -> Disk | None:
    """The disk that a folder lies on; None without one, or where it cannot be looked at."""
    try:
        found = shutil.disk_usage(folder) if folder is not None else None
    except OSError:
        return None
    return Disk(found.total, found.free) if found else None


def _unfinished(by: Any) -> Select[Any]:
    """Numbers of jobs that run and that wait, by a column."""
    runs = func.count().filter(Job.state == State.RUNNING)
    waits = func.count().filter(Job.state.in_(TO_RUN), Job.parent_id.is_(None))
    return select(by, runs, waits).where(Job.state.in_((State.RUNNING, *TO_RUN))).group_by(by)


def _counted(session: Session, counts: Select[Any]) -> dict[str, tuple[int, int]]:
    return {row[0]: (row[1], row[2]) for row in session.execute(counts)}


def _questions(scope: Scope) -> dict[str, Select[Any]]:
    """For each sort: project, number and bytes."""

    def files(of: Any, size: Any, joined: Iterable[Any]) -> Select[Any]:
        whole = select(of.project_id, func.count(of.id.distinct()), func.coalesce(func.sum(size), 0))
        return whole.outerjoin(*joined).where(scope.among(of.project_id)).group_by(of.project_id)

    return {
        "datasets": select(Dataset.project_id, func.count(), func.coalesce(func.sum(Dataset.total_bytes), 0))
        .where(scope.among(Dataset.project_id)).group_by(Dataset.project_id),
        "models": files(Model, ModelFile.size, (ModelFile, ModelFile.model_id == Model.id)),
        "evaluations": files(Evaluation, EvaluationFile.size,
                             (EvaluationFile, EvaluationFile.evaluation_id == Evaluation.id)),
        "indexes": files(SearchIndex, IndexFile.size, (IndexFile, IndexFile.index_id == SearchIndex.id)),
        "artifacts": select(Job.project_id, func.count(), func.sum(JobArtifact.size))
        .join(JobArtifact, JobArtifact.job_id == Job.id)
        .where(scope.among(Job.project_id)).group_by(Job.project_id),
    }  # fmt: skip


def _stored(session: Session, question: Select[Any]) -> dict[str, Stored]:
    return {row[0]: Stored(row[1], int(row[2])) for row in session.execute(question)}
