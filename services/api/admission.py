"""Who calls: the door of the control plane."""

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from services.api.together import Together
from services.core.access import Access, Call
from services.core.errors import Unauthorized
from services.core.keys import Identity


class Admission:
    """Lets callers in, those who come at the same moment together."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._together: Together[Call, Identity] = Together(access.admit_all)

    async def admit(self, request: Request) -> Identity:
        """Who calls, once for a request; Unauthorized without a good key. The audit log learns of both."""
        known = getattr(request.state, "identity", None)
        if isinstance(known, Identity):
            return known
        call = Call(request.headers.get("Authorization"), request.client.host if request.client else None)
        try:
            # a sign-in provider may be asked for its keys: others do not wait for that
            alone = self._access.is_token(call.authorization)
            if alone:
                identity = await run_in_threadpool(self._access.admit, call.authorization, call.address)
            else:
                identity = await self._together.do(call)
        except Unauthorized as error:
            request.state.refused = error.detail
            raise
        request.state.identity = identity
        return identity
