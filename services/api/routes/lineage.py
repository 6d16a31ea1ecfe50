"""Lines of models, what was made from what, and model cards."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.orm import Session

from services.api.dependencies import Operator, PartsOf, ReaderOf, Viewer
from services.api.holding import found
from services.api.lists import Question, Shown, Wanted, answer, question, response_model
from services.api.pages import InProject
from services.api.schemas_lineage import (
    CardOut,
    HoldersOut,
    HoldersQuery,
    LineageOut,
    LineOut,
    LineSummaryOut,
    NodeOut,
    Numbers,
    StageOut,
)
from services.core import cards, lineage, lines, projects, registry
from services.core.errors import FieldError, NotFound, ValidationFailed
from services.core.lineage import Graph
from services.core.lists import LINES
from services.core.scope import Scope
from services.core.tables import Model

router = APIRouter(prefix="/v1", tags=["lineage"])
Direction = Annotated[
    Literal["origins", "uses"], Query(description="origins: what it was made from; uses: what was made of it")
]
Files = Annotated[
    int, Query(ge=0, le=1000, description="how many files of each raw dataset are listed, with their hashes",
               json_schema_extra={"unit": "file"}),
]  # fmt: skip
Other = Annotated[
    str | None, Query(max_length=64, description="model of another line to compare with, by id or alias",
                      examples=["mdl_0199c2bf733d4e5f60718"]),
]  # fmt: skip


def _stage(stage: lines.Stage) -> StageOut:
    model = stage.model
    return StageOut(
        model_id=model.id, name=model.name, stage=model.info.get("stage"), learnt=stage.learnt,
        modalities=model.info.get("modalities", []), dataset_ids=stage.dataset_ids, buffer_ids=stage.buffer_ids,
        aliases=stage.aliases, branches=stage.branches, report_id=stage.report_id, report=stage.report,
    )  # fmt: skip


def _summaries(session: Session, rows: Sequence[Model], wanted: Wanted) -> list[LineSummaryOut]:
    """Lines of several projects, each within its own."""
    return [
        LineSummaryOut(
            model_id=one.newest.id, name=one.newest.name, first_model_id=one.first.id, stages=one.stages,
            modalities=one.newest.info.get("modalities", []), aliases=one.aliases, report_id=one.report_id,
            report=one.report, created_at=one.newest.created_at,
        )
        for one in lines.summaries(session, Scope.of(*{row.project_id for row in rows}), rows)
    ]  # fmt: skip


@router.get("/lines", response_model=response_model(LineSummaryOut))
def list_lines(session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(LINES))]) -> Response:
    """Lines of models, each by its newest stage: an encoder that no other one goes on from. `GET
    /v1/models/{id}/line` has the stages of one.
    """
    return answer(session, caller.scope, Shown(LINES, LineSummaryOut, _summaries), asked)


@router.get("/models/{model_id}/line")
def show_line(
    model_id: str, session: ReaderOf, caller: Viewer, other: Other = None, project: InProject = None
) -> LineOut:
    """The line of stages that leads to a model, with what branches off; with `other`, where two lines have parted and
    how their newest forgetting reports differ.
    """
    scope = projects.narrowed(session, caller.scope, project)
    mine = lines.line_of(session, scope, registry.get_model(session, scope, model_id))
    shown = LineOut(stages=[_stage(stage) for stage in mine])
    if other is not None:
        second = lines.line_of(session, scope, _other(session, scope, other))
        shown.parted_at = lines.parting(mine, second)
        shown.compared = {name: Numbers(**values) for name, values in lines.compared(mine, second).items()}
    return shown


def _other(session: Session, scope: Scope, given: str) -> Model:
    try:
        return registry.get_model(session, scope, given)
    except NotFound as error:
        raise ValidationFailed(error.detail, [FieldError("query:other", error.detail)]) from None


@router.get("/models/{model_id}/lineage")
def show_model_lineage(
    model_id: str, session: ReaderOf, caller: Viewer, direction: Direction = "origins", files: Files = 0,
    project: InProject = None,
) -> LineageOut:  # fmt: skip
    """The graph of everything that a model was made from, down to raw files, or of what was made of it, up to where it
    is served.
    """
    scope = projects.narrowed(session, caller.scope, project)
    return _graph(session, scope, registry.get_model(session, scope, model_id).id, direction, files)


@router.get("/datasets/{dataset_id}/lineage")
def show_dataset_lineage(
    dataset_id: str, session: ReaderOf, caller: Viewer, direction: Direction = "origins", files: Files = 0
) -> LineageOut:
    """The graph of what a dataset was made from, or of every buffer, model and deployment that was made of it."""
    return _graph(session, caller.scope, registry.get_dataset(session, caller.scope, dataset_id).id, direction, files)


def _graph(session: Session, scope: Scope, root: str, direction: str, files: int) -> LineageOut:
    found: Graph = (lineage.ancestry if direction == "origins" else lineage.progeny)(session, scope, root)
    raw = [node.id for node in found.nodes if node.what == "raw"] if files else []
    return LineageOut(
        root=found.root, nodes=[NodeOut(**asdict(node)) for node in found.nodes], edges=found.edges,
        complete=found.complete, files=lineage.raw_files(session, raw, files),
    )  # fmt: skip


@router.post("/holders:find")
def find_holders(query: HoldersQuery, parts: PartsOf, caller: Operator, project: InProject = None) -> HoldersOut:
    """Which datasets, buffers, models and deployments hold the data of a patient, or of a raw file: what is to be made
    anew when these have to be erased. Nothing changes.
    """
    with parts.database.reading() as session:
        project_id = projects.resolve(session, caller.scope, project, "query:project")
    return HoldersOut(**asdict(found(parts, project_id, query)[1]))


@router.get("/models/{model_id}/card")
def show_card(model_id: str, session: ReaderOf, caller: Viewer, project: InProject = None) -> CardOut:
    """A model's card: what it is, the data and settings of every stage, numbers, code version, environment."""
    scope = projects.narrowed(session, caller.scope, project)
    card = cards.card_of(session, scope, registry.get_model(session, scope, model_id))
    return CardOut(card=card, markdown=cards.markdown(card))
