"""ETags: what a client has seen is not sent again, and nobody changes what somebody else has changed meanwhile.

The ETag of an answer is strong and has two parts, `"<edition>-<content>"`: the edition is made of what people may
change, the content of the whole answer. `If-None-Match` looks at both. `If-Match` looks at the edition, so that a
job's progress does not stand in the way of changing its notes.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated

from fastapi import Header, Request
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.core.errors import PreconditionFailed, PreconditionRequired

IfMatch = Annotated[
    str | None,
    Header(max_length=2048, description="the ETag of what was seen; * for any", examples=['"4b1e2f-9a63c0d1"']),
]


def edition(view: BaseModel, fields: Iterable[str]) -> str:
    """What people may change of a thing, as a short digest."""
    text = json.dumps(view.model_dump(mode="json", include=set(fields)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seen(request: Request, view: BaseModel, fields: Iterable[str]) -> None:
    """Let the ETag of this answer carry the edition of what it shows."""
    request.state.edition = edition(view, fields)


def check(if_match: str | None, current: BaseModel, fields: Iterable[str]) -> None:
    """PreconditionRequired without If-Match; PreconditionFailed when the caller has not seen what is there now."""
    if if_match is None:
        raise PreconditionRequired(
            "say which version you change: GET it first and send its ETag in the header If-Match, or * for any version"
        )
    present = edition(current, fields)
    tags = [tag.strip() for tag in if_match.split(",")]
    if "*" in tags or present in {tag.strip('"').partition("-")[0] for tag in tags if not tag.startswith("W/")}:
        return
    etag = _etag(present, current.model_dump_json().encode())
    raise PreconditionFailed("it was changed meanwhile: GET it again, look, and send its new ETag in If-Match", etag)


def _etag(edition_: str, body: bytes) -> str:
    return f'"{edition_}-{hashlib.sha256(body).hexdigest()[:32]}"'


class ETags:
    """ASGI middleware: an ETag on every JSON answer to a GET or a PATCH, 304 for what is known."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] not in {"GET", "PATCH"}:
            await self.app(scope, receive, send)
            return
        await self.app(scope, receive, _Tagging(scope, send).send)


class _Tagging:
    """Holds the beginning of an answer until its body is there. Answers that come in pieces go through as they are."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """One piece of the answer."""
        if message["type"] == "http.response.start" and self._is_tagged(message):
            self._start = message
            return
        if self._start is not None and message["type"] == "http.response.body":
            start, self._start = self._start, None
            body = message.get("body", b"")
            if not message.get("more_body", False):
                known = self._tag(start, body)
                body = b"" if known else body
            await self._send(start)
            message = {**message, "body": body}
        await self._send(message)

    def _is_tagged(self, message: Message) -> bool:
        kind = Headers(raw=message["headers"]).get("content-type", "")
        return message["status"] == 200 and kind.startswith("application/json")

    def _tag(self, start: Message, body: bytes) -> bool:
        """Put the ETag in; True, and status 304, when the client has this very answer."""
        etag = _etag(self._scope.get("state", {}).get("edition", "0"), body)
        headers = MutableHeaders(scope=start)
        headers["ETag"] = etag
        asked = Headers(scope=self._scope).get("if-none-match", "")
        known = {tag.strip().removeprefix("W/") for tag in asked.split(",")}
        if self._scope["method"] != "GET" or not ({"*", etag} & known):
            return False
        start["status"] = 304
        for name in ("content-length", "content-type"):
            del headers[name]
        return True
