"""Names, notes and tags of datasets, jobs and models."""

from collections.abc import Iterable
from typing import Any, TypeVar

from medcoss.client.errors import ApiError
from medcoss.client.job_records import Job
from medcoss.client.records import Dataset, Model
from medcoss.client.transport import Transport

R = TypeVar("R", Dataset, Job, Model)
TRIES = 5
CHANGED = 412


def retag(transport: Transport, record: type[R], path: str, add: Iterable[str], remove: Iterable[str]) -> R:
    """Give it some tags and take others away; those that others give it at the same moment stay."""
    wanted: list[str] = list(add)
    unwanted = {tag.casefold() for tag in remove}
    for left in reversed(range(TRIES)):
        seen = transport.call("GET", path)
        tags: list[str] = [tag for tag in transport.read(record, seen).tags if tag.casefold() not in unwanted]
        body: dict[str, Any] = {"tags": [*tags, *wanted]}
        try:
            return transport.change(record, path, body, seen.headers.get("etag", "*"))
        except ApiError as error:
            if error.status != CHANGED or not left:
                raise
    raise AssertionError("unreachable: the last try returns or raises")
