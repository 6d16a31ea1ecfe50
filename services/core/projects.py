"""Projects: make them, change them, find the one that a caller means."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Select, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.core.errors import Conflict, FieldError, NotFound, ValidationFailed
from services.core.ids import new_id
from services.core.scope import Scope
from services.core.tables import DEFAULT_PROJECT, Project


def visible(scope: Scope) -> Select[Project]:
    """The projects that a caller sees."""
    return select(Project).where(scope.among(Project.id))


def get(session: Session, scope: Scope, project_id: str, *, lock: bool = False) -> Project:
    """The project, or NotFound."""
    statement = visible(scope).where(Project.id == project_id)
    found = session.scalars(statement.with_for_update() if lock else statement).one_or_none()
    if found is None:
        raise NotFound(f"there is no project {project_id}")
    return found


def create(session: Session, name: str, description: str = "") -> Project:
    """A new project. Conflict when the name is taken."""
    project = Project(id=new_id("prj"), name=name, description=description)
    with _unique(session, name):
        session.add(project)
    return project


def change(session: Session, project_id: str, name: str | None, description: str | None) -> Project:
    """Another name or description, None for as it is. Conflict when the name is taken, or is to be `default`'s."""
    project = session.get(Project, project_id, with_for_update=True)
    if project is None:
        raise NotFound(f"there is no project {project_id}")
    if name is not None and name != project.name:
        if project_id == DEFAULT_PROJECT:
            raise Conflict("the project 'default' keeps its name: callers without a project of their own rely on it")
        with _unique(session, name):
            project.name = name
    project.description = project.description if description is None else description
    session.flush()
    return project


@contextmanager
def _unique(session: Session, name: str) -> Iterator[None]:
    try:
        with session.begin_nested():
            yield
    except IntegrityError:
        raise Conflict(f"there is a project '{name}' already; choose another name") from None


def resolve(session: Session, scope: Scope, wanted: str | None, field: str = "/project") -> str:
    """The id of the project that a caller means by a name or an id.

    None: the caller's only one, or else `default`. ValidationFailed, naming `field`, when it is not among them.
    """
    if wanted is None and scope.projects is not None and len(scope.projects) == 1:
        return next(iter(scope.projects))
    if wanted is None and scope.sees(DEFAULT_PROJECT):
        return DEFAULT_PROJECT
    if wanted is None:
        detail = "say which project: the key belongs to several" if scope.projects else "the key belongs to no project"
        raise ValidationFailed(detail, [FieldError(field, detail)])
    named = visible(scope).where(or_(Project.id == wanted, Project.name == wanted))
    found = session.scalars(named).first()
    if found is None:
        raise _unknown(session, scope, wanted, field)
    return found.id


def resolve_all(session: Session, scope: Scope, wanted: Sequence[str], field: str) -> list[str]:
    """The ids of several projects, each once."""
    return list(dict.fromkeys(resolve(session, scope, one, f"{field}/{i}") for i, one in enumerate(wanted)))


def _unknown(session: Session, scope: Scope, wanted: str, field: str) -> ValidationFailed:
    names = session.scalars(visible(scope).order_by(Project.name).limit(20)).all()
    detail = f"there is no project '{wanted}'; expected one of {', '.join(p.name for p in names) or 'none'}"
    return ValidationFailed(detail, [FieldError(field, detail)])


def narrowed(session: Session, scope: Scope, wanted: str | None) -> Scope:
    """The scope of a list that may be asked for one project only."""
    return scope if wanted is None else Scope.of(resolve(session, scope, wanted, "query:project"))
