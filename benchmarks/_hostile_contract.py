"""What an answer must be: told of in the OpenAPI document, whole, quick, and silent about the inside."""

import http.client
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from jsonschema import Draft202012Validator

PROBLEM = "application/problem+json"
# on a machine that does other things, too; what an answer costs is measured elsewhere
SLOW_S = 10.0
ANSWERED_BYTES = 65_536
# of our code, of Python, of SQL
_INSIDE = re.compile(
    r"Traceback|site-packages|\.py\b|\bservices\.(api|core|inference)\b|sqlalchemy|psycopg|sqlite3|\[SQL:|syntax error|"
    r"no such (table|column)|0x[0-9a-f]{8,}",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Operation:
    """One operation of an OpenAPI document."""

    method: str
    path: str
    told: dict[str, Any]

    @property
    def name(self) -> str:
        """Its operationId."""
        return str(self.told["operationId"])

    @property
    def needs_key(self) -> bool:
        """True unless anybody may call it."""
        return self.path.startswith("/v1/")

    @property
    def takes(self) -> list[str]:
        """The names in its path."""
        return _PLACEHOLDER.findall(self.path)

    @property
    def streams(self) -> bool:
        """True when its good answers have no end."""
        return any("text/event-stream" in answer.get("content", {}) for answer in self.told["responses"].values())

    def parameters(self, place: str) -> list[str]:
        """The names of its parameters in `query` or `header`."""
        return [p["name"] for p in self.told.get("parameters", []) if p["in"] == place]

    def bodies(self) -> list[Any]:
        """JSON bodies that its document shows."""
        media = self.told.get("requestBody", {}).get("content", {}).get("application/json", {})
        shown = [media["example"]] if "example" in media else []
        return shown + [one["value"] for one in media.get("examples", {}).values()]

    def at(self, ids: Mapping[str, str], otherwise: str = "x0123456789abcdef") -> str:
        """Its path with identifiers filled in."""
        return _PLACEHOLDER.sub(lambda found: ids.get(found[1], otherwise), self.path)

    def asked(self, ids: Mapping[str, str]) -> dict[str, str]:
        """The identifiers in the query that it cannot do without."""
        needed = [p["name"] for p in self.told.get("parameters", []) if p["in"] == "query" and p.get("required")]
        return {name: ids[name] for name in needed if name in ids}


@dataclass(frozen=True)
class Attack:
    """One request. `expected`: the only statuses that will do, where those of the document are too many.

    `twin` is the same request for what nobody has: but for the identifiers, `named`, the answers must be the same.
    """

    kind: str
    operation: Operation | None
    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    expected: frozenset[int] = frozenset()
    named: tuple[str, ...] = ()
    twin: "Attack | None" = None

    def words(self) -> str:
        """A line that finds it again."""
        return f"{self.kind}: {self.method} {self.target[:160]} {self.body[:160] if self.body else ''!r}"


@dataclass(frozen=True)
class Answer:
    """What came back, of a stream its beginning."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class Line:
    """A connection that sends requests as they are: nothing is normalised on the way."""

    def __init__(self, url: str) -> None:
        self.place = urlsplit(url)
        self._connection: http.client.HTTPConnection | None = None

    def send(self, attack: Attack) -> Answer:
        """The answer; what a kept connection has lost is sent once more on a new one."""
        try:
            return self._send(attack)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.close()
            return self._send(attack)

    def _send(self, attack: Attack) -> Answer:
        began = time.monotonic()
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self.place.hostname or "", self.place.port, timeout=60)
        connection = self._connection
        connection.putrequest(attack.method, attack.target, skip_accept_encoding=True)
        for name, value in attack.headers.items():
            connection.putheader(name, value.encode("utf-8", "surrogateescape"))
        if attack.body is not None:
            connection.putheader("Content-Length", str(len(attack.body)))
        connection.endheaders(attack.body)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        endless = headers.get("content-type", "").startswith("text/event-stream")
        body = response.read1(ANSWERED_BYTES) if endless else response.read()
        if endless or response.will_close:
            self.close()
        return Answer(response.status, headers, body, time.monotonic() - began)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class Contract:
    """The OpenAPI document of a service, and what no answer of it may hold."""

    def __init__(self, document: dict[str, Any], secrets: list[str]) -> None:
        self._components, self._secrets = document["components"], secrets
        self._validators: dict[str, Draft202012Validator] = {}
        self.operations = [
            Operation(method.upper(), path, told)
            for path, methods in document["paths"].items() for method, told in methods.items()
        ]  # fmt: skip

    def violations(self, attack: Attack, answer: Answer) -> Iterator[str]:
        """What is wrong with an answer."""
        if answer.status >= 500:
            yield f"answered {answer.status}: {answer.body[:200]!r}"
        if attack.expected and answer.status not in attack.expected:
            yield f"answered {answer.status}, expected {sorted(attack.expected)}: {answer.body[:200]!r}"
        if answer.seconds > SLOW_S:
            yield f"took {answer.seconds:.1f} s"
        for name in ("x-request-id", "x-content-type-options", "cache-control"):
            if name not in answer.headers:
                yield f"has no header {name}"
        if answer.status >= 400:
            yield from self._of_problem(attack, answer)
        yield from self._of_document(attack, answer)
        text = answer.body.decode("utf-8", "replace") + str(dict(answer.headers))
        # keys are shown to those who make them
        if any(secret in text for secret in self._secrets):
            yield "tells a secret"

    def _of_problem(self, attack: Attack, answer: Answer) -> Iterator[str]:
        kind = answer.headers.get("content-type")
        if kind != PROBLEM:
            yield f"{answer.status} is no problem document but {kind}: {answer.body[:100]!r}"
            return
        document = json.loads(answer.body)
        wrong = next(self._validator("Problem", {"$ref": "#/components/schemas/Problem"}).iter_errors(document), None)
        if wrong is not None:
            yield f"is no problem document: {wrong.message}"
        elif document["status"] != answer.status or document["request_id"] != answer.headers.get("x-request-id"):
            yield "status or request id of the problem are not those of the answer"
        # what was sent may come back in words
        sent = unquote(attack.target) + str(attack.headers) + str(attack.body)
        shown = _INSIDE.search(answer.body.decode("utf-8", "replace"))
        if shown is not None and shown[0] not in sent:
            yield f"shows the inside: {shown[0]}"

    def _of_document(self, attack: Attack, answer: Answer) -> Iterator[str]:
        if attack.operation is None:
            return
        told = attack.operation.told["responses"].get(str(answer.status))
        if told is None:
            # a name with a slash in it leads to other routes
            if answer.status not in {404, 405}:
                yield f"answered {answer.status}, which is not told of: {answer.body[:100]!r}"
            return
        missing = [name for name in told.get("headers", {}) if name.lower() not in answer.headers]
        if missing and answer.status != 429:
            yield f"{answer.status} has no header {', '.join(missing)}"
        media = told.get("content", {}).get("application/json")
        if media is not None and answer.status < 300:
            key = f"{attack.operation.name} {answer.status}"
            wrong = next(self._validator(key, media["schema"]).iter_errors(json.loads(answer.body)), None)
            if wrong is not None:
                yield f"{answer.status} is not what the document says: {wrong.message[:200]}"

    def _validator(self, key: str, schema: dict[str, Any]) -> Draft202012Validator:
        if key not in self._validators:
            self._validators[key] = Draft202012Validator(schema | {"components": self._components})
        return self._validators[key]
