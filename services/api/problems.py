"""Errors to problem documents (RFC 9457), in one place."""

from collections.abc import Callable, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from minio.error import MinioException
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from urllib3.exceptions import HTTPError

from services.api.patterns import WORDS
from services.core import db
from services.core.errors import (
    BadRequest,
    FieldError,
    InProgress,
    MedcossError,
    PreconditionFailed,
    TooMany,
    Unavailable,
    ValidationFailed,
)
from services.core.problems import MEDIA_TYPE, RETRY_AFTER_S, allowed, response

# an answer names no more: it must not be many times the request
MOST_ERRORS = 100
_log = structlog.get_logger()


def responses(**others: str) -> dict[int | str, dict[str, Any]]:
    """The problems of one route beyond RESPONSES: `conflict=`, `too_large=` and what they mean there."""
    numbers = {"conflict": 409, "too_large": 413}
    return {numbers[name]: response(numbers[name], text) for name, text in others.items()}


# what a route that changes something may answer
CHANGED: dict[int | str, dict[str, Any]] = {
    412: response(412, "It was changed meanwhile; `etag` and the header ETag say what it is now"),
    428: response(428, "`If-Match` is missing"),
}


def _answer(request: Request, document: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    document["request_id"] = getattr(request.state, "request_id", "")
    return JSONResponse(document, status_code=document["status"], media_type=MEDIA_TYPE, headers=headers)


def answer(request: Request, error: MedcossError) -> JSONResponse:
    """The problem document of an error."""
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": str(RETRY_AFTER_S)}}.get(error.status)
    if isinstance(error, TooMany | InProgress) and error.retry_after_s is not None:
        headers = {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, PreconditionFailed):
        headers = {"ETag": error.etag}
    return _answer(request, error.problem(), headers)


def pointer(location: Sequence[int | str]) -> str:
    """JSON pointer of a place in the request body, as pydantic gives it; the whole body is ""."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def field_errors(errors: Sequence[Any], *start: int | str) -> list[FieldError]:
    """Pydantic's errors with pointers below `start`, in words that say what to do."""
    return [FieldError(pointer([*start, *entry["loc"]]), _words(entry)) for entry in errors]


def _words(entry: dict[str, Any]) -> str:
    if entry["type"] == "extra_forbidden":
        return "there is no such field"
    if entry["type"] == "string_pattern_mismatch" and str(entry["ctx"]["pattern"]).startswith(("^ds_", "^mdl_")):
        start = str(entry["ctx"]["pattern"])[1:].split("_")[0]
        alias = " or an alias like @production" if start == "mdl" else ""
        return f"expected an identifier like {start}_0123456789abcdef01234{alias}"
    if entry["type"] == "string_pattern_mismatch" and entry["ctx"]["pattern"] in WORDS:
        return f"expected {WORDS[entry['ctx']['pattern']]}"
    return str(entry["msg"]).removeprefix("Value error, ")


def in_words(errors: Sequence[FieldError], number: int) -> str:
    """The first of `number` errors in words."""
    left = number - len(errors)
    said = [f"{e.pointer or 'body'}: {e.detail}" for e in errors] + ([f"and {left} more"] if left > 0 else [])
    return "; ".join(said)


def invalid(errors: list[FieldError], number: int) -> ValidationFailed:
    """One error that names the wrong fields, the first of `number`."""
    return ValidationFailed(in_words(errors, number), errors)


async def _invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    fields, found = [], error.errors()
    for entry in found[:MOST_ERRORS]:
        if entry["type"] == "json_invalid":
            # bodies are read before keys
            await request.app.state.parts.admission.admit(request)
            return answer(request, BadRequest(f"the body is no JSON: {entry['ctx']['error']} at {entry['loc'][-1]}"))
        place, *inner = entry["loc"]
        # what is not in the body has no JSON pointer; the parameter's name says where it is
        where = pointer(inner) if place == "body" else f"{place}:{inner[0] if inner else ''}"
        fields.append(FieldError(where, _words(entry)))
    return answer(request, invalid(fields, len(found)))


async def _routing(request: Request, error: HTTPException) -> JSONResponse:
    if error.status_code == 400:
        await request.app.state.parts.admission.admit(request)
        unreadable = "the body cannot be read as JSON: not UTF-8, nested too deeply or a number with too many digits"
        return answer(request, BadRequest(unreadable))
    detail = f"{request.method} {request.url.path}: {error.detail}; see /docs for what there is"
    document = {"type": "about:blank", "title": str(error.detail), "status": error.status_code, "detail": detail}
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = allowed(request.app.routes, request.scope)
    return _answer(request, document, headers)


def away(part: str, error: Exception) -> Unavailable:
    """The problem of a part that does not answer; what it said is for the log."""
    _log.error("part_away", part=part, error=type(error).__name__)
    return Unavailable(f"{part} does not answer; try again in {RETRY_AFTER_S} seconds")


def _away(part: str) -> Callable[[Request, Exception], JSONResponse]:
    return lambda request, error: answer(request, away(part, error))


def _not_storable(request: Request, _: DataError) -> JSONResponse:
    return answer(request, ValidationFailed("the request holds a character or a number that cannot be stored"))


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    handlers: dict[type[Exception], Any] = {
        MedcossError: answer,
        RequestValidationError: _invalid_request,
        HTTPException: _routing,
        DataError: _not_storable,
    }
    handlers |= dict.fromkeys(db.AWAY, _away("the database"))
    handlers |= dict.fromkeys((MinioException, HTTPError), _away("the object store"))
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
