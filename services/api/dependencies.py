"""What the routes need: the application's parts and the caller."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy.orm import Session

from services.api.admission import Admission
from services.api.submissions import Desk
from services.core import parameters
from services.core.db import Database
from services.core.errors import Forbidden
from services.core.keys import Identity, Role
from services.core.settings import Settings
from services.core.storage import ObjectStore


@dataclass(frozen=True)
class Parts:
    """The parts that live as long as the application."""

    settings: Settings
    database: Database
    store: ObjectStore
    admission: Admission
    desk: Desk


async def parts(request: Request) -> Parts:
    """The application's parts. Not a plain function: that would cost a thread for nothing."""
    found = request.app.state.parts
    assert isinstance(found, Parts)
    return found


PartsOf = Annotated[Parts, Depends(parts)]


def reader(found: PartsOf) -> Iterator[Session]:
    """A session that can only read. Routes that write open their own, and close it before slow work."""
    with found.database.reading() as opened:
        yield opened


ReaderOf = Annotated[Session, Depends(reader, scope="function")]

# tells OpenAPI of the header; `Admission` does the work and the words
_bearer = HTTPBearer(auto_error=False, description="an API key")


async def caller(request: Request, found: PartsOf, _: Annotated[object, Depends(_bearer)]) -> Identity:
    """Who calls."""
    return await found.admission.admit(request)


async def no_others(request: Request, found: PartsOf) -> None:
    """ValidationFailed for query parameters that the route does not have; only for callers with a good key."""
    if request.url.query:
        await found.admission.admit(request)
        parameters.check(request.scope["route"], request.query_params)


def needs(role: Role) -> Callable[[Identity], Awaitable[Identity]]:
    """A dependency that lets only callers of `role` or above through."""

    async def check(identity: Annotated[Identity, Depends(caller)]) -> Identity:
        if identity.role < role:
            raise Forbidden(
                f"the key '{identity.name}' has the role {identity.role.name.lower()}; this call needs "
                f"{role.name.lower()}"
            )
        return identity

    return check


Viewer = Annotated[Identity, Depends(needs(Role.VIEWER))]
Operator = Annotated[Identity, Depends(needs(Role.OPERATOR))]
Admin = Annotated[Identity, Depends(needs(Role.ADMIN))]
