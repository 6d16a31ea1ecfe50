"""What the calls of the gateway need: who calls, a place among those who infer, and the input."""

from collections.abc import AsyncIterator
from typing import Annotated

import structlog
from fastapi import Depends, Request

from services.core import audit, parameters
from services.core.errors import Unauthorized
from services.core.keys import Identity
from services.inference.gateway import Gateway
from services.inference.inputs import Input, read_input


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


GatewayDep = Annotated[Gateway, Depends(_gateway)]


def caller(request: Request, gateway: GatewayDep) -> Identity:
    """Let in any known key: to infer, the lowest role is enough. The models are those of its projects."""
    address = request.client.host if request.client else None
    try:
        identity = gateway.access.admit(request.headers.get("authorization"), address)
    except Unauthorized as error:
        request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
        route = getattr(request.scope.get("route"), "path", "")
        done = audit.deed(request.method, route, request.url.path, request_id, 401, address, None, error.detail)
        audit.record(gateway.database, done)
        raise
    request.state.identity = identity
    return identity


Caller = Annotated[Identity, Depends(caller)]


async def no_others(request: Request, _: Caller) -> None:
    """ValidationFailed for query parameters that the route does not have."""
    parameters.check(request.scope["route"], request.query_params)


async def admitted(gateway: GatewayDep, _: Caller) -> AsyncIterator[None]:
    """A place among those who infer or wait, from before the body is read until the answer is sent."""
    with gateway.admission.enter():
        yield


async def _given(request: Request, _: Annotated[None, Depends(admitted)]) -> Input:
    return await read_input(request)


InputDep = Annotated[Input, Depends(_given)]
