"""Around every request: an id, a limit on the body, a log line, numbers, and no error that is not a problem."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.core import tracing
from services.core.errors import MedcossError, TooLarge, TooSlow
from services.core.headers import security_headers
from services.core.ids import new_id
from services.inference import metrics
from services.inference.problems import problem_response

# bytes a second
SLOWEST = 65_536
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")

log = structlog.get_logger(__name__)


class RequestShell:
    """ASGI middleware. `max_bytes` limits the body, whether its length is declared or not; it has `patience_s` to
    arrive, and more the more has arrived.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, patience_s: float) -> None:
        self.app, self.max_bytes, self.patience_s = app, max_bytes, patience_s

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
        with tracing.trace("request", headers.get("traceparent"), "server") as span:
            try:
                declared = headers.get("content-length", "")
                if declared.isdigit() and int(declared) > self.max_bytes:
                    raise self._too_large()
                await self.app(scope, self._limited(receive), answer.send)
            except MedcossError as error:
                await answer.fail(error, scope, receive)
            except Exception:
                log.exception("unexpected error", path=scope["path"])
                found = MedcossError("something went wrong; the log has it under the request id")
                await answer.fail(found, scope, receive)
            self._account(scope, answer.status, time.perf_counter() - started, span)

    def _limited(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        total, whole, began = 0, False, 0.0

        async def limited() -> Message:
            nonlocal total, whole, began
            if whole:
                return await receive()
            began = began or asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout_at(began + self.patience_s + total / SLOWEST):
                    message = await receive()
            except TimeoutError:
                raise TooSlow(
                    f"the body did not arrive in time; {SLOWEST // 1024} KiB a second are waited for"
                ) from None
            total += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if total > self.max_bytes:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the request is larger than {self.max_bytes / 2**20:g} MiB; send a smaller file or crop the volume"
        )

    @staticmethod
    def _account(scope: Scope, status: int, seconds: float, span: tracing.Span) -> None:
        method, path = scope["method"], getattr(scope.get("route"), "path", "unknown")
        metrics.answered(path, status, seconds)
        span.rename(f"{method} {path}")
        span.note(**{"http.request.method": method, "http.route": path, "http.response.status_code": status})
        if status >= 500:
            span.failed(str(status))
        identity = scope.get("state", {}).get("identity")
        caller = {"key_id": identity.key_id, "owner": identity.owner} if identity is not None else {}
        if path not in {"/healthz", "/readyz", "/metrics"}:
            log.info("answered", method=method, route=path, status=status, ms=round(seconds * 1000, 1), **caller)


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
