"""Around every request: an id, a limit on the body, a log line, numbers, and no error that is not a problem."""

import re
import time
from collections.abc import Awaitable, Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.core.errors import MedcossError, TooLarge
from services.core.headers import security_headers
from services.core.ids import new_id
from services.inference.metrics import Metrics
from services.inference.problems import problem_response

_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")

log = structlog.get_logger(__name__)


class RequestShell:
    """ASGI middleware. `max_bytes` limits the body, whether its length is declared or not."""

    def __init__(self, app: ASGIApp, max_bytes: int, metrics: Metrics) -> None:
        self.app, self.max_bytes, self.metrics = app, max_bytes, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else new_id("req")
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        answer = _Answer(send, request_id, security_headers(scope["path"], scope["scheme"]))
        started = time.perf_counter()
        try:
            declared = headers.get("content-length", "")
            if declared.isdigit() and int(declared) > self.max_bytes:
                raise self._too_large()
            await self.app(scope, self._limited(receive), answer.send)
        except MedcossError as error:
            await answer.fail(error, scope, receive)
        except Exception:
            log.exception("unexpected error", path=scope["path"])
            await answer.fail(MedcossError("something went wrong; the log has it under the request id"), scope, receive)
        seconds = time.perf_counter() - started
        self._account(scope, answer.status, seconds)

    def _limited(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        total = 0

        async def limited() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self.max_bytes:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the request is larger than {self.max_bytes / 2**20:g} MiB; send a smaller file or crop the volume"
        )

    def _account(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path", "unknown")
        self.metrics.answered(path, status, seconds)
        if path not in {"/healthz", "/readyz", "/metrics"}:
            log.info("answered", method=scope["method"], route=path, status=status, ms=round(seconds * 1000, 1))


class _Answer:
    """Sends an answer with the request's id and remembers its status; 499 until there is one."""

    def __init__(self, send: Send, request_id: str, extra: dict[str, str]) -> None:
        self._send, self._headers = send, extra | {"X-Request-Id": request_id}
        self.status = 499

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message).update(self._headers)
        await self._send(message)

    async def fail(self, error: MedcossError, scope: Scope, receive: Receive) -> None:
        """Answer with a problem, unless the answer is already on its way."""
        if self.status == 499:
            await problem_response(error)(scope, receive, self.send)
