"""`medcoss gc`."""

from itertools import islice
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from medcoss.client import Client, GcFinding, GcRun
from services.cli.connection import Json, Limit, connected
from services.cli.output import Columns, details, err, number, say, short_moment, show, size, state, table, wrapped

# something that rows own is lost
LOST = ("missing", "wrong_size")


@connected
def gc(
    client: Client,
    delete: Annotated[bool, typer.Option("--delete", help="Remove what nobody owns; without it, only tell.")] = False,
    max_fraction: Annotated[
        float | None,
        typer.Option("--max-fraction", min=0, max=1, help="Remove nothing if it were more of all objects; 0.5."),
    ] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Compare the object store with what rows own (administrators): what nobody owns, what is missing.

    Exit code 1 when something is missing or has another size, or when the run failed. Ctrl-C cancels it.
    """
    run = client.gc.start(dry_run=not delete, max_fraction=max_fraction)
    try:
        run = client.gc.wait(run.id, notify=_Lines().tell)
    except KeyboardInterrupt:
        client.gc.cancel(run.id)
        say(f"cancelled {run.id}; what it has removed is gone")
        raise
    found = list(islice(client.gc.findings(run.id), limit or None))
    show({"run": run, "findings": found}, as_json, Group(_run(run), Text(), _findings(found)))
    if run.error:
        say(run.error)
    if run.state != "succeeded" or any(kind in run.report for kind in LOST):
        raise typer.Exit(1)


class _Lines:
    """A line for every new stage and every tenth of the way."""

    def __init__(self) -> None:
        self._told: tuple[str, str, int] | None = None

    def tell(self, run: GcRun) -> None:
        """Tell what is new."""
        now = (run.state, run.stage, int(run.fraction * 10))
        if now == self._told or run.ended:
            return
        self._told = now
        far = f" {run.stage}: {run.listed:,} of about {run.expected:,} objects" if run.state == "running" else ""
        removed = f", {run.removed:,} removed" if run.removed else ""
        err().print(Text(f"{run.id} {run.state}{far}{removed}"), soft_wrap=True)


def _run(run: GcRun) -> Group:
    rows = [(kind, f"{amount.objects:,}", size(amount.bytes)) for kind, amount in run.report.items()]
    told: dict[str, object] = {
        "run": run.id, "state": state(run.state), "listed": f"{run.listed:,} objects",
        "left alone": f"what is younger than {run.grace_s / 3600:g} h",
        "removed": "nothing (dry run)" if run.dry_run else f"{run.removed:,} objects, {size(run.removed_bytes)}",
    }  # fmt: skip
    return Group(details(told), Text(), table(["objects that are", number("objects"), number("bytes")], rows))


def _findings(found: list[GcFinding]) -> Group:
    columns: Columns = ["kind", wrapped("folder"), number("objects"), number("bytes"), "newest", wrapped("of")]
    rows = [
        (f.kind, f.prefix, f"{f.objects:,}", size(f.bytes), short_moment(f.newest) if f.newest else None,
         " ".join(filter(None, (f.owner, f.owner_name))) or None)
        for f in found
    ]  # fmt: skip
    return Group(table(columns, rows)) if found else Group(Text("nothing found"))
