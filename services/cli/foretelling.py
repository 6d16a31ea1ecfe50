"""`--dry-run`: what would come of jobs."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from medcoss.client import BatchPreflight, Figure, Preflight
from services.cli.output import Columns, details, number, say, seconds, show, size, table, wrapped

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Submit nothing; show what is wrong, what it takes and what it waits for.")
]
_FIGURES = ("samples", "batches", "steps", "parameters", "memory", "duration", "storage")


def foretell(seen: Preflight, as_json: bool) -> None:
    """Show what would come of a job; exit code 1 when it would be refused or fail."""
    _complain(seen, "")
    show(seen, as_json, _rendered(seen))
    if not seen.valid:
        raise typer.Exit(1)


def foretell_many(seen: BatchPreflight, as_json: bool) -> None:
    """Show what would come of the jobs of a batch, a line each; exit code 1 when one would be refused or fail."""
    for error in seen.errors:
        say(f"error: {error.detail}")
    for place, job in enumerate(seen.jobs):
        _complain(job, f"/jobs/{place}")
    columns: Columns = ["job", "kind", number("steps"), number("memory"), number("duration"), number("storage")]
    rows: list[tuple[str | None, ...]] = [
        (job.ref or str(place), job.kind, *(value_of(figure) for figure in (job.steps, job.memory, job.duration,
                                                                          job.storage)))
        for place, job in enumerate(seen.jobs)
    ]  # fmt: skip
    rows.append(("together", "", None, None, value_of(seen.duration), value_of(seen.storage)))
    show(seen, as_json, table(columns, rows))
    if not seen.valid:
        raise typer.Exit(1)


def _complain(seen: Preflight, start: str) -> None:
    for error in seen.errors:
        say(f"error: {start}{error.pointer}: {error.detail}")
    for warning in seen.warnings:
        say(f"warning: {start}{warning.pointer}: {warning.detail}")


def _rendered(seen: Preflight) -> RenderableType:
    about = details({
        "runs on": seen.runs_on, "waits for": [wait.detail for wait in seen.waits_for],
        "checked at start": [later.detail for later in seen.checked_at_start],
        "aliases": [f"{alias} is {model}" for alias, model in seen.aliases.items()],
    })  # fmt: skip
    return Group(about, _numbers(seen)) if seen.samples else about


def _numbers(seen: Preflight) -> Table:
    columns: Columns = ["what", number("how much"), wrapped("how it is known")]
    return table(columns, _rows(seen))


def _rows(seen: Preflight) -> Iterator[tuple[str, str | None, str]]:
    for name in _FIGURES:
        figure: Figure | None = getattr(seen, name)
        if figure is not None:
            yield name, value_of(figure), figure.how


def value_of(figure: Figure | None) -> str | None:
    """A number for people."""
    if figure is None or figure.value is None:
        return None
    if figure.unit == "byte":
        return size(round(figure.value))
    return seconds(figure.value) if figure.unit == "s" else f"{figure.value:,.0f}"
