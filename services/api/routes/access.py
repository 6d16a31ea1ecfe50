"""Who calls, projects, and keys."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from services.api import etags
from services.api.dependencies import Admin, PartsOf, ReaderOf, Viewer
from services.api.etags import IfMatch
from services.api.lists import Question, Shown, answer, question, response_model
from services.api.problems import CHANGED, responses
from services.api.schemas_access import (
    KeyCreated,
    KeyOut,
    KeyRequest,
    Me,
    ProjectChange,
    ProjectOut,
    ProjectRequest,
    Rotation,
)
from services.core import keys, projects
from services.core.errors import Conflict, FieldError, ValidationFailed
from services.core.keys import Role
from services.core.lists import KEYS, PROJECTS
from services.core.scope import EVERYTHING
from services.core.tables import DEFAULT_PROJECT, ApiKey, Project
from services.core.tables.base import now

router = APIRouter(prefix="/v1", tags=["access"])
_OF_PROJECT = tuple(ProjectChange.model_fields)
_PROJECTS = Shown(PROJECTS, ProjectOut, lambda _, rows, __: [ProjectOut.model_validate(row) for row in rows])


@router.get("/me")
def show_me(session: ReaderOf, caller: Viewer) -> Me:
    """Whose key this is, and what it opens."""
    seen = session.scalars(projects.visible(caller.scope).order_by(Project.name)).all()
    return Me(
        key_id=caller.key_id, name=caller.name, owner=caller.owner, role=caller.role.word,
        all_projects=caller.scope.projects is None, projects=[ProjectOut.model_validate(p) for p in seen],
        expires_at=caller.expires_at,
    )  # fmt: skip


@router.get("/projects", response_model=response_model(ProjectOut))
def list_projects(
    session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(PROJECTS))]
) -> Response:
    """The caller's projects, newest first unless `sort` says otherwise."""
    return answer(session, caller.scope, _PROJECTS, asked)


@router.get("/projects/{project_id}")
def show_project(project_id: str, request: Request, session: ReaderOf, caller: Viewer) -> ProjectOut:
    """One project."""
    shown = ProjectOut.model_validate(projects.get(session, caller.scope, project_id))
    etags.seen(request, shown, _OF_PROJECT)
    return shown


@router.post("/projects", status_code=201, responses=responses(conflict="The name is taken"))
def create_project(request: ProjectRequest, parts: PartsOf, _: Admin) -> ProjectOut:
    """Make a project; give out keys that open it."""
    with parts.database.session() as session:
        return ProjectOut.model_validate(projects.create(session, request.name, request.description))


@router.patch(
    "/projects/{project_id}", responses=CHANGED | responses(conflict="The name is taken, or cannot be changed")
)
def change_project(project_id: str, change: ProjectChange, request: Request, parts: PartsOf, _: Admin,
                   if_match: IfMatch = None) -> ProjectOut:  # fmt: skip
    """Change a project's name or description."""
    with parts.database.session() as session:
        present = projects.get(session, EVERYTHING, project_id, lock=True)
        etags.check(if_match, ProjectOut.model_validate(present), _OF_PROJECT)
        shown = ProjectOut.model_validate(projects.change(session, project_id, change.name, change.description))
    etags.seen(request, shown, _OF_PROJECT)
    return shown


def _views(session: Session, rows: Sequence[ApiKey]) -> list[KeyOut]:
    opened, moment = keys.projects_of(session, [row.id for row in rows]), now()
    return [
        KeyOut(
            id=row.id, name=row.name, owner=row.owner, role=Role[row.role.upper()].word,
            projects=None if row.role == "admin" else opened[row.id],
            state="revoked" if row.revoked_at else "active" if keys.ending(row, moment) is None else "expired",
            created_at=row.created_at, expires_at=row.expires_at, revoked_at=row.revoked_at,
            last_used_at=row.last_used_at, previous_until=row.previous_until,
        )
        for row in rows
    ]  # fmt: skip


@router.get("/keys", response_model=response_model(KeyOut))
def list_keys(session: ReaderOf, caller: Admin, asked: Annotated[Question, Depends(question(KEYS))]) -> Response:
    """All keys, newest first, those that have ended too. Secrets are stored nowhere."""
    return answer(session, caller.scope, _KEYS, asked)


@router.get("/keys/{key_id}")
def show_key(key_id: str, session: ReaderOf, _: Admin) -> KeyOut:
    """One key."""
    return _views(session, [keys.get_key(session, key_id)])[0]


@router.post("/keys", status_code=201)
def create_key(request: KeyRequest, parts: PartsOf, _: Admin) -> KeyCreated:
    """Make a key; the answer is the only place where its secret is shown."""
    role = Role[request.role.upper()]
    with parts.database.session() as session:
        row, secret = keys.create_key(
            session, name=request.name, owner=request.owner or request.name, role=role,
            projects=_opened(session, role, request.projects), expires_at=request.expires_at,
        )  # fmt: skip
        return KeyCreated(key=_views(session, [row])[0], secret=secret)


_KEYS = Shown(KEYS, KeyOut, lambda session, rows, _: _views(session, rows))


def _opened(session: Session, role: Role, wanted: list[str] | None) -> list[str]:
    if role is Role.ADMIN:
        if wanted is not None:
            detail = "an administrator's key opens all projects; leave the field out, or choose another role"
            raise ValidationFailed(detail, [FieldError("/projects", detail)])
        return []
    if wanted is None:
        return [DEFAULT_PROJECT]
    if not wanted:
        detail = "expected at least one project"
        raise ValidationFailed(detail, [FieldError("/projects", detail)])
    return projects.resolve_all(session, EVERYTHING, wanted, "/projects")


@router.post("/keys/{key_id}/rotate", responses=responses(conflict="The key has ended"))
def rotate_key(key_id: str, parts: PartsOf, _: Admin, request: Rotation | None = None) -> KeyCreated:
    """Give a key a new secret; the one before opens for `grace_s` more, by default a day."""
    with parts.database.session() as session:
        row, secret = keys.rotate_key(session, key_id, (request or Rotation()).grace_s)
        return KeyCreated(key=_views(session, [row])[0], secret=secret)


@router.delete("/keys/{key_id}", status_code=204, responses=responses(conflict="It is the key of this very call"))
def revoke_key(key_id: str, parts: PartsOf, caller: Admin) -> Response:
    """Close a key at once and for good. It stays in the list, because the audit log names it."""
    if key_id == caller.key_id:
        raise Conflict("a key cannot revoke itself, so that one administrator is always left; use another one")
    with parts.database.session() as session:
        keys.revoke_key(session, key_id)
    return Response(status_code=204)
