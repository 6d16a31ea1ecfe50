"""Aliases of models: promote, go back, look at what was promoted when."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session

from services.api.dependencies import Operator, PartsOf, ReaderOf, Viewer
from services.api.lists import Question, Shown, answer, question, response_model
from services.api.pages import InProject
from services.api.problems import responses
from services.api.schemas_aliases import (
    AliasName,
    AliasOut,
    GateCheck,
    GateRequest,
    PromotionOut,
    PromotionRequest,
    RollbackRequest,
)
from services.core import aliases, gates, projects, registry
from services.core.errors import FieldError, NotFound, ValidationFailed
from services.core.gates import Gate
from services.core.lists import ALIASES
from services.core.scope import Scope
from services.core.short_lists import HISTORY

router = APIRouter(prefix="/v1/aliases", tags=["aliases"])
ModelId = Annotated[
    str, Query(max_length=64, description="model to move to, by id or by an alias such as @candidate",
               examples=["mdl_0199c2d1c44e5f6071829"]),
]  # fmt: skip
_SHOWN = Shown(ALIASES, AliasOut, lambda _, rows, __: [AliasOut.model_validate(row) for row in rows])

_MOVES = Shown(HISTORY, PromotionOut, lambda _, rows, __: [PromotionOut.model_validate(row) for row in rows])


def _project(session: Session, scope: Scope, project: str | None) -> str:
    return projects.resolve(session, scope, project, "query:project")


@router.get("", response_model=response_model(AliasOut))
def list_aliases(session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(ALIASES))]) -> Response:
    """Aliases and the models that they stand for, newest first unless `sort` says otherwise."""
    return answer(session, caller.scope, _SHOWN, asked)


@router.get("/{alias}")
def show_alias(alias: AliasName, session: ReaderOf, caller: Viewer, project: InProject = None) -> AliasOut:
    """One alias."""
    return AliasOut.model_validate(aliases.get(session, _project(session, caller.scope, project), alias))


@router.put("/{alias}", responses=responses(conflict="The gate of the alias is closed to the model"))
def promote_model(
    alias: AliasName, request: PromotionRequest, http: Request, parts: PartsOf, caller: Operator,
    project: InProject = None,
) -> AliasOut:  # fmt: skip
    """Have an alias stand for a model from now on; it is made if it is not there. Jobs that were submitted before keep
    the model that they got. An alias with a gate moves only to a model whose newest forgetting report is within its
    bounds, unless an `override` gives the reason.
    """
    with parts.database.session() as session:
        project_id = _project(session, caller.scope, project)
        model = _model_of(session, project_id, request.model_id)
        row = aliases.promote(session, project_id, alias, model, caller.owner, request.note, request.override)
        shown = AliasOut.model_validate(row)
        moved = aliases.moves(session, project_id, alias, limit=1)
        overridden = moved[0].override if moved and moved[0].to_id == model else None
    if overridden is not None and overridden == request.override:
        # beside the request in the audit log
        http.state.remark = f"the gate of @{alias} was overridden for {model}: {overridden}"
    return shown


def _model_of(session: Session, project_id: str, given: str) -> str:
    """The model of an id or another alias. ValidationFailed, naming `/model_id`, when there is no such alias."""
    try:
        return aliases.model_id(session, Scope.of(project_id), given)
    except NotFound as error:
        raise ValidationFailed(error.detail, [FieldError("/model_id", error.detail)]) from None


@router.put("/{alias}/gate")
def set_gate(
    alias: AliasName, request: GateRequest, parts: PartsOf, caller: Operator, project: InProject = None
) -> AliasOut:
    """Bound what an alias may move to: only a model whose newest forgetting report stays within these bounds, unless an
    override gives a reason. The alias stays where it stands.
    """
    with parts.database.session() as session:
        project_id = _project(session, caller.scope, project)
        return AliasOut.model_validate(aliases.set_gate(session, project_id, alias, Gate(**request.model_dump())))


@router.delete("/{alias}/gate", status_code=204)
def remove_gate(alias: AliasName, parts: PartsOf, caller: Operator, project: InProject = None) -> Response:
    """Let an alias move to any model again."""
    with parts.database.session() as session:
        aliases.set_gate(session, _project(session, caller.scope, project), alias, None)
    return Response(status_code=204)


@router.get("/{alias}/gate/check")
def check_gate(
    alias: AliasName, session: ReaderOf, caller: Viewer, model_id: ModelId, project: InProject = None
) -> GateCheck:
    """Whether an alias may move to a model, and why not; nothing changes."""
    project_id = _project(session, caller.scope, project)
    row = aliases.get(session, project_id, alias)
    model = registry.get_model(session, Scope.of(project_id), model_id)
    found = gates.check(session, row, model)
    return GateCheck(alias=alias, model_id=model.id, passes=found.passes, report_id=found.report,
                     refusals=[*found.refusals])  # fmt: skip


@router.post("/{alias}/rollback", responses=responses(conflict="There is no model before, or it was deleted"))
def roll_back(
    alias: AliasName, parts: PartsOf, caller: Operator, request: RollbackRequest | None = None,
    project: InProject = None,
) -> AliasOut:  # fmt: skip
    """Have an alias stand for the model before its present one; once more, for the one before that."""
    with parts.database.session() as session:
        project_id = _project(session, caller.scope, project)
        note = request.note if request is not None else ""
        return AliasOut.model_validate(aliases.roll_back(session, project_id, alias, caller.owner, note))


@router.delete("/{alias}", status_code=204)
def remove_alias(alias: AliasName, parts: PartsOf, caller: Operator, project: InProject = None) -> Response:
    """Give an alias up; its history stays."""
    with parts.database.session() as session:
        aliases.remove(session, _project(session, caller.scope, project), alias, caller.owner)
    return Response(status_code=204)


@router.get("/{alias}/history", response_model=response_model(PromotionOut))
def list_promotions(
    alias: AliasName, session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(HISTORY))],
    project: InProject = None,
) -> Response:  # fmt: skip
    """Every move of an alias, newest first unless `sort` says otherwise: who, when, from which model to which, why.
    NotFound when there was none.
    """
    project_id = _project(session, caller.scope, project)
    if not aliases.moves(session, project_id, alias, limit=1):
        raise NotFound(f"there is no alias {alias}")
    return answer(session, caller.scope, _MOVES, asked, project_id, alias)
