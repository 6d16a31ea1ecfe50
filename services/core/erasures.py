"""Erasures: what holds the data of a patient or of a file is marked, and can be made anew without them.

What is made anew is new: datasets, buffers and models keep their identifiers and their content for as long as they are
there. The steps of a rebuild are those that made what is marked, with each other's outputs in place of what they took.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core import lines
from services.core.holders import Holders
from services.core.ids import new_id
from services.core.scope import Scope
from services.core.specs import references, with_ids
from services.core.tables import Dataset, DatasetFile, Deployment, Erasure, ErasureMark, Job, Model
from services.core.tables.base import now


@dataclass(frozen=True)
class Whose:
    """Whose data: the keyed hash of a patient, or the SHA-256 of a raw file."""

    patient_key: str | None = None
    sha256: str | None = None


@dataclass
class Rebuild:
    """The steps that make anew what is marked, each named by what it makes anew; `left` are those that cannot be, and
    why.
    """

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


def record(session: Session, project_id: str, whose: Whose, held: Holders, reason: str, owner: str) -> Erasure:
    """Mark what holds the data."""
    about: dict[str, list[str]] = dict(held.datasets) | {one: [] for one in (*held.models, *held.deployments)}
    row = Erasure(
        id=new_id("ers"), project_id=project_id, reason=reason, patient_key=whose.patient_key, sha256=whose.sha256,
        unknown=held.unknown, left={}, created_by=owner, created_at=now(),
        marks=[ErasureMark(object_id=one, about=splits) for one, splits in about.items()],
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def get(session: Session, scope: Scope, erasure_id: str, *, lock: bool = False) -> Erasure:
    """The erasure, or NotFound."""
    options = {"with_for_update": True, "populate_existing": True} if lock else {}
    return scope.get(session, Erasure, erasure_id, **options)


def rebuild(session: Session, erasure: Erasure, *, redeploy: bool) -> Rebuild:
    """What makes anew what is marked and still there, raw datasets excepted, and measures anew what gates ask of a
    model; exports of deployments with `redeploy` alone.
    """
    made, scope = Rebuild(), Scope.of(erasure.project_id)
    jobs: dict[str, Job] = {}
    outputs: dict[str, str] = {}
    for row, noun in _marked(session, scope, erasure, redeploy):
        job = _maker(session, row.job_id)
        if job is None:
            made.left[row.id] = "the job that made it has been deleted, or it was imported: make it anew by hand"
            continue
        outputs[row.id] = f"{_first(jobs, job, row.id)}.{noun}"
    # what was deployed is made of a model that is, and nothing is made of it
    stands_for = {one: {"from": output} for one, output in outputs.items() if not output.endswith(".deployment")}
    for report in lines.newest_reports(session, scope, list(outputs)).values():
        job = _maker(session, report.job_id)
        if job is None:
            made.left[report.id] = "the job that measured it has been deleted: measure by hand what is made anew"
        elif lost := _deleted(session, scope, job, outputs):
            made.left[report.id] = f"{', '.join(lost)} has been deleted: measure by hand what is made anew"
        else:
            jobs[report.id] = job
    for name, job in jobs.items():
        spec = with_ids(job.kind, job.spec, stands_for)
        if job.kind == "preprocess":
            spec = _without(session, erasure, job.spec, spec)
        resources = {} if job.gpus is None else {"resources": {"gpus": job.gpus}}
        made.steps[name] = {"kind": job.kind, "name": job.name, "spec": spec, "priority": job.priority, **resources}
    return made


def _marked(session: Session, scope: Scope, erasure: Erasure, redeploy: bool) -> list[tuple[Any, str]]:
    ids = [mark.object_id for mark in erasure.marks]
    found: list[tuple[Any, str]] = []
    for table, noun in ((Dataset, "dataset"), (Model, "model"), *(((Deployment, "deployment"),) if redeploy else ())):
        rows: Sequence[Any] = session.scalars(scope.select(table).where(table.id.in_(ids)).order_by(table.id)).all()
        found += [(row, noun) for row in rows if getattr(row, "role", "") != "raw"]
    return found


def _deleted(session: Session, scope: Scope, job: Job, made: Container[str]) -> list[str]:
    """What a job took that is neither there nor made anew."""
    tables: dict[str, type[Dataset] | type[Model]] = {"dataset": Dataset, "model": Model}
    return [one.id for one in references(job.kind, job.spec)
            if one.id not in made and scope.find(session, tables[one.resource], one.id) is None]  # fmt: skip


def _maker(session: Session, job_id: str | None) -> Job | None:
    """The job that made something; of a child job, the one that it worked for."""
    job = session.get(Job, job_id) if job_id else None
    if job is not None and job.parent_id is not None:
        return session.get(Job, job.parent_id)
    return None if job is None or job.kind == "import_model" else job


def _first(jobs: dict[str, Job], job: Job, name: str) -> str:
    """The name of the step that does the job; a job may have made several things."""
    for known, other in jobs.items():
        if other.id == job.id:
            return known
    jobs[name] = job
    return name


def _without(session: Session, erasure: Erasure, before: Mapping[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """A preprocessing that leaves the data out, besides what it has left out before."""
    patients, files = list(before.get("without_patients") or []), list(before.get("without_files") or [])
    if erasure.patient_key is not None:
        patients.append(erasure.patient_key)
    if erasure.sha256 is not None:
        mine = select(DatasetFile.path).where(DatasetFile.dataset_id == before["dataset"])
        files += session.scalars(mine.where(DatasetFile.sha256 == erasure.sha256)).all()
    return spec | {"without_patients": sorted(set(patients)), "without_files": sorted(set(files))}
