"""The audit log."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from services.api.dependencies import Admin, ReaderOf
from services.api.lists import Question, Shown, answer, question, response_model
from services.api.schemas_access import AuditOut
from services.core.lists import AUDIT

router = APIRouter(prefix="/v1/audit", tags=["access"])
_SHOWN = Shown(AUDIT, AuditOut, lambda _, rows, __: [AuditOut.model_validate(row) for row in rows])


@router.get("", response_model=response_model(AuditOut))
def list_audit(session: ReaderOf, caller: Admin, asked: Annotated[Question, Depends(question(AUDIT))]) -> Response:
    """Every write, and every call without a good key, newest first."""
    return answer(session, caller.scope, _SHOWN, asked)
