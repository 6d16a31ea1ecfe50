"""Errors to problem documents (RFC 9457), in one place."""

from collections.abc import Callable, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from minio.error import MinioException
from pydantic import BaseModel, Field
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from urllib3.exceptions import HTTPError

from services.core.errors import (
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    InProgress,
    MedcossError,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    TooLarge,
    TooMany,
    TooSlow,
    Unauthorized,
    Unavailable,
    ValidationFailed,
)

RETRY_AFTER_S = 5
MEDIA_TYPE = "application/problem+json"
_log = structlog.get_logger()


class FieldProblem(BaseModel):
    """What is wrong with one field: a JSON pointer into the body, or `query:`, `header:`, `part:` and a name."""

    pointer: str = Field(description="JSON pointer into the body, or `query:`, `header:`, `part:` and a name")
    detail: str = Field(description="what was expected")


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(description="urn that names the kind of problem")
    title: str = Field(description="the kind in words")
    status: int = Field(description="HTTP status")
    detail: str = Field(description="what was wrong, what was expected, what to do")
    errors: list[FieldProblem] = Field([], description="each wrong field")
    etag: str | None = Field(None, description="the present version, where another one was expected")
    request_id: str = Field(description="finds the request in the server's log; also in X-Request-Id")


_MEANINGS = {
    400: "The body cannot be read",
    401: "No key, or one that is not known, has expired or was revoked",
    403: "The key's role does not allow it",
    404: "There is no such thing, or it is another project's",
    408: "The body took too long",
    413: "The body, or what it announces, is over a limit",
    422: "Fields are wrong; `errors` names each",
    429: "More than the caller is allowed; `Retry-After` says when to try again, where waiting helps",
    503: "A part that is needed does not answer; `Retry-After` says when to try again",
}
_EXAMPLES: dict[int, MedcossError] = {
    400: BadRequest("the body is no JSON: Expecting value at 12"),
    401: Unauthorized("the key is not known; ask an administrator for one"),
    403: Forbidden("the key 'ada' has the role viewer; this call needs operator"),
    404: NotFound("there is no job job_0199c2b44550a1b2c3d4e"),
    408: TooSlow("the body did not arrive within 60 s"),
    409: Conflict("job job_0199c2b44550a1b2c3d4e has already succeeded; it cannot be cancelled"),
    412: PreconditionFailed("it was changed meanwhile: GET it again and send its new ETag in If-Match", '"4b1e-9a63"'),
    413: TooLarge("the request is larger than 64 MiB; files go to the object store directly"),
    422: ValidationFailed(
        "/spec/mask_ratio: Input should be less than 1",
        [FieldError("/spec/mask_ratio", "Input should be less than 1")],
    ),
    428: PreconditionRequired("say which version you change: GET it first and send its ETag in the header If-Match"),
    429: TooMany("more than 500 requests a second; the next one may come in 1 s", 1),
    503: Unavailable("the database does not answer; try again in 5 seconds"),
}


def response(status: int, meaning: str | None = None) -> dict[str, Any]:
    """How OpenAPI tells of one problem."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": meaning or _MEANINGS[status], "content": content}


# what every route may answer
RESPONSES: dict[int | str, dict[str, Any]] = {status: response(status) for status in _MEANINGS if status != 400}


def responses(**others: str) -> dict[int | str, dict[str, Any]]:
    """The problems of one route beyond RESPONSES: `conflict=`, `too_large=` and what they mean there."""
    numbers = {"conflict": 409, "too_large": 413}
    return {numbers[name]: response(numbers[name], text) for name, text in others.items()}


def example(status: int) -> dict[str, Any]:
    """A problem document as it may look."""
    return Problem(**_EXAMPLES[status].problem(), request_id="req_0199c2b4455a1b2c3d4e5").model_dump(mode="json")


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
    return str(entry["msg"]).removeprefix("Value error, ")


def invalid(errors: list[FieldError]) -> ValidationFailed:
    """One error that names every wrong field."""
    return ValidationFailed("; ".join(f"{e.pointer or 'body'}: {e.detail}" for e in errors), errors)


def _invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    fields = []
    for entry in error.errors():
        if entry["type"] == "json_invalid":
            return answer(request, BadRequest(f"the body is no JSON: {entry['ctx']['error']} at {entry['loc'][-1]}"))
        place, *inner = entry["loc"]
        # what is not in the body has no JSON pointer; the parameter's name says where it is
        where = pointer(inner) if place == "body" else f"{place}:{inner[0] if inner else ''}"
        fields.append(FieldError(where, _words(entry)))
    return answer(request, invalid(fields))


def _routing(request: Request, error: HTTPException) -> JSONResponse:
    detail = f"{request.method} {request.url.path}: {error.detail}; see /docs for what there is"
    document = {"type": "about:blank", "title": str(error.detail), "status": error.status_code, "detail": detail}
    return _answer(request, document, dict(error.headers or {}))


def _away(part: str) -> Callable[[Request, Exception], JSONResponse]:
    def unavailable(request: Request, error: Exception) -> JSONResponse:
        _log.error("part_away", part=part, error=type(error).__name__)
        return answer(request, Unavailable(f"{part} does not answer; try again in {RETRY_AFTER_S} seconds"))

    return unavailable


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
    handlers |= dict.fromkeys((OperationalError, InterfaceError, PoolTimeout), _away("the database"))
    handlers |= dict.fromkeys((MinioException, HTTPError), _away("the object store"))
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Add the schema of problem documents to an OpenAPI document, in place of FastAPI's own."""
    schemas = document["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= schemas["Problem"].pop("$defs")
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document
