"""Indexes: ask for one, look how it is built, fetch its files, delete it. The gateway searches them."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Response
from sqlalchemy.orm import Session

from services.api.dependencies import Operator, PartsOf, ReaderOf, Viewer
from services.api.lists import Question, Shown, Wanted, answer, question, response_model
from services.api.pages import InProject
from services.api.problems import responses
from services.api.schemas import FileOut
from services.api.schemas_indexes import BuildOut, IndexName, IndexOut, IndexRequest
from services.api.views import file_views, job_view
from services.core import indexes, projects
from services.core.jobs import has_ended
from services.core.lifecycle import State
from services.core.lists import INDEXES
from services.core.scope import Scope
from services.core.short_lists import INDEX_FILES
from services.core.tables import Job, SearchIndex

router = APIRouter(prefix="/v1/indexes", tags=["indexes"])
_TAKEN = "The project has an index of this name"


def _build(row: SearchIndex, job: Job | None) -> BuildOut | None:
    if job is None:
        return None
    fraction = min(job.done or 0, job.total) / job.total if job.total else None
    error = str(job.error.get("detail", "")) if job.error else None
    return BuildOut(
        job_id=job.id, state=job.state, model_id=row.wanted_id, fraction=fraction, eta_s=job.eta_s, error=error
    )


def _state(row: SearchIndex, job: Job | None) -> str:
    if job is not None and not has_ended(job):
        return "updating" if row.version else "building"
    lost = job is not None and job.state != State.SUCCEEDED
    return "failed" if lost or row.trouble or not row.version else "ready"


def index_view(row: SearchIndex, job: Job | None, total_bytes: int | None) -> IndexOut:
    """An index with its newest build and the size of the version that answers."""
    info = row.info or {}
    about = {name: info.get(name) for name in ("vectors", "width", "search", "modalities", "projected")}
    same = ("id", "project_id", "name", "description", "encoder", "datasets", "version", "model_id", "built_at",
            "trouble", "created_by", "created_at")  # fmt: skip
    return IndexOut.model_validate(
        {name: getattr(row, name) for name in same} | about
        | {"state": _state(row, job), "build": _build(row, job), "level": row.options["level"],
           "per_dataset": info.get("datasets"), "total_bytes": total_bytes}
    )  # fmt: skip


def _views(session: Session, rows: Sequence[SearchIndex], wanted: Wanted) -> list[IndexOut]:
    built = indexes.builds(session, rows)
    sizes = indexes.sizes(session, rows) if "total_bytes" in wanted else {}
    return [index_view(row, built.get(row.id), sizes.get(row.id)) for row in rows]


_SHOWN = Shown(INDEXES, IndexOut, _views)


def _narrowed(session: Session, scope: Scope, project: str | None) -> Scope:
    return projects.narrowed(session, scope, project)


@router.post("", status_code=201, responses=responses(conflict=_TAKEN))
def create_index(request: IndexRequest, parts: PartsOf, caller: Operator, background: BackgroundTasks) -> IndexOut:
    """Ask for an index; a job builds it. With an alias as its encoder it is built again whenever the alias moves, and
    the version before answers until the next one is whole.
    """
    settings = parts.settings
    with parts.database.session() as session:
        project_id = projects.resolve(session, caller.scope, request.project)
        row, job = indexes.create(
            session, project_id, request.name, request.encoder, request.datasets, request.options, request.description,
            caller.owner, attempts=settings.max_attempts, quota=settings.quota_queued,
        )  # fmt: skip
        shown, to_ring = index_view(row, job, None), job_view(session, job, settings.quota_running)
    background.add_task(parts.desk.ring, to_ring)
    return shown


@router.get("", response_model=response_model(IndexOut))
def list_indexes(session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(INDEXES))]) -> Response:
    """Indexes, newest first unless `sort` says otherwise."""
    return answer(session, caller.scope, _SHOWN, asked)


@router.get("/{index}")
def show_index(index: IndexName, session: ReaderOf, caller: Viewer, project: InProject = None) -> IndexOut:
    """One index: what answers now, and what is being built."""
    row = indexes.get(session, _narrowed(session, caller.scope, project), index)
    return _views(session, [row], Wanted(IndexOut.model_fields))[0]


@router.post("/{index}/rebuild", responses=responses(conflict="It is being built"))
def rebuild_index(
    index: IndexName, parts: PartsOf, caller: Operator, background: BackgroundTasks, project: InProject = None
) -> IndexOut:
    """Embed everything again, e.g. after a build has failed. The present version answers until that is done."""
    settings = parts.settings
    with parts.database.session() as session:
        scope = _narrowed(session, caller.scope, project)
        row, job = indexes.rebuild(session, scope, index, attempts=settings.max_attempts, quota=settings.quota_queued)
        size = indexes.sizes(session, [row]).get(row.id)
        shown, to_ring = index_view(row, job, size), job_view(session, job, settings.quota_running)
    background.add_task(parts.desk.ring, to_ring)
    return shown


@router.get("/{index}/files", response_model=response_model(FileOut))
def list_index_files(
    index: IndexName, parts: PartsOf, session: ReaderOf, caller: Viewer,
    asked: Annotated[Question, Depends(question(INDEX_FILES, 1000, 5000))], project: InProject = None,
) -> Response:  # fmt: skip
    """Files of the version that answers, each with a URL to fetch it from: the vectors, the studies, the projection as
    Parquet, JSON and picture. The first folder of a path is the version's.
    """
    row = indexes.get(session, _narrowed(session, caller.scope, project), index)
    prefix = indexes.folder_of(row.id)
    shown = Shown(INDEX_FILES, FileOut, lambda _, rows, wanted: file_views(parts.store, parts.settings, prefix, rows,
                                                                           wanted))  # fmt: skip
    return answer(session, caller.scope, shown, asked, row.id)


@router.delete("/{index}", status_code=204)
def delete_index(index: IndexName, parts: PartsOf, caller: Operator, project: InProject = None) -> Response:
    """Remove an index with its vectors; a build that goes on is cancelled. The sweeper removes the files."""
    with parts.database.session() as session:
        indexes.remove(session, _narrowed(session, caller.scope, project), index)
    return Response(status_code=204)
