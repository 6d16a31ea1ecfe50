"""The one hierarchy of errors that reach a client, each a problem document (RFC 9457)."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field; `pointer` is a JSON pointer into the request (RFC 6901)."""

    pointer: str
    detail: str


class MedcossError(Exception):
    """Base of all errors that a client is told of."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    kind: ClassVar[str] = "internal"

    def __init__(self, detail: str, errors: list[FieldError] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []

    def problem(self) -> dict[str, Any]:
        """The problem document, without the request id."""
        document: dict[str, Any] = {
            "type": f"urn:medcoss:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [asdict(error) for error in self.errors]
        return document


class BadRequest(MedcossError):
    """The request cannot be read."""

    status, title, kind = 400, "Bad request", "bad-request"


class Unauthorized(MedcossError):
    """No key, or one that is not good."""

    status, title, kind = 401, "Key needed", "unauthorized"


class Forbidden(MedcossError):
    """The key's role does not allow it."""

    status, title, kind = 403, "Not allowed", "forbidden"


class NotFound(MedcossError):
    """There is no such thing."""

    status, title, kind = 404, "Not found", "not-found"


class Conflict(MedcossError):
    """The thing is in a state that does not allow it."""

    status, title, kind = 409, "Conflict", "conflict"


class InProgress(Conflict):
    """The same request is being carried out at this moment."""

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class TooSlow(MedcossError):
    """The request did not arrive in time."""

    status, title, kind = 408, "Too slow", "too-slow"


class NotAcceptable(MedcossError):
    """None of the formats that the caller takes can be given."""

    status, title, kind = 406, "Format not offered", "not-acceptable"


class PreconditionFailed(MedcossError):
    """It is not what the caller has seen; `etag` is what it is now."""

    status, title, kind = 412, "Changed meanwhile", "precondition-failed"

    def __init__(self, detail: str, etag: str) -> None:
        super().__init__(detail)
        self.etag = etag

    def problem(self) -> dict[str, Any]:
        """The problem document, with the present ETag."""
        return super().problem() | {"etag": self.etag}


class PreconditionRequired(MedcossError):
    """The caller has to say what it has seen."""

    status, title, kind = 428, "If-Match needed", "precondition-required"


class TooLarge(MedcossError):
    """Larger than the limit."""

    status, title, kind = 413, "Too large", "too-large"


class UnsupportedMedia(MedcossError):
    """Not a format this call takes."""

    status, title, kind = 415, "Unsupported format", "unsupported-media"


class ValidationFailed(MedcossError):
    """Fields are wrong; each is named in `errors`."""

    status, title, kind = 422, "Invalid input", "validation-failed"


class TooMany(MedcossError):
    """More than the caller is allowed; `retry_after_s` when waiting helps."""

    status, title, kind = 429, "Too many", "too-many"

    def __init__(self, detail: str, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unavailable(MedcossError):
    """A part that is needed does not answer."""

    status, title, kind = 503, "Not available", "unavailable"


class TimedOut(MedcossError):
    """The work took longer than the caller is made to wait."""

    status, title, kind = 504, "Took too long", "timed-out"
