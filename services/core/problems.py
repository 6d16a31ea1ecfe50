"""Problem documents (RFC 9457) as OpenAPI tells of them: their schema, what each status means, examples."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, Field

from services.core.errors import (
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    MedcossError,
    NotAcceptable,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    TimedOut,
    TooLarge,
    TooMany,
    TooSlow,
    Unauthorized,
    Unavailable,
    ValidationFailed,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_REQUEST_ID = {"X-Request-Id": {"description": "finds the request in the server's log", "schema": {"type": "string"}}}
_WAIT = {"description": "when to try again", "schema": {"type": "integer", "minimum": 0}}
_SCHEME = {"description": "how to sign in", "schema": {"type": "string"}}
ETAG = {"ETag": {"description": "the version of this answer", "schema": {"type": "string"}}}
_HEADERS: dict[str, dict[str, Any]] = {
    "412": ETAG,
    "401": {"WWW-Authenticate": _SCHEME},
    "429": {"Retry-After": _WAIT},
    "503": {"Retry-After": _WAIT},
}
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class FieldProblem(BaseModel):
    """What is wrong with one field of the body, or with a parameter."""

    pointer: str = Field(description="JSON pointer into the body, or `path:`, `query:`, `header:`, `part:` and a name")
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


MEANINGS = {
    400: "The body cannot be read",
    401: "No key, or one that is not known, has expired or was revoked",
    403: "The key's role does not allow it",
    404: "There is no such thing, or it is another project's",
    406: "None of the formats in `Accept` can be given; `detail` names those that can",
    408: "The body took too long",
    413: "The body, or what it announces, is over a limit",
    422: "Fields are wrong; `errors` names each",
    429: "More than the caller is allowed; `Retry-After` says when to try again, where waiting helps",
    503: "A part that is needed does not answer; `Retry-After` says when to try again",
    504: "The work took longer than a caller is made to wait; it was given up",
}
_EXAMPLES: dict[int, MedcossError] = {
    400: BadRequest("the body is no JSON: Expecting value at 12"),
    401: Unauthorized("the key is not known; ask an administrator for one"),
    403: Forbidden("the key 'ada' has the role viewer; this call needs operator"),
    404: NotFound("there is no job job_0199c2b44550a1b2c3d4e"),
    406: NotAcceptable("Accept is application/pdf; an embedding is given as application/json or application/x-npy"),
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
    504: TimedOut("the answer was not ready within 300 s; the work was given up: send a smaller volume"),
}


def response(status: int, meaning: str | None = None) -> dict[str, Any]:
    """How OpenAPI tells of one problem."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": meaning or MEANINGS[status], "content": content}


# what every route of the control plane may answer; 400 with a body alone
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: response(status) for status in MEANINGS if status not in (400, 406, 504)
}


def example(status: int) -> dict[str, Any]:
    """A problem document as it may look."""
    return Problem(**_EXAMPLES[status].problem(), request_id="req_0199c2b4455a1b2c3d4e5").model_dump(mode="json")


def settle(operation: dict[str, Any]) -> None:
    """Only the problems that an operation can have, with examples and headers."""
    answers = operation["responses"]
    if "requestBody" in operation:
        answers["400"] = response(400)
    else:
        answers.pop("408", None)
    for status, answer in answers.items():
        content = answer.get("content", {})
        if MEDIA_TYPE in content:
            # shared between operations by FastAPI: written anew
            media = content[MEDIA_TYPE] | {"example": example(int(status))}
            answer["content"] = content | {MEDIA_TYPE: media}
        answer["headers"] = _REQUEST_ID | _HEADERS.get(status, {}) | answer.get("headers", {})
    operation["responses"] = dict(sorted(answers.items()))


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Add the schema of problem documents to an OpenAPI document, in place of FastAPI's own."""
    schemas = document["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= schemas["Problem"].pop("$defs")
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document


def allowed(routes: Iterable[Any], scope: Mapping[str, Any]) -> str:
    """The header `Allow` for the path of an ASGI scope: a router that refuses a method names those of one route."""
    known = [*routes]
    asked = ((method, {**scope, "method": method}) for method in METHODS)
    return ", ".join(method for method, one in asked if any(r.matches(one)[0].name == "FULL" for r in known))
