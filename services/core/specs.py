"""What a job's spec refers to."""

from collections.abc import Iterator, Mapping
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
def reference_fields(kind: str) -> dict[str, str]:
    """The fields of a kind's spec that name something, and what: `dataset` or `model`."""
    found = {}
    for name, schema in EVERY_KIND[kind].spec.model_json_schema()["properties"].items():
        by_name = [other for entry in schema.get("patternProperties", {}).values() for other in entry.get("anyOf", [])]
        variants = [schema, schema.get("items", {}), *schema.get("anyOf", []), *by_name]
        resource = next((v["reference"] for v in variants if "reference" in v), None)
        if resource is not None:
            found[name] = resource
    return found


def references(kind: str, spec: dict[str, Any]) -> Iterator[Reference]:
    """The references of a job's resolved spec: fields whose schema carries `reference`, single, in a list or named."""
    for name, resource in reference_fields(kind).items():
        value = spec.get(name)
        if value is None:
            continue
        if isinstance(value, str):
            yield Reference(resource, name, value)
        else:
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            yield from (Reference(resource, f"{name}/{i}", entry) for i, entry in entries if entry is not None)


def with_ids(kind: str, spec: dict[str, Any], ids: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with others in place of some of the names in it, such as ids in place of aliases."""
    if not ids:
        return spec
    return spec | {name: _with_ids(spec[name], ids) for name in reference_fields(kind) if spec.get(name) is not None}


def _with_ids(value: Any, ids: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _with_ids(entry, ids) for name, entry in value.items()}
    if isinstance(value, list):
        return [_with_ids(entry, ids) for entry in value]
    return ids.get(value, value)
