"""Requests to one server: retries where they are safe, errors as exceptions."""

import ipaddress
import secrets
import threading
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from medcoss.client.errors import ApiError, ServerUnreachable, UnexpectedAnswer

R = TypeVar("R", bound=BaseModel)

PAUSES_S = (0.2, 0.5, 1.0)
LONGEST_PAUSE_S = 5.0
CONNECT_TIMEOUT_S = 10.0
# more than allowed; the same request is being carried out
WAIT = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.CONFLICT})
IDEMPOTENT = frozenset({"GET", "PUT", "DELETE"})
# an answer that is only late is not asked for again
BROKEN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


def is_loopback(host: str) -> bool:
    """True for addresses of this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Connections:
    """The HTTP connections of a client, to any host. Proxies are never used towards this machine."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        self._clients: dict[bool, httpx.Client] = {}
        self._lock = threading.Lock()

    def to(self, url: str) -> httpx.Client:
        """The client for a URL; it may be used from several threads."""
        local = is_loopback(httpx.URL(url).host)
        with self._lock:
            if local not in self._clients:
                self._clients[local] = httpx.Client(trust_env=not local, timeout=self._timeout)
            return self._clients[local]

    def close(self) -> None:
        """Close them all."""
        for client in self._clients.values():
            client.close()


class Transport:
    """Calls one server with one key."""

    def __init__(self, connections: Connections, server: str, key: str, advice: str) -> None:
        self.server = server
        self._connections, self._advice = connections, advice
        self._headers = {"Authorization": f"Bearer {key}"}

    def call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        json: Any = None,
        content: Any = None,
        headers: dict[str, str] | None = None,
        idempotent: bool | None = None,
        once: bool = False,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """Send a request and return the good answer. With `once` it carries a key of its own, under which the server
        carries it out once, however often it is sent.

        Connection errors and 503 are tried again when the call is idempotent (by default: GET, PUT, DELETE); what was
        refused because the key calls too often was not done, and is tried again always.
        Raises ApiError for every answer that is not a success, ServerUnreachable when there is none.
        """
        extra: dict[str, Any] = {}
        if once:
            idempotent, headers = True, {"Idempotency-Key": secrets.token_urlsafe(24)} | (headers or {})
        if timeout_s is not None:
            extra["timeout"] = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        wanted = {name: value for name, value in (params or {}).items() if value is not None}
        again = list(PAUSES_S) if (method in IDEMPOTENT if idempotent is None else idempotent) else []
        calmer = list(PAUSES_S)
        url = self.server + path
        while True:
            if hasattr(content, "seek"):
                content.seek(0)
            try:
                response = self._connections.to(url).request(
                    method, url, params=wanted, json=json, content=content, headers=self._headers | (headers or {}),
                    **extra,
                )  # fmt: skip
            except httpx.HTTPError as error:
                if not again or not isinstance(error, BROKEN):
                    raise ServerUnreachable(self.silence(error)) from error
                pause = again.pop(0)
            else:
                if response.is_success:
                    return response
                waits = again if response.status_code == httpx.codes.SERVICE_UNAVAILABLE else []
                if response.status_code in WAIT and "retry-after" in response.headers:
                    waits = calmer
                if not waits:
                    raise problem(response)
                pause = max(waits.pop(0), _asked_pause(response))
            threading.Event().wait(pause)

    def stream(self, path: str, params: dict[str, Any], headers: dict[str, str], timeout: httpx.Timeout,
               method: str = "GET", **body: Any) -> AbstractContextManager[httpx.Response]:  # fmt: skip
        """An answer that is read as it comes; nothing is tried again. Raises httpx.HTTPError."""
        url = self.server + path
        wanted = {name: value for name, value in params.items() if value is not None}
        return self._connections.to(url).stream(
            method, url, params=wanted, headers=self._headers | headers, timeout=timeout, **body
        )  # fmt: skip

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        """The JSON document at `path`."""
        return self.document(self.call("GET", path, params=params))

    def change(self, record: type[R], path: str, body: dict[str, Any], if_match: str | None = None) -> R:
        """PATCH the thing at `path`: what is None in `body` stays. `if_match` is the ETag of what was seen, by default
        of what is there now. Raises ApiError (412) when somebody has changed it meanwhile.
        """
        etag = if_match or self.call("GET", path).headers.get("etag", "*")
        wanted = {name: value for name, value in body.items() if value is not None}
        return self.read(record, self.call("PATCH", path, json=wanted, headers={"If-Match": etag}))

    def read(self, record: type[R], response: httpx.Response) -> R:
        """The record in an answer. Raises UnexpectedAnswer when it is none."""
        return self.parse(record, self.document(response))

    def document(self, response: httpx.Response) -> Any:
        """The JSON document in an answer. Raises UnexpectedAnswer when it is none."""
        try:
            return response.json()
        except ValueError as error:
            raise UnexpectedAnswer(self._strange(response.url.path)) from error

    def parse(self, record: type[R], document: Any) -> R:
        """The record in a document. Raises UnexpectedAnswer when it is none."""
        try:
            return record.model_validate(document)
        except ValidationError as error:
            raise UnexpectedAnswer(self._strange(record.__name__)) from error

    def _strange(self, what: str) -> str:
        return f"{self.server} gave an answer that is not medcoss's ({what}); is this the address of the right server?"

    def silence(self, error: httpx.HTTPError) -> str:
        """What to tell of a server that does not answer."""
        reason = "too slow" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
        return f"the server at {self.server} does not answer ({reason.partition('] ')[2] or reason}); {self._advice}"


def _asked_pause(response: httpx.Response) -> float:
    asked = response.headers.get("retry-after", "")
    return min(float(asked), LONGEST_PAUSE_S) if asked.isdigit() else 0.0


def problem(response: httpx.Response) -> ApiError:
    """The error in an answer, whether it is a problem document or not."""
    response.read()
    try:
        document = response.json()
    except ValueError:
        document = None
    request_id = response.headers.get("x-request-id", "")
    if isinstance(document, dict) and "detail" in document:
        return ApiError.from_problem(response.status_code, document, request_id)
    title = response.reason_phrase or f"Status {response.status_code}"
    return ApiError(response.status_code, title, response.text[:200].strip(), request_id=request_id)
