"""Names of served models and their versions: a name belongs to one project, and no version number is given twice."""

from datetime import datetime, timedelta

from sqlalchemy import Select, delete, exists, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.core import leftovers
from services.core.errors import Conflict
from services.core.tables import Deployment, Leftover, ServedName
from services.core.tables.base import now

# a name that nothing was served under is free again after so long
UNUSED = timedelta(hours=1)


def triton_name(name: str, version: int | None) -> str:
    """What Triton calls a version of a served model: each has a folder of its own, so that a version that
    fails its checks takes no other with it. Names of deployments hold no dot.
    """
    return f"{name}.{version}"


def is_taken(session: Session, name: str, project_id: str) -> bool:
    """True when the name belongs to another project."""
    owner = session.scalars(select(ServedName.project_id).where(ServedName.name == name)).first()
    return owner not in {None, project_id}


def take(session: Session, name: str, project_id: str) -> None:
    """Have the name belong to the project from now on. Conflict when it is another one's, also of two at once.

    Until the transaction ends, another one that takes the same name waits for it.
    """
    mine = update(ServedName).where(ServedName.name == name, ServedName.project_id == project_id)
    held = mine.values(taken_at=now()).returning(ServedName.name)
    if session.scalars(held).first() is not None:
        return
    try:
        with session.begin_nested():
            session.add(ServedName(name=name, project_id=project_id, last_version=0, taken_at=now()))
    except IntegrityError:
        if session.scalars(held).first() is None:
            raise Conflict(f"the name '{name}' is taken on this platform; export under another one") from None


def reserve_version(session: Session, name: str, project_id: str, job_id: str, fence: int) -> int:
    """Take the name and its next version number for an attempt, and the version's place in the object store.

    Raises Conflict when the name is another project's.
    """
    take(session, name, project_id)
    # the name's row is locked now: nobody else counts
    version = next_version(session, name)
    session.execute(update(ServedName).where(ServedName.name == name).values(last_version=version))
    leftovers.reserve(session, f"triton/{triton_name(name, version)}/", job_id, fence)
    return version


def next_version(session: Session, name: str) -> int:
    """The version number that the next deployment of `name` takes, from 1; attempts under way have reserved theirs."""
    newest: tuple[Select[int | None], ...] = (
        select(func.max(Deployment.version)).where(Deployment.name == name),
        select(func.max(ServedName.last_version)).where(ServedName.name == name),
    )
    start = f"triton/{name}."
    taken = [int(prefix.removeprefix(start).rstrip("/")) for prefix in leftovers.reserved(session, start)]
    return max(*(session.scalars(query).one() or 0 for query in newest), *taken, 0) + 1


def free_unused(session: Session, moment: datetime) -> None:
    """Give up names under which nothing is served, was stored or is being exported."""
    served = exists().where(Deployment.name == ServedName.name)
    stored = exists().where(Leftover.prefix.startswith("triton/" + ServedName.name + "."))
    session.execute(
        delete(ServedName).where(ServedName.taken_at < moment - UNUSED, ~served, ~stored)
        .execution_options(synchronize_session=False)
    )  # fmt: skip
