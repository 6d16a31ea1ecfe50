"""Every error of the gateway as a problem document (RFC 9457)."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from medcoss.run import BadInput
from services.core import db
from services.core.errors import FieldError, MedcossError, TooMany, Unauthorized, Unavailable, ValidationFailed
from services.core.problems import MEDIA_TYPE, RETRY_AFTER_S, allowed

log = structlog.get_logger(__name__)


def problem_response(error: MedcossError, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer to a request that ended in `error`."""
    return _response(error.problem(), {**_headers(error), **(headers or {})})


def as_error(error: BadInput | MedcossError) -> MedcossError:
    """Files and texts that cannot be used, as what a client is told."""
    if isinstance(error, MedcossError):
        return error
    pointer = "/text" if error.where == "text" else "/file"
    return ValidationFailed(str(error), [FieldError(pointer, str(error))])


def document(error: MedcossError) -> dict[str, Any]:
    """The problem document of `error`, with the id of the request."""
    return _with_id(error.problem())


def _with_id(problem: dict[str, Any]) -> dict[str, Any]:
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return problem | ({"request_id": request_id} if request_id else {})


def _response(problem: dict[str, Any], headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(_with_id(problem), problem["status"], headers, media_type=MEDIA_TYPE)


def _headers(error: MedcossError) -> dict[str, str]:
    if isinstance(error, Unavailable):
        return {"Retry-After": str(RETRY_AFTER_S)}
    if isinstance(error, TooMany) and error.retry_after_s is not None:
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    return {}


async def _known(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MedcossError)
    return problem_response(error)


async def _database_away(_request: Request, error: Exception) -> JSONResponse:
    log.error("the database does not answer", error=type(error).__name__)
    return problem_response(Unavailable("the database does not answer; try again in a few seconds"))


async def _bad_input(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BadInput)
    return problem_response(as_error(error))


async def _bad_parameter(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldError("/" + "/".join(str(part) for part in entry["loc"]), str(entry["msg"])) for entry in error.errors()
    ]
    detail = "; ".join(f"{entry.pointer}: {entry.detail}" for entry in errors)
    return problem_response(ValidationFailed(detail, errors))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    document = {
        "type": "about:blank",
        "title": str(error.detail),
        "status": error.status_code,
        "detail": str(error.detail),
    }
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = allowed(request.app.routes, request.scope)
    return _response(document, headers)


def install(app: FastAPI) -> None:
    """Answer all errors of `app` with problem documents."""
    app.add_exception_handler(MedcossError, _known)
    for kind in db.AWAY:
        app.add_exception_handler(kind, _database_away)
    app.add_exception_handler(BadInput, _bad_input)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(HTTPException, _http)
