"""Errors to problem documents (RFC 9457), in one place, and the request id that every response carries."""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from services.core.errors import FieldError, MedcossError, ValidationFailed
from services.core.ids import new_id

_log = structlog.get_logger()


def _answer(request: Request, document: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    document["request_id"] = getattr(request.state, "request_id", "")
    return JSONResponse(
        document, status_code=document["status"], media_type="application/problem+json", headers=headers
    )


def pointer(location: tuple[int | str, ...]) -> str:
    """JSON pointer of a place in the request body, as pydantic gives it."""
    parts = [str(part) for part in location]
    return "/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in parts)


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document and give every response its X-Request-Id."""

    @app.exception_handler(MedcossError)
    def known(request: Request, error: MedcossError) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return _answer(request, error.problem(), headers)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        fields = []
        for entry in error.errors():
            place, *inner = entry["loc"]
            # what is not in the body has no JSON pointer; the parameter's name says where it is
            where = pointer(tuple(inner)) if place == "body" else f"{place}:{'.'.join(map(str, inner))}"
            fields.append(FieldError(where, str(entry["msg"]).removeprefix("Value error, ")))
        detail = "; ".join(f"{f.pointer}: {f.detail}" for f in fields)
        return _answer(request, ValidationFailed(detail, fields).problem())

    @app.exception_handler(HTTPException)
    def routing(request: Request, error: HTTPException) -> JSONResponse:
        detail = f"{request.method} {request.url.path}: {error.detail}; see /docs for what there is"
        document = {"type": "about:blank", "title": str(error.detail), "status": error.status_code, "detail": detail}
        return _answer(request, document, dict(error.headers or {}))

    @app.middleware("http")
    async def identify(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        request_id = new_id("req")
        request.state.request_id = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                response = await call_next(request)
            except Exception:  # noqa: BLE001 - the last resort
                # the trace is for the log; the client gets the id to ask about
                _log.exception("unhandled", method=request.method, path=request.url.path)
                detail = f"something went wrong on our side; the log knows it as {request_id}"
                response = _answer(request, MedcossError(detail).problem())
        response.headers["X-Request-Id"] = request_id
        return response
