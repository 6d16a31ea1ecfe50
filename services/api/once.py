"""`Idempotency-Key` on every POST: the same request under the same key is carried out once and answered alike.

Routes whose work is one transaction (`OWN`) find and keep the answer in it themselves, by the ticket in
`request.state`; for all others it happens around them, here.
"""

import asyncio
import re
import time
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.admission import Admission
from services.core import once
from services.core.db import Database
from services.core.errors import FieldError, InProgress, ValidationFailed
from services.core.once import Answer, Ticket
from services.core.settings import Settings
from services.core.tables.base import now

HEADER = "Idempotency-Key"
OWN = frozenset({"/v1/jobs", "/v1/jobs:batch", "/v1/pipelines"})
# how long a request waits for its twin
PATIENCE_S = 10.0
PAUSE_S = 0.05
_KEPT_HEADERS = ("content-type", "location")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def ticket_of(request: Request) -> Ticket | None:
    """The ticket of a request with a key."""
    found = getattr(request.state, "ticket", None)
    return found if isinstance(found, Ticket) else None


def again(answer: Answer) -> Response:
    """An answer that was given before."""
    headers = {"content-type": "application/json", **answer.headers, "Idempotency-Replayed": "true"}
    return Response(answer.body, answer.status, headers)


class Once:
    """ASGI middleware around the routes."""

    def __init__(self, app: ASGIApp, settings: Settings, database: Database, admission: Admission) -> None:
        self.app, self.settings, self.database, self.admission = app, settings, database, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        key = Headers(scope=scope).get(HEADER) if scope["type"] == "http" and scope["method"] == "POST" else None
        if key is None:
            await self.app(scope, receive, send)
            return
        if not _KEY.fullmatch(key):
            expected = "expected up to 255 visible characters"
            detail = f"the {HEADER} is empty, too long or holds spaces; {expected}"
            raise ValidationFailed(detail, [FieldError(f"header:{HEADER}", expected)])
        identity = await self.admission.admit(Request(scope))
        body = await _whole(receive)
        path = str(scope["path"])[:256]
        digest = once.digest_of(path, scope.get("query_string", b"").decode("latin-1"), body=body)
        ticket = Ticket(identity.key_id, key, "POST", path, digest, self.settings.idempotency_s)
        if path in OWN:
            scope["state"]["ticket"] = ticket
            await self.app(scope, _Replay(body, receive).receive, send)
            return
        await self._around(ticket, scope, _Replay(body, receive).receive, send)

    async def _around(self, ticket: Ticket, scope: Scope, receive: Receive, send: Send) -> None:
        moment = now()
        known = await self._reserve(ticket, moment)
        if known is not None:
            await again(known)(scope, receive, send)
            return
        out = _Kept(send)

        async def keep(message: Message) -> None:
            done = out.add(message)
            if done:
                await run_in_threadpool(self._settle, ticket, moment, out.answer())
                await out.pass_on()

        try:
            await self.app(scope, receive, keep)
        except BaseException:
            if not out.passed:
                await run_in_threadpool(self._settle, ticket, moment, None)
            raise

    async def _reserve(self, ticket: Ticket, moment: Any) -> Answer | None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await run_in_threadpool(self._take, ticket, moment)
            except InProgress:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(PAUSE_S)

    def _take(self, ticket: Ticket, moment: Any) -> Answer | None:
        with self.database.session() as session:
            return once.reserve(session, ticket, moment)

    def _settle(self, ticket: Ticket, moment: Any, answer: Answer | None) -> None:
        with self.database.session() as session:
            # what was refused has done nothing: it may be tried again under the same key
            if answer is not None and 200 <= answer.status < 300:
                once.finish(session, ticket, moment, answer)
            else:
                once.release(session, ticket, moment)


async def _whole(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


class _Replay:
    """Gives a body that was read again, then whatever comes."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def receive(self) -> Message:
        """The next message."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Kept:
    """Holds an answer until it is whole."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._messages: list[Message] = []
        self.passed = False

    def add(self, message: Message) -> bool:
        """Take a piece; True when it was the last."""
        self._messages.append(message)
        return message["type"] == "http.response.body" and not message.get("more_body", False)

    def answer(self) -> Answer:
        """The answer as it is kept."""
        start = self._messages[0]
        headers = Headers(raw=start["headers"])
        body = b"".join(m.get("body", b"") for m in self._messages if m["type"] == "http.response.body")
        kept = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
        return Answer(start["status"], body.decode("utf-8", "replace"), kept)

    async def pass_on(self) -> None:
        """Send it."""
        self.passed = True
        for message in self._messages:
            await self._send(message)
