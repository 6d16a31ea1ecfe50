"""What can go wrong between a client and its platform."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medcoss.client.job_records import Job
    from medcoss.client.records import Deployment


class ClientError(Exception):
    """Base of this package's errors; the message is for people."""


class NotConfigured(ClientError):
    """No server or no key was given, and none could be found."""


class ServerUnreachable(ClientError):
    """The server did not answer."""


class UnexpectedAnswer(ClientError):
    """Something answered that does not speak this API."""


class TransferFailed(ClientError):
    """A file could not be sent to or fetched from the object store; the message names it."""


class FileChanged(TransferFailed):
    """A file changed while it was being uploaded."""


class DamagedFile(TransferFailed):
    """A fetched file is not the one that was recorded."""


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field; `pointer` is a JSON pointer into the request."""

    pointer: str
    detail: str


class ApiError(ClientError):
    """The server refused: a problem document (RFC 9457).

    `errors` names each wrong field; `request_id` is what the server's log knows the request by.
    """

    def __init__(
        self, status: int, title: str, detail: str, errors: list[FieldProblem] | None = None, request_id: str = ""
    ) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors or []
        self.request_id = request_id

    @classmethod
    def from_problem(cls, status: int, document: dict[str, Any], request_id: str = "") -> "ApiError":
        """The error that a problem document describes."""
        errors = [
            FieldProblem(str(entry.get("pointer", "")), str(entry.get("detail", "")))
            for entry in document.get("errors") or []
            if isinstance(entry, dict)
        ]
        return cls(
            status,
            str(document.get("title", "Error")),
            str(document.get("detail", "")),
            errors,
            str(document.get("request_id") or request_id),
        )


class JobEnded(ClientError):
    """A job that was waited for ended without success; `job` is its last state."""

    def __init__(self, message: str, job: "Job") -> None:
        super().__init__(message)
        self.job = job


class JobFailed(JobEnded):
    """The job failed; the message holds why."""


class JobCancelled(JobEnded):
    """The job was cancelled."""


class DeploymentFailed(ClientError):
    """A version that was waited for has failed; `deployment` is its last state, the message holds why."""

    def __init__(self, message: str, deployment: "Deployment") -> None:
        super().__init__(message)
        self.deployment = deployment
