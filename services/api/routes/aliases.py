"""Aliases of models: promote, go back, look at what was promoted when."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy.orm import Session

from services.api.dependencies import Operator, PartsOf, ReaderOf, Viewer
from services.api.lists import Question, Shown, answer, question, response_model
from services.api.pages import InProject
from services.api.problems import responses
from services.api.schemas_aliases import AliasName, AliasOut, PromotionOut, PromotionRequest, RollbackRequest
from services.core import aliases, projects
from services.core.errors import FieldError, NotFound, ValidationFailed
from services.core.lists import ALIASES
from services.core.scope import Scope
from services.core.short_lists import HISTORY

router = APIRouter(prefix="/v1/aliases", tags=["aliases"])
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


@router.put("/{alias}")
def promote_model(
    alias: AliasName, request: PromotionRequest, parts: PartsOf, caller: Operator, project: InProject = None
) -> AliasOut:
    """Have an alias stand for a model from now on; it is made if it is not there. Jobs that were submitted before keep
    the model that they got.
    """
    with parts.database.session() as session:
        project_id = _project(session, caller.scope, project)
        try:
            model = aliases.model_id(session, Scope.of(project_id), request.model_id)
        except NotFound as error:
            raise ValidationFailed(error.detail, [FieldError("/model_id", error.detail)]) from None
        row = aliases.promote(session, project_id, alias, model, caller.owner, request.note)
        return AliasOut.model_validate(row)


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
