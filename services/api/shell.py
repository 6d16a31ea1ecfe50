"""Around every request: an id, a trace, a log line and numbers, limits on its body, security headers, the audit log,
and no error that is no problem.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog
from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api import metrics
from services.api.admission import Admission
from services.api.problems import answer, away
from services.api.together import Together
from services.core import audit, db, tracing
from services.core.db import Database
from services.core.errors import MedcossError, TooLarge, TooSlow
from services.core.headers import security_headers
from services.core.ids import new_id
from services.core.keys import note_use
from services.core.settings import Settings

SMALL_BODY = 65_536
READING = frozenset({"GET", "HEAD", "OPTIONS"})
_log = structlog.get_logger()


class Shell:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, settings: Settings, database: Database, admission: Admission) -> None:
        self.app, self.settings, self.database, self.admission = app, settings, database, admission
        self.audit: Together[audit.Deed, None] = Together(self._record)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = new_id("req")
        body = _Body(self.settings, scope, receive)
        out = _Answer(self.audit, scope, send, body)
        began = time.perf_counter()
        with (
            tracing.trace("request", Headers(scope=scope).get("traceparent"), "server") as span,
            structlog.contextvars.bound_contextvars(request_id=state["request_id"]),
            metrics.under_way(),
        ):
            try:
                body.check_declared()
                if body.is_large:
                    # routes know their caller only when they have the whole body: a stranger's is not waited for
                    await self.admission.admit(Request(scope))
                await self.app(scope, body.receive, out.send)
            except MedcossError as error:
                await out.problem(error)
            except db.AWAY as error:
                # around the routes: whoever calls is looked up, and so are repeated requests
                await out.problem(away("the database", error))
            except Exception:  # noqa: BLE001 - the last resort
                # the trace is for the log; the client gets the id to ask about
                _log.exception("unhandled", method=scope["method"], path=scope["path"])
                detail = f"something went wrong on our side; the log knows it as {state['request_id']}"
                await out.problem(MedcossError(detail))
            finally:
                _account(scope, out.status, time.perf_counter() - began, span)
            identity = state.get("identity")
            if identity is not None and identity.use_due:
                await run_in_threadpool(self._note_use, identity.key_id)

    def _record(self, deeds: Sequence[audit.Deed]) -> list[None]:
        audit.record(self.database, *deeds)
        return [None] * len(deeds)

    def _note_use(self, key_id: str) -> None:
        with suppress(SQLAlchemyError), self.database.session() as session:
            note_use(session, key_id)


def _account(scope: Scope, status: int, seconds: float, span: tracing.Span) -> None:
    """Log, count and name a request by its route: paths and queries may hold what is nobody's business."""
    method, route = scope["method"], getattr(scope.get("route"), "path", "none")
    metrics.answered(method, route, status, seconds)
    span.rename(f"{method} {route}")
    span.note(**{"http.request.method": method, "http.route": route, "http.response.status_code": status})
    span.note(request_id=scope["state"]["request_id"])
    if status >= 500:
        span.failed(str(status))
    identity = scope["state"].get("identity")
    caller = {"key_id": identity.key_id, "owner": identity.owner} if identity is not None else {}
    log = _log.debug if route in metrics.QUIET and status < 400 else _log.info
    log("answered", method=method, route=route, status=status, ms=round(seconds * 1000, 1), **caller)


class _Body:
    """The body as it comes: not too much of it, and not too slowly. `broken` says what was wrong with it."""

    def __init__(self, settings: Settings, scope: Scope, receive: Receive) -> None:
        self._limit, self._receive = settings.max_request_bytes, receive
        headers = Headers(scope=scope)
        self._declared = headers.get("content-length", "")
        self._endless = "transfer-encoding" in headers
        self._timeout_s, self._deadline = settings.request_timeout_s, 0.0
        self._size, self._whole = 0, False
        self.broken: MedcossError | None = None

    def check_declared(self) -> None:
        """Refuse what says of itself that it is too large."""
        if self._declared.isdecimal() and int(self._declared) > self._limit:
            raise self._too_large()

    @property
    def is_large(self) -> bool:
        """True for a body that is worth asking for the key first."""
        return self._endless or (self._declared.isdecimal() and int(self._declared) > SMALL_BODY)

    async def receive(self) -> Message:
        """The next piece."""
        if self._whole:
            return await self._receive()
        self._deadline = self._deadline or asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            metrics.refused("too_slow")
            self.broken = TooSlow(f"the body did not arrive within {self._timeout_s:g} s")
            raise self.broken from None
        self._size += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._size > self._limit:
            self.broken = self._too_large()
            raise self.broken
        return message

    def _too_large(self) -> TooLarge:
        metrics.refused("too_large")
        return TooLarge(
            f"the request is larger than {self._limit / 2**20:g} MiB; files go to the object store directly"
        )


class _Answer:
    """Sends an answer, once: with its headers, and after its row in the audit log."""

    def __init__(self, log: Together[audit.Deed, None], scope: Scope, send: Send, body: _Body) -> None:
        self._log, self._scope, self._send, self._body = log, scope, send, body
        self._begun, self._replaced = False, False
        # what servers note when the caller has gone before an answer
        self.status = 499

    async def send(self, message: Message) -> None:
        """Pass the answer on, unless the body was broken: whatever was made of that is not the reason."""
        if self._replaced:
            return
        if self._body.broken is not None and not self._begun:
            self._replaced = True
            await self._problem(self._body.broken)
            return
        await self._out(message)

    async def problem(self, error: MedcossError) -> None:
        """Answer with a problem, unless the answer is already on its way."""
        if not self._begun:
            await self._problem(error)

    async def _problem(self, error: MedcossError) -> None:
        await answer(Request(self._scope), error)(self._scope, self._body.receive, self._out)

    async def _out(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._scope["state"]["request_id"]
            for name, value in security_headers(self._scope["path"], self._scope["scheme"]).items():
                headers.setdefault(name, value)
            await self._record(message["status"])
        await self._send(message)

    async def _record(self, status: int) -> None:
        """Put writes, and whoever had no good key, on record; what was refused for its number is not."""
        scope, state = self._scope, self._scope["state"]
        route = getattr(scope.get("route"), "path", None)
        writes = scope["method"] not in READING and route is not None
        if status == 429 or not (writes or status == 401):
            return
        client = scope.get("client")
        done = audit.deed(
            scope["method"], route or "", scope["path"], state["request_id"], status, client[0] if client else None,
            state.get("identity"), state.get("refused") or state.get("remark"),
        )  # fmt: skip
        await self._log.do(done)
