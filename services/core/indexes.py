"""Indexes: asked for, built by jobs, switched to another version at once, following their alias."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, delete, func, insert, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from medcoss.specs import BuildIndexSpec
from medcoss.specs.inference import IndexOptions
from medcoss.specs.records import FileEntry, IndexInfo
from services.core import aliases, inputs, jobs, leftovers
from services.core.errors import Conflict, FieldError, NotFound, ValidationFailed
from services.core.ids import new_id
from services.core.jobs import NewJob, has_ended
from services.core.scope import EVERYTHING, Scope
from services.core.tables import Alias, IndexFile, Job, Lineage, SearchIndex
from services.core.tables.base import now, table_of

KIND = "build_index"
# of builds that nobody submits
ATTEMPTS = 3
_OPEN = "an index '{}' is there already; choose another name, or delete it first"


def folder_of(index_id: str) -> str:
    """Where its versions are in the object store."""
    return f"indexes/{index_id}"


def get(session: Session, scope: Scope, name: str, *, lock: bool = False) -> SearchIndex:
    """The index of this name, or NotFound. ValidationFailed when several of the caller's projects have one."""
    named = scope.select(SearchIndex).where(SearchIndex.name == name).order_by(SearchIndex.project_id).limit(2)
    found = session.scalars(named.with_for_update() if lock else named).all()
    if not found:
        raise NotFound(f"there is no index '{name}'")
    if len(found) > 1:
        detail = f"several projects have an index '{name}'; say which"
        raise ValidationFailed(detail, [FieldError("query:project", detail)])
    return found[0]


def create(session: Session, project_id: str, name: str, encoder: str, datasets: Sequence[str], options: IndexOptions,
           description: str, owner: str, *, attempts: int, quota: int | None) -> tuple[SearchIndex, Job]:  # fmt: skip
    """Record an index and submit the job that builds it.

    ValidationFailed for what does not exist or does not fit, Conflict when the name is taken, TooMany over the quota.
    """
    row = SearchIndex(
        id=new_id("idx"), project_id=project_id, name=name, description=description, encoder=encoder,
        datasets=list(datasets), options=options.model_dump(mode="json"), version=0, wanted_id="", created_by=owner,
        created_at=now(),
    )  # fmt: skip
    job = _build(session, row, attempts=attempts, quota=quota)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        raise Conflict(_OPEN.format(name)) from None
    return row, job


def _asked(row: SearchIndex, attempts: int) -> NewJob:
    spec = BuildIndexSpec.model_validate(
        row.options | {"index": row.id, "model": row.encoder, "datasets": row.datasets}
    )
    return NewJob(kind=KIND, spec=spec.model_dump(mode="json"), name=f"index {row.name}", max_attempts=attempts,
                  project_id=row.project_id)  # fmt: skip


def _build(session: Session, row: SearchIndex, *, attempts: int, quota: int | None) -> Job:
    """Submit a build with the model that the encoder stands for now; it is the newest one from now on."""
    asked = _asked(row, attempts)
    try:
        inputs.check(session, asked)
    except ValidationFailed as error:
        raise ValidationFailed(error.detail, [FieldError(_field(e.pointer), e.detail) for e in error.errors]) from None
    job = jobs.submit(session, asked, created_by=row.created_by, quota=quota)
    row.wanted_id, row.job_id, row.trouble = job.spec["model"], job.id, None
    return job


def _field(pointer: str) -> str:
    """The field of the index behind one of the job's spec."""
    return pointer.removeprefix("/spec").replace("/model", "/encoder")


def rebuild(session: Session, scope: Scope, name: str, *, attempts: int, quota: int | None) -> tuple[SearchIndex, Job]:
    """Embed everything again; the present version answers until that is done. Conflict while a build goes on."""
    row = get(session, scope, name, lock=True)
    if (job := _open_job(session, row)) is not None:
        raise Conflict(f"index '{name}' is being built by job {job.id} ({job.state}); wait for it, or cancel it first")
    return row, _build(session, row, attempts=attempts, quota=quota)


def _open_job(session: Session, row: SearchIndex) -> Job | None:
    job = session.get(Job, row.job_id) if row.job_id else None
    return None if job is None or has_ended(job) else job


def remove(session: Session, scope: Scope, name: str) -> None:
    """Remove an index with all its versions; its files go with the next sweeps. A build that goes on is cancelled."""
    row = get(session, scope, name, lock=True)
    _give_up(session, row)
    # a lost attempt may still be storing
    leftovers.add(session, f"{folder_of(row.id)}/", watch_until=now() + leftovers.LINGER)
    session.execute(delete(Lineage).where(Lineage.child_id == row.id))
    session.delete(row)


def _give_up(session: Session, row: SearchIndex) -> None:
    """Cancel the build that goes on, if any."""
    job = _open_job(session, row)
    if job is not None:
        try:
            jobs.request_cancel(session, EVERYTHING, job.id)
        except Conflict:
            # it has ended meanwhile
            session.expire(job)


def register(session: Session, index_id: str, prefix: str, info: IndexInfo, files: Sequence[FileEntry], model_id: str,
             job_id: str) -> None:  # fmt: skip
    """Have a version answer from now on, and the one before removed. Of a build that is not the newest one any more,
    or whose index was deleted, the files are removed.
    """
    row = session.get(SearchIndex, index_id, with_for_update=True, populate_existing=True)
    if row is None or row.job_id != job_id:
        leftovers.add(session, f"{prefix}/")
        return
    before = {file.path.partition("/")[0] for file in row.files}
    session.execute(delete(IndexFile).where(IndexFile.index_id == index_id))
    inside = prefix.removeprefix(f"{folder_of(index_id)}/")
    session.execute(
        insert(table_of(IndexFile)),
        [{"index_id": index_id, "path": f"{inside}/{f.path}", "size": f.size, "sha256": f.sha256} for f in files],
    )
    for version in before:
        leftovers.add(session, f"{folder_of(index_id)}/{version}/")
    row.version, row.model_id, row.built_at = row.version + 1, model_id, now()
    row.info, row.trouble = info.model_dump(mode="json"), None
    session.execute(delete(Lineage).where(Lineage.child_id == index_id))
    session.execute(
        insert(table_of(Lineage)), [{"child_id": index_id, "input_id": one} for one in {model_id, *row.datasets}]
    )
    session.expire(row, ["files"])
    session.flush()


def follow_aliases(session: Session) -> None:
    """Submit a build for every index whose alias stands for another model than its newest build is of.

    A model that does not fit the datasets is told as the index's `trouble`. Back at the model that answers, a build
    that goes on is cancelled, and nothing is built.
    """
    named = and_(Alias.project_id == SearchIndex.project_id, literal(aliases.MARK) + Alias.name == SearchIndex.encoder)
    moved = select(SearchIndex, Alias.model_id).join(Alias, named).where(Alias.model_id != SearchIndex.wanted_id)
    for row, model_id in session.execute(moved.with_for_update(of=SearchIndex, skip_locked=True)).all():
        _give_up(session, row)
        if model_id == row.model_id:
            row.wanted_id, row.job_id, row.trouble = model_id, None, None
            continue
        try:
            _build(session, row, attempts=ATTEMPTS, quota=None)
        except ValidationFailed as error:
            row.wanted_id, row.job_id = model_id, None
            row.trouble = f"{row.encoder} stands for {model_id} now, which cannot embed the datasets: {error.detail}"
    session.flush()


def builds(session: Session, rows: Sequence[SearchIndex]) -> Mapping[str, Job]:
    """The newest build of each index, by the index's id, as far as its job is still there."""
    wanted = [row.job_id for row in rows if row.job_id]
    found: dict[str, Any] = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(wanted)))}
    return {row.id: found[row.job_id] for row in rows if row.job_id in found}


def sizes(session: Session, rows: Sequence[SearchIndex]) -> Mapping[str, int]:
    """What the files of the version that answers take, in bytes, by the index's id; none of one that has no version."""
    sums = select(IndexFile.index_id, func.sum(IndexFile.size)).where(IndexFile.index_id.in_([row.id for row in rows]))
    return {index: int(total) for index, total in session.execute(sums.group_by(IndexFile.index_id))}
