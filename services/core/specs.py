"""What a job's spec refers to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from medcoss.specs import Spec


@dataclass(frozen=True)
class Reference:
    """A dataset or model that a spec names, and the field that names it."""

    resource: str
    field: str
    id: str


def references(spec_type: type[Spec], spec: dict[str, Any]) -> Iterator[Reference]:
    """The references of a resolved spec: fields whose schema carries `reference`, single or in a list."""
    for name, schema in spec_type.model_json_schema()["properties"].items():
        variants = [schema, schema.get("items", {}), *schema.get("anyOf", [])]
        resource = next((v["reference"] for v in variants if "reference" in v), None)
        value = spec.get(name)
        if resource is None or value is None:
            continue
        if isinstance(value, str):
            yield Reference(resource, name, value)
        else:
            for i, entry in enumerate(value):
                yield Reference(resource, f"{name}/{i}", entry)
