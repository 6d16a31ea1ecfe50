"""The report: one HTML page beside its pictures, readable without a server."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.cli.demo.recorder import Step


@dataclass
class Figure:
    """A picture with its caption and the steps whose lines made it."""

    file: str
    caption: str
    steps: list[Step]


@dataclass
class Section:
    """A part of the page. `table` has its header as the first row."""

    title: str
    text: str
    figures: list[Figure] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


@dataclass
class Report:
    """All of the page: facts are shown as a list of names and values."""

    facts: dict[str, str]
    sections: list[Section]
    steps: list[Step]
    setup: str


def write_report(report: Report, path: Path) -> None:
    """Render the page to `path`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    path.write_text(environment.get_template("report.html").render(report=report, made=made), encoding="utf-8")


def rows_of(table: list[dict[str, Any]], columns: dict[str, str]) -> list[list[str]]:
    """Records as rows under the titles that `columns` gives their fields."""
    return [[*columns.values()], *([str(record[name]) for name in columns] for record in table)]
