"""Hostile requests, class by class: each class is an endless stream that is a function of its random numbers.

They are made from the OpenAPI documents, so that a new route is attacked without a word here.
"""

import json
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from urllib.parse import quote, quote_from_bytes, urlencode

from benchmarks._hostile_contract import Attack, Contract, Operation
from benchmarks._hostile_platform import Project, Target
from benchmarks._hostile_values import BODIES, FILES, SQL, TRAVERSAL, TYPES, spoiled, text
from benchmarks._hostile_values import value as any_value

JSON = {"Content-Type": "application/json"}
# identifiers in examples, by what they begin with
_SHOWN_ID = re.compile(r"^(ds|mdl|job|prj|whk|msg|key|dep)_[0-9a-z]{8,}$")
_KINDS = {"ds": "dataset_id", "mdl": "model_id", "job": "job_id", "prj": "project_id", "whk": "webhook_id",
          "msg": "delivery_id", "key": "key_id", "dep": "deployment_id"}  # fmt: skip
ADMINISTRATION = ("/v1/keys", "/v1/audit")


class Cases:
    """The classes of requests against one service; `contract` is its document."""

    def __init__(self, target: Target, contract: Contract, project: Project, gateway: bool) -> None:
        self.target, self.contract, self.project = target, contract, project
        self.operations = [o for o in contract.operations if o.needs_key]
        self.with_body = [o for o in self.operations if "requestBody" in o.told]
        self.posted = [o for o in self.with_body if o.bodies()]
        common: dict[str, Callable[[Random], Iterator[Attack]]] = {
            "parameters": self.parameters, "paths": self.paths, "types": self.types, "keys": self.keys,
        }  # fmt: skip
        own = {"files": self.files} if gateway else {
            "specs": self.specs, "bodies": self.bodies, "uploads": self.uploads, "others": self.others,
        }  # fmt: skip
        self.classes = own | common

    def headers(self, key: str | None = None, **more: str) -> dict[str, str]:
        """Headers of a request with a key, by default that of an operator."""
        return {"Authorization": f"Bearer {key or self.project.keys['operator']}"} | more

    def filled(self, shown: Any, rng: Random) -> Any:
        """A body that is shown, with identifiers of mine in place of those of nobody."""
        ids = self.project.ids
        return _filled(shown, ids | {"dataset_id": ids["raw_id"]} if rng.random() < 0.5 else ids)

    def _ids(self, operation: Operation, rng: Random) -> dict[str, str]:
        """Identifiers of mine, but nothing that a good request would take away from the next one."""
        gone = operation.method == "DELETE"
        return {} if gone else self.project.ids | {"kind": rng.choice(("pretrain", "export", "nothing"))}

    def specs(self, rng: Random) -> Iterator[Attack]:
        """Jobs, alone and in batches, with a spec that is spoiled."""
        jobs = [o for o in self.posted if o.name in {"submit_job", "submit_batch"} or "validate" in o.name]
        while True:
            operation = rng.choice(jobs)
            body = self.filled(rng.choice(operation.bodies()), rng)
            held = rng.choice(body["jobs"]) if "jobs" in body else body
            if rng.random() < 0.8 and isinstance(held.get("spec"), dict):
                mark = "@@spec@@"
                whole = held["spec"]
                held["spec"] = mark
                sent = json.dumps(body).encode().replace(f'"{mark}"'.encode(), spoiled(rng, whole), 1)
            else:
                sent = spoiled(rng, body)
            yield Attack("specs", operation, operation.method, operation.path, self.headers() | JSON, sent)

    def bodies(self, rng: Random) -> Iterator[Attack]:
        """Bodies of every operation, spoiled."""
        while True:
            operation = rng.choice(self.posted)
            sent = spoiled(rng, self.filled(rng.choice(operation.bodies()), rng))
            key = self.target.admin if operation.path.startswith((*ADMINISTRATION, "/v1/projects")) else None
            headers = self.headers(key) | JSON | ({"If-Match": "*"} if operation.method == "PATCH" else {})
            yield Attack("bodies", operation, operation.method, operation.at(self._ids(operation, rng)), headers, sent)

    def uploads(self, rng: Random) -> Iterator[Attack]:
        """Datasets whose files want to be elsewhere."""
        operation = next(o for o in self.posted if o.name == "create_dataset")
        file = {"size": 3, "sha256": "0" * 64}
        while True:
            path = rng.choice(TRAVERSAL) if rng.random() < 0.7 else text(rng)
            if rng.random() < 0.3:
                path = f"a/{path}" if rng.random() < 0.5 else f"{path}/a"
            size = rng.choice((3, 3, 3, 0, -1, 2**63, 2**80, 5 * 2**40, 1.5, "3", None))
            body = {
                "name": rng.choice(("a", "a", text(rng))),
                "files": [file | {"path": path, "size": size}] * rng.choice((1, 1, 2)),
            }
            yield Attack("uploads", operation, "POST", operation.path, self.headers() | JSON,
                         json.dumps(body).encode("utf-8", "surrogatepass"))  # fmt: skip

    def others(self, rng: Random) -> Iterator[Attack]:
        """Another project's identifiers, in the path of every operation and in what bodies and queries name."""
        theirs = self.target.others
        names = [
            o for o in self.operations
            # a name that is theirs is free in a project of one's own
            if set(o.takes) & set(theirs.ids) and not o.path.startswith(ADMINISTRATION) and o.name != "promote_model"
        ]  # fmt: skip
        naming = [o for o in self.posted if o.name in {"submit_job", "submit_batch", "promote_model"}]
        asked = [o for o in self.operations if "project" in o.parameters("query")]
        while True:
            nobodys = {name: _nobodys(rng, known) for name, known in theirs.ids.items()}
            shape = rng.random()
            operation = rng.choice(names if shape < 0.7 else naming if shape < 0.9 else asked)
            shown = operation.bodies()
            chosen = rng.randrange(len(shown)) if shown else 0
            expected = {404}
            if operation.path.startswith("/v1/projects") and operation.method != "GET":
                expected = {403}
            if shape >= 0.7:
                expected = {404, 422}
            # theirs below mine
            kept = {operation.takes[0]} if shape < 0.1 and len(operation.takes) > 1 else set()

            def made(ids: dict[str, str], operation: Operation = operation, shape: float = shape, shown: Any = shown,
                     chosen: int = chosen, kept: set[str] = kept) -> tuple[str, bytes | None]:  # fmt: skip
                mine = self.project.ids
                in_path = {name: mine[name] if name in kept or shape >= 0.7 else known for name, known in ids.items()}
                query = operation.asked(ids) | ({"project": ids["project_id"]} if shape >= 0.9 else {})
                in_body = ids if 0.7 <= shape < 0.9 else mine
                body = json.dumps(_filled(shown[chosen], in_body)).encode() if shown else None
                return operation.at(in_path) + (f"?{urlencode(query)}" if query else ""), body

            headers = self.headers() | (JSON if shown else {}) | {"If-Match": "*"}
            common = ("others", operation, operation.method)
            twin = Attack(*common, made(nobodys)[0], headers, made(nobodys)[1], named=tuple(nobodys.values()))
            target, body = made(theirs.ids)
            yield Attack(*common, target, headers, body, frozenset(expected), tuple(theirs.ids.values()), twin)

    def parameters(self, rng: Random) -> Iterator[Attack]:
        """SQL, traversal and nonsense in every parameter of the query and in headers."""
        asked = [
            (o, place, name) for o in self.operations for place in ("query", "header") for name in o.parameters(place)
        ]
        while True:
            operation, place, name = rng.choice(asked)
            hostile = rng.choice(SQL) if rng.random() < 0.5 else text(rng)
            headers, query = self.headers(), ""
            if rng.random() < 0.5 and operation.path.startswith(ADMINISTRATION):
                headers = self.headers(self.target.admin)
            if place == "header":
                headers[name] = _of_header(hostile)
            else:
                given = (
                    quote_from_bytes(hostile.encode("utf-8", "surrogatepass")) if rng.random() < 0.9 else "%ff%00%zz"
                )
                query = f"?{name}={given}" + (f"&{name}={given}x" if rng.random() < 0.2 else "")
                others = operation.parameters("query")
                query += f"&{rng.choice(others)}={quote(text(rng))}" if rng.random() < 0.3 else ""
                query += f"&{quote(text(rng))}=1" if rng.random() < 0.1 else ""
            shown = operation.bodies()
            body = json.dumps(self.filled(shown[0], rng)).encode() if shown and rng.random() < 0.5 else None
            target = operation.at(self._ids(operation, rng)) + query
            yield Attack("parameters", operation, operation.method, target, headers | (JSON if body else {}), body)

    def paths(self, rng: Random) -> Iterator[Attack]:
        """Traversal, SQL and nonsense in place of every name in a path, and paths that are none."""
        while True:
            operation = rng.choice(self.operations)
            name = text(rng).encode("utf-8", "surrogatepass")
            quoted = (quote_from_bytes(name, safe=""), quote_from_bytes(name, safe="/."))
            given = rng.choice((*quoted, *quoted, "%ff%fe", "%00", "..%2f..%2fmetrics", "x" * 10_000))
            target = operation.at({}, otherwise=given)
            known: Operation | None = operation
            if not operation.takes or rng.random() < 0.2:
                strange = (f"{target}/{given}", f"/{given}", f"/v1/{given}", f"/v1//jobs/{given}", f"//{given}")
                target, known = rng.choice(strange), None
            yield Attack("paths", known, operation.method, target or "/", self.headers())

    def types(self, rng: Random) -> Iterator[Attack]:
        """Wrong kinds of content, and content that is not what it says."""
        while True:
            operation = rng.choice(self.with_body)
            shown = operation.bodies()
            good = json.dumps(self.filled(rng.choice(shown), rng)).encode() if shown else b"x"
            kind = rng.choice(TYPES) if rng.random() < 0.6 else "application/json"
            sent = rng.choice(BODIES) if kind == "application/json" or rng.random() < 0.5 else good
            headers = self.headers() | {"Content-Type": _of_header(kind), "If-Match": "*"}
            if rng.random() < 0.1:
                headers["Content-Encoding"] = rng.choice(("gzip", "br", "x"))
            yield Attack("types", operation, operation.method, operation.at(self._ids(operation, rng)), headers, sent)

    def keys(self, rng: Random) -> Iterator[Attack]:
        """Keys that have ended, that are none, and that are not enough."""
        good = self.project.keys["operator"]
        none = [
            *(f"Bearer {key}" for key in self.target.bad_keys.values()), "", "Bearer", "Bearer  ", f"Basic {good}",
            f"Bearer {good}x", f"Bearer {good[:-1]}", f"Bearer {good.upper()}", "Bearer ' OR '1'='1", "Bearer a.b.c",
            "Bearer " + "k" * 30_000, "Bearer \xff\xfe", f"Bearer {good},{good}", "Bearer null", "Digest username=x",
            f"Bearer {good} {good}", good,
        ]  # fmt: skip
        while True:
            operation = rng.choice(self.operations)
            shown = operation.bodies()
            body = json.dumps(self.filled(rng.choice(shown), rng)).encode() if shown else None
            # before anything else is looked at, also whether the body can be read
            headers, expected = {"Authorization": rng.choice(none)} if rng.random() < 0.9 else {}, 401
            if body is not None and rng.random() < 0.5:
                body = b"{"
            elif operation.path.startswith(ADMINISTRATION) and rng.random() < 0.5:
                headers, expected = self.headers(), 403
            elif self._changes(operation) and rng.random() < 0.3:
                headers, expected = self.headers(self.project.keys["viewer"]), 403
            target = operation.at(rng.choice((self.project, self.target.others)).ids)
            headers |= JSON if body is not None else {}
            yield Attack("keys", operation, operation.method, target, headers, body, frozenset({expected}))

    @staticmethod
    def _changes(operation: Operation) -> bool:
        """True when a viewer may not do it: the gateway lets viewers do everything, and tells of no 403."""
        return operation.method != "GET" and "403" in operation.told["responses"]

    def files(self, rng: Random) -> Iterator[Attack]:
        """What is no image, with names that want to be elsewhere."""
        while True:
            operation = rng.choice(self.with_body)
            target = operation.at({"name": rng.choice((self.project.ids["name"], self.target.others.ids["name"], "x"))})
            content, name = rng.choice(FILES), text(rng)
            shape = rng.random()
            if shape < 0.5:
                named = json.dumps(name)[1:-1].replace("\\n", "").replace("\\r", "")
                field = rng.choice(("file", "file", "file", "image", ""))
                part = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="{named}"\r\n\r\n'.encode()
                headers = {
                    "Content-Type": rng.choice(
                        ("multipart/form-data; boundary=b",) * 4 + ("multipart/form-data; boundary=c",)
                    )
                }
                sent = (
                    part * rng.choice((1, 1, 1, 3, 50))
                    + content
                    + rng.choice((b"\r\n--b--\r\n", b"\r\n--b--\r\n", b""))
                )
            elif shape < 0.75:
                headers = {"Content-Type": "application/octet-stream", "X-Filename": _of_header(name)}
                sent = content
            else:
                headers = dict(JSON)
                sent = spoiled(rng, {"text": any_value(rng)})
            yield Attack("files", operation, "POST", target, self.headers() | headers, sent)


def _filled(shown: Any, ids: dict[str, str]) -> Any:
    if isinstance(shown, dict):
        return {name: _filled(held, ids) for name, held in shown.items()}
    if isinstance(shown, list):
        return [_filled(held, ids) for held in shown]
    if isinstance(shown, str) and (found := _SHOWN_ID.match(shown)):
        return ids[_KINDS[found[1]]]
    return shown


def _nobodys(rng: Random, known: str) -> str:
    """An identifier of the same form that nobody has."""
    start, mark, _ = known.partition("_")
    return f"{start}_{rng.getrandbits(80):021x}"[: len(known)] if mark else f"nobodys-{rng.randrange(1000)}"


def _of_header(hostile: str) -> str:
    """What http.client lets through: what it does not is sent by `benchmarks/_hostile_wire.py`."""
    return "".join(c for c in hostile if c not in "\r\n\x00").strip()[:20_000]
