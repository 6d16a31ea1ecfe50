"""Reading server-sent events in tests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Sent:
    """One event as it came; `name` is None for what has no data."""

    name: str | None
    data: Any
    id: str | None
    comment: str | None = None


class Stream:
    """The events of an open stream, one after the other."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def __iter__(self) -> Iterator[Sent]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if line == "":
                data = json.loads(fields["data"]) if "data" in fields else None
                yield Sent(fields.get("event"), data, fields.get("id"), fields.get(""))
                fields = {}
                continue
            name, _, value = line.partition(": ")
            fields[name.rstrip(":")] = value

    def until(self, name: str) -> list[Sent]:
        """Everything up to the first event of this name."""
        found = []
        for sent in self:
            found.append(sent)
            if sent.name == name:
                return found
        raise AssertionError(f"the stream ended without {name}: {found}")


@contextmanager
def watching(client: httpx.Client, path: str, last: str | None = None, **params: Any) -> Iterator[Stream]:
    """An open stream."""
    headers = {"Last-Event-ID": last} if last else {}
    with client.stream("GET", path, params=params, headers=headers, timeout=20) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Stream(response)
