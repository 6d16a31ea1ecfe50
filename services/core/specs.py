"""What a job's spec refers to."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from medcoss.specs import EVERY_KIND


@dataclass(frozen=True)
class Reference:
    """A dataset or model that a spec names, and the field that names it."""

    resource: str
    field: str
    id: str


@cache
def _fields(kind: str) -> dict[str, str]:
    """The fields of a kind's spec that name something, and what."""
    found = {}
    for name, schema in EVERY_KIND[kind].spec.model_json_schema()["properties"].items():
        variants = [schema, schema.get("items", {}), *schema.get("anyOf", [])]
        resource = next((v["reference"] for v in variants if "reference" in v), None)
        if resource is not None:
            found[name] = resource
    return found


def references(kind: str, spec: dict[str, Any]) -> Iterator[Reference]:
    """The references of a job's resolved spec: fields whose schema carries `reference`, single or in a list."""
    for name, resource in _fields(kind).items():
        value = spec.get(name)
        if value is None:
            continue
        if isinstance(value, str):
            yield Reference(resource, name, value)
        else:
            for i, entry in enumerate(value):
                yield Reference(resource, f"{name}/{i}", entry)


def with_ids(kind: str, spec: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    """The spec with ids in place of the aliases that it names."""
    if not ids:
        return spec
    given = {name: spec[name] for name in _fields(kind) if spec.get(name) is not None}
    return spec | {
        name: ids.get(value, value) if isinstance(value, str) else [ids.get(entry, entry) for entry in value]
        for name, value in given.items()
    }
