"""Names, notes and tags of datasets, jobs and models, and the search for them."""

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Query, Request, Response

from services.api import etags
from services.api.dependencies import Operator, PartsOf, ReaderOf, Viewer
from services.api.etags import IfMatch
from services.api.lists import Fields, page_of, wanted_fields
from services.api.problems import CHANGED, responses
from services.api.schemas import DatasetOut, JobOut
from services.api.schemas_labels import DatasetChange, FoundOut, JobChange, ModelChange, SearchOut, SparseSearch
from services.api.schemas_models import ModelOut
from services.api.views import dataset_view, job_view, model_view
from services.core import jobs, labels, projects, search
from services.core.labels import Labelled
from services.core.tables import Dataset, Job, Model

router = APIRouter(prefix="/v1", tags=["labels"])
# what makes the edition of each
OF_JOB, OF_DATASET, OF_MODEL = (
    tuple(change.model_fields) for change in (JobChange, DatasetChange, ModelChange)
)  # fmt: skip
LOCKED = {"with_for_update": True, "populate_existing": True}
Type = Literal["dataset", "job", "model"]
_TABLES: dict[Type, type[Labelled]] = {"dataset": Dataset, "job": Job, "model": Model}


@router.patch(
    "/jobs/{job_id}", responses=CHANGED | responses(conflict="A job that has ended keeps its priority and time limit")
)  # fmt: skip
def change_job(job_id: str, change: JobChange, request: Request, parts: PartsOf, caller: Operator,
               if_match: IfMatch = None) -> JobOut:  # fmt: skip
    """Change a job's name, notes, tags, or its priority and time limit while it has not ended."""
    with parts.database.session() as session:
        scope = caller.scope
        row = scope.get(session, Job, job_id, **LOCKED)
        etags.check(if_match, job_view(session, row, parts.settings.quota_running), OF_JOB)
        if change.priority is not None:
            jobs.prioritise(session, row, change.priority)
        if change.time_limit_s is not None:
            jobs.limit_time(session, row, change.time_limit_s)
        labels.change(session, row, name=change.name, notes=change.notes, tags=change.tags)
        shown = job_view(session, row, parts.settings.quota_running)
    etags.seen(request, shown, OF_JOB)
    return shown


@router.patch("/datasets/{dataset_id}", responses=CHANGED)
def change_dataset(dataset_id: str, change: DatasetChange, request: Request, parts: PartsOf, caller: Operator,
                   if_match: IfMatch = None) -> DatasetOut:  # fmt: skip
    """Change a dataset's name, description and tags; its files and what was made of them stay as they are."""
    with parts.database.session() as session:
        scope = caller.scope
        row = scope.get(session, Dataset, dataset_id, **LOCKED)
        etags.check(if_match, dataset_view(session, row), OF_DATASET)
        labels.change(session, row, name=change.name, notes=change.description, tags=change.tags)
        shown = dataset_view(session, row)
    etags.seen(request, shown, OF_DATASET)
    return shown


@router.patch("/models/{model_id}", responses=CHANGED)
def change_model(model_id: str, change: ModelChange, request: Request, parts: PartsOf, caller: Operator,
                 if_match: IfMatch = None) -> ModelOut:  # fmt: skip
    """Change a model's name, notes and tags."""
    with parts.database.session() as session:
        scope = caller.scope
        row = scope.get(session, Model, model_id, **LOCKED)
        etags.check(if_match, model_view(session, row), OF_MODEL)
        labels.change(session, row, name=change.name, notes=change.notes, tags=change.tags)
        shown = model_view(session, row)
    etags.seen(request, shown, OF_MODEL)
    return shown


@router.get("/search", response_model=SearchOut | SparseSearch)
def search_everything(
    session: ReaderOf,
    caller: Viewer,
    q: Annotated[str, Query(max_length=256, description="words, or how they begin, of names, tags and notes; all must "
                            "be there", examples=["chest nightly"])],
    type: Annotated[list[Type] | None, Query(max_length=3, description="only these; may be repeated")] = None,
    project: Annotated[str | None, Query(max_length=64, description="only this project, by name or id")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="entries in the answer")] = 20,
    fields: Fields = None,
) -> Response:  # fmt: skip
    """Find datasets, jobs and models by words of their names, tags and notes, newest first."""
    wanted, scope = search.terms(q), projects.narrowed(session, caller.scope, project)
    found: list[FoundOut] = []
    for kind in dict.fromkeys(type or get_args(Type)):
        rows = search.find(session, scope, _TABLES[kind], wanted, limit + 1)
        tags = labels.tags_of(session, _TABLES[kind], [row.id for row in rows])
        found += _found(kind, rows, tags)
    found.sort(key=lambda one: (one.created_at, one.id), reverse=True)
    return page_of(found[:limit], wanted_fields(fields, FoundOut), more=len(found) > limit)


def _found(kind: Type, rows: Sequence[Labelled], tags: dict[str, list[str]]) -> list[FoundOut]:
    return [
        FoundOut(
            type=kind, id=row.id, project_id=row.project_id, name=row.name, notes=labels.notes_of(row),
            tags=tags[row.id], created_at=row.created_at, state=None if isinstance(row, Model) else row.state,
            detail=row.kind if isinstance(row, Job) else row.role if isinstance(row, Dataset) else row.task,
        )
        for row in rows
    ]  # fmt: skip
