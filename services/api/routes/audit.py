"""The audit log."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from services.api.dependencies import Admin, ReaderOf
from services.api.pages import Cursor, Limit, number_of
from services.api.schemas import Page
from services.api.schemas_access import AuditOut
from services.core import audit

router = APIRouter(prefix="/v1/audit", tags=["access"])

Filter = Annotated[str | None, Query(max_length=128, description="only rows with this value")]


@router.get("")
def list_audit(
    session: ReaderOf,
    _: Admin,
    limit: Limit = 100,
    cursor: Cursor = None,
    actor: Filter = None,
    key_id: Filter = None,
    outcome: Annotated[
        Literal["done", "denied", "rejected", "failed"] | None, Query(description="only rows that ended so")
    ] = None,
    route: Annotated[str | None, Query(max_length=128, description="with placeholders: /v1/jobs/{job_id}")] = None,
    request_id: Filter = None,
    since: Annotated[AwareDatetime | None, Query(description="from this moment on")] = None,
    until: Annotated[AwareDatetime | None, Query(description="before this moment")] = None,
) -> Page[AuditOut]:
    """Every write, and every call without a good key, newest first."""
    statement = audit.entries(
        limit + 1, number_of(cursor), actor=actor, key_id=key_id, outcome=outcome, route=route,
        request_id=request_id, since=since, until=until,
    )  # fmt: skip
    rows = session.scalars(statement).all()
    following = str(rows[limit - 1].seq) if len(rows) > limit else None
    return Page(items=[AuditOut.model_validate(row) for row in rows[:limit]], next=following)
