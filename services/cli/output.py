"""What the command line prints: data on standard output, everything else on standard error."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import typer
from pydantic import BaseModel
from rich import box
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

Columns = Sequence[str | Column]

PIPE_WIDTH = 200
WIDE = 100
STATE_STYLES = {
    "succeeded": "green", "ready": "green", "running": "cyan", "failed": "red", "cancelled": "yellow",
    "reused": "green",
    "delivered": "green", "active": "green", "failing": "yellow", "off": "red",
    "paused": "yellow", "dead": "red", "alive": "green", "gone": "red", "draining": "yellow",
}  # fmt: skip


class CliError(Exception):
    """A command cannot do what was asked; the message is one sentence."""


def out() -> Console:
    """Standard output; into a pipe tables are as wide as they need."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def err() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """One line for people, on standard error."""
    err().print(Text(message), soft_wrap=True)


def plain(data: Any) -> Any:
    """Records as JSON values."""
    if isinstance(data, BaseModel):
        return data.model_dump(mode="json")
    if isinstance(data, Mapping):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    return data


def print_json(data: Any, *, indent: int | None = 2) -> None:
    """A JSON document on standard output."""
    typer.echo(json.dumps(plain(data), indent=indent, ensure_ascii=False))


def show(data: Any, as_json: bool, rendered: RenderableType) -> None:
    """`data` as JSON, or what was made of it for people."""
    if as_json:
        print_json(data)
    else:
        # text is for whatever reads it: neither broken off nor markup
        out().print(rendered, soft_wrap=isinstance(rendered, str), markup=False)


def table(columns: Columns, rows: Iterable[Sequence[RenderableType | None]], extra: int = 0) -> Table:
    """A table. Identifiers are never cut; plain columns give way to them, the last `extra` ones first of all."""
    shown = len(columns) - (extra if out().width < WIDE else 0)
    made = Table(*map(_column, columns[:shown]), box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    made.pad_edge = False
    for row in rows:
        made.add_row(*(Text("-", style="dim") if value is None else _cell(value) for value in row[:shown]))
    return made


def _column(given: str | Column) -> Column:
    return given if isinstance(given, Column) else Column(given, no_wrap=True, overflow="ellipsis")


def identifier(header: str = "id") -> Column:
    """A column whose values are always shown whole."""
    return Column(header, no_wrap=True, overflow="fold", min_width=24)


def number(header: str) -> Column:
    """A column of numbers."""
    return Column(header, no_wrap=True, justify="right")


def wrapped(header: str, **options: Any) -> Column:
    """A column of text that may take several lines."""
    return Column(header, overflow="fold", **options)


def _cell(value: RenderableType) -> RenderableType:
    # text from outside is never markup
    return Text(value) if isinstance(value, str) else value


def state(name: str) -> Text:
    """A state in its colour."""
    return Text(name, style=STATE_STYLES.get(name, ""))


def chosen(found: Iterable[Mapping[str, Any]], fields: str, as_json: bool) -> None:
    """Some fields of the entries of a list."""
    names = [name.strip() for name in fields.split(",") if name.strip()]
    entries = list(found)
    rows = [[None if entry.get(name) is None else _text(entry[name]) for name in names] for entry in entries]
    columns: Columns = [identifier() if name == "id" else name for name in names]
    show(entries, as_json, table(columns, rows))


def details(entries: Mapping[str, Any]) -> Table:
    """Names and values, one a line; what is None or empty is left out."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in entries.items():
        if value is None or value == "" or value == [] or value == {}:
            continue
        made.add_row(name, value if isinstance(value, Text) else Text(_text(value)))
    return made


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, dict):
        return json.dumps(plain(value), indent=2, ensure_ascii=False)
    if isinstance(value, list):
        return ", ".join(str(v) for v in value)
    return str(value)


def size(count: int) -> str:
    """Bytes for people."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def seconds(value: float | None) -> str | None:
    """A duration for people: `8 s`, `3 min 05 s`, `2 h 10 min`."""
    if value is None:
        return None
    if value < 60:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def moment(value: datetime) -> str:
    """A time of day in the local time zone."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short_moment(value: datetime) -> str:
    """The same without year and seconds, for tables."""
    return value.astimezone().strftime("%m-%d %H:%M")


def figure(value: float) -> str:
    """A number with four significant digits."""
    return f"{value:.4g}"
