"""Evaluations: list, look, fetch pictures, compare, delete."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.orm import Session

from services.api.dependencies import Operator, PartsOf, ReaderOf, Viewer
from services.api.lists import Heavy, Question, Shown, Wanted, answer, question, response_model
from services.api.schemas import FileOut
from services.api.schemas_evaluations import (
    EVALUATION_INFO,
    ComparedMetricOut,
    ComparisonOut,
    EvaluatedOut,
    EvaluationOut,
)
from services.api.views import file_views
from services.core import comparison, evaluations
from services.core.lists import EVALUATIONS
from services.core.short_lists import EVALUATION_FILES
from services.core.tables import Evaluation

router = APIRouter(prefix="/v1", tags=["evaluations"])
Ids = Annotated[
    list[str],
    Query(max_length=comparison.MOST, description="two or more evaluations, the one to compare with first",
          examples=["evl_0199c2d8a1170a1b2c3d4"]),
]  # fmt: skip
_COLUMNS = frozenset(EvaluationOut.model_fields) - EVALUATION_INFO


def evaluation_view(row: Evaluation) -> EvaluationOut:
    """An evaluation; without `info` what a list shows that wants nothing of it."""
    values = {name: getattr(row, name) for name in _COLUMNS}
    return EvaluationOut.model_validate(row.info | values) if row.info else EvaluationOut.model_construct(**values)


def _views(_: Session, rows: Sequence[Evaluation], __: Wanted) -> list[EvaluationOut]:
    return [evaluation_view(row) for row in rows]


_SHOWN = Shown(EVALUATIONS, EvaluationOut, _views, (Heavy(Evaluation.info, EVALUATION_INFO),))


@router.get("/evaluations", response_model=response_model(EvaluationOut))
def list_evaluations(
    session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(EVALUATIONS))]
) -> Response:
    """Evaluations, newest first unless `sort` says otherwise; `sort=-score` is the best first."""
    return answer(session, caller.scope, _SHOWN, asked)


@router.get("/evaluations:compare")
def compare_evaluations(parts: PartsOf, caller: Viewer, id: Ids) -> ComparisonOut:
    """Scores of several models on one split of one dataset, and how far each is from the first one.

    The differences have 95 % intervals by a paired bootstrap where the evaluations drew the same cases, as they do
    unless their jobs say otherwise.
    """
    with parts.database.reading() as session:
        rows = evaluations.chosen(session, caller.scope, id)
        comparison.check(rows)
        drawn = [row.id for row in rows if any(file.path == evaluations.DRAWS for file in row.files)]
        shown = [EvaluatedOut.model_validate(row) for row in rows]
    found = {row_id: draws for row_id in drawn if (draws := evaluations.draws_of(parts.store, row_id)) is not None}
    made = comparison.compare(rows, found)
    return ComparisonOut(
        task=rows[0].task, dataset_id=rows[0].dataset_id, split=rows[0].split, baseline=made.baseline,
        evaluations=shown, metrics=[ComparedMetricOut.model_validate(metric) for metric in made.metrics],
        unpaired=made.unpaired,
    )  # fmt: skip


@router.get("/evaluations/{evaluation_id}")
def show_evaluation(evaluation_id: str, session: ReaderOf, caller: Viewer) -> EvaluationOut:
    """One evaluation; the scores of single cases are in its file `evaluation.json`."""
    return evaluation_view(evaluations.get(session, caller.scope, evaluation_id))


@router.get("/evaluations/{evaluation_id}/files", response_model=response_model(FileOut))
def list_evaluation_files(
    evaluation_id: str, parts: PartsOf, session: ReaderOf, caller: Viewer,
    asked: Annotated[Question, Depends(question(EVALUATION_FILES, 1000, 5000))],
) -> Response:  # fmt: skip
    """Pictures and scores of cases, each with a URL to fetch it from, as they were stored unless `sort` says
    otherwise. An evaluation that a training made on the side has none.
    """
    prefix = evaluations.folder_of(evaluations.get(session, caller.scope, evaluation_id).id)
    shown = Shown(EVALUATION_FILES, FileOut, lambda _, rows, wanted: file_views(parts.store, parts.settings, prefix,
                                                                                rows, wanted))  # fmt: skip
    return answer(session, caller.scope, shown, asked, evaluation_id)


@router.delete("/evaluations/{evaluation_id}", status_code=204)
def delete_evaluation(evaluation_id: str, parts: PartsOf, caller: Operator) -> Response:
    """Remove an evaluation. The sweeper removes its files."""
    with parts.database.session() as session:
        evaluations.delete(session, caller.scope, evaluation_id)
    return Response(status_code=204)
