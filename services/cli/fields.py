"""The parameters of a job kind as tables, from the JSON schema that the server gives."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from services.cli.output import Columns, table, wrapped

Schema = dict[str, Any]
_MISSING = object()
WIDE = 110


@dataclass(frozen=True)
class FieldRow:
    """One field as a row; `name` is dotted, as `--set` takes it."""

    name: str
    type: str
    default: str
    unit: str
    bounds: str
    description: str


@dataclass(frozen=True)
class FieldGroup:
    """Fields that belong together: those of the kind, or of one choice of a field such as `recipe`."""

    title: str
    rows: list[FieldRow]


def groups(schema: Schema) -> list[FieldGroup]:
    """The fields of a spec's schema; each variant of a field that has several is a group of its own."""
    definitions = schema.get("$defs", {})
    found = [FieldGroup(schema.get("description", ""), list(_rows(schema, definitions, "", {})))]
    for name, field in schema.get("properties", {}).items():
        for tag, variant in _variants(field, definitions).items():
            by = field["discriminator"]["propertyName"]
            title = f"with {name}.{by}={tag}: {variant.get('description', '')}"
            found.append(FieldGroup(title, list(_rows(variant, definitions, f"{name}.", {}, skip=by))))
    return found


def _variants(field: Schema, definitions: Schema) -> dict[str, Schema]:
    mapping = field.get("discriminator", {}).get("mapping", {})
    return {tag: _resolved({"$ref": reference}, definitions) for tag, reference in mapping.items()}


def _resolved(field: Schema, definitions: Schema) -> Schema:
    reference = field.get("$ref")
    return field if reference is None else definitions[reference.rpartition("/")[2]]


def _rows(schema: Schema, definitions: Schema, prefix: str, defaults: Schema, skip: str = "") -> Iterator[FieldRow]:
    required = set(schema.get("required", []))
    for name, field in schema.get("properties", {}).items():
        if name == skip:
            continue
        inner = _resolved(field, definitions)
        default = defaults.get(name, field.get("default", _MISSING))
        if inner is not field and "properties" in inner:
            yield from _rows(inner, definitions, f"{prefix}{name}.", default if isinstance(default, dict) else {})
            continue
        yield FieldRow(
            prefix + name, _type(field, definitions), _default(default, name in required), field.get("unit", ""),
            _bounds(field), field.get("description", ""),
        )  # fmt: skip


def _default(default: Any, required: bool) -> str:
    if default is _MISSING:
        return "required" if required else ""
    return json.dumps(default, ensure_ascii=False) if isinstance(default, dict | list | bool) else _word(default)


def _word(value: Any) -> str:
    return "none" if value is None else str(value)


def _options(field: Schema) -> list[Schema]:
    """The field itself or, where it may be left empty, what it is otherwise."""
    return [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]


def _type(field: Schema, definitions: Schema) -> str:
    variants = _variants(field, definitions)
    if variants:
        return "one of " + ", ".join(variants)
    names = []
    for option in _options(field):
        if "enum" in option:
            names.append(" | ".join(map(str, option["enum"])))
        elif "const" in option:
            names.append(str(option["const"]))
        elif "reference" in option:
            names.append(f"{option['reference']} id")
        elif option.get("type") == "array":
            names.append(f"list of {_element(option, definitions)}")
        else:
            names.append(str(option.get("type", "any")))
    return " or ".join(names)


def _element(option: Schema, definitions: Schema) -> str:
    inner = option.get("prefixItems")
    if inner:
        return f"{len(inner)} {_type(inner[0], definitions)}s"
    return _type(option.get("items", {}), definitions) + "s"


def _bounds(field: Schema) -> str:
    parts = []
    for option in _options(field):
        each = (option.get("prefixItems") or [option])[0]
        low, high = each.get("minimum"), each.get("maximum")
        above, below = each.get("exclusiveMinimum"), each.get("exclusiveMaximum")
        parts += [f"≥ {low:g}"] if low is not None else []
        parts += [f"> {above:g}"] if above is not None else []
        parts += [f"≤ {high:,.12g}"] if high is not None else []
        parts += [f"< {below:g}"] if below is not None else []
        parts += [f"times {each['multipleOf']}"] if "multipleOf" in each else []
    return " ".join(parts)


def render(schema: Schema, width: int) -> RenderableType:
    """The tables of a schema for a console of so many columns."""
    parts: list[RenderableType] = []
    for group in groups(schema):
        rows = _wide(group) if width >= WIDE else _narrow(group)
        parts += [Text(group.title, style="italic"), rows, Text("")]
    return Group(*parts[:-1])


def _wide(group: FieldGroup) -> Table:
    columns: Columns = [
        Column("field", no_wrap=True, style="bold"), wrapped("type", max_width=17), wrapped("default", max_width=14),
        "unit", wrapped("bounds", max_width=15), wrapped("description"),
    ]  # fmt: skip
    return table(columns, [(r.name, r.type, r.default, r.unit, r.bounds, r.description) for r in group.rows])


def _narrow(group: FieldGroup) -> Table:
    """Default below the type, unit and bounds below the description."""
    columns: Columns = [
        Column("field", no_wrap=True, style="bold"), wrapped("type and default", max_width=22), wrapped("description"),
    ]  # fmt: skip
    return table(
        columns, [(r.name, _two(r.type, r.default), _two(r.description, r.unit, r.bounds)) for r in group.rows]
    )


def _two(first: str, *second: str) -> Text:
    below = " ".join(part for part in second if part)
    return Text(first).append(f"\n{below}" if below else "", style="dim")
