"""`medcoss usage`."""

from rich.console import Group

from medcoss.client import Client, Usage
from services.cli.connection import InProject, Json, connected
from services.cli.output import Columns, number, show, size, table

SORTS = ("datasets", "models", "evaluations", "indexes", "artifacts")


@connected
def usage(
    client: Client,
    project: InProject = None,
    as_json: Json = False,
) -> None:
    """What projects have stored, jobs against the quotas, and the disk of the object store."""
    found = client.usage(project)
    columns: Columns = ["project", number("running"), number("waiting"), *map(number, SORTS), number("together")]
    rows = [
        (p.project, str(p.running), str(p.waiting), *(size(getattr(p, sort).bytes) for sort in SORTS),
         size(p.total_bytes))
        for p in found.projects
    ]  # fmt: skip
    show(found, as_json, Group(table(columns, rows, extra=5), *_words(found)))


def _words(found: Usage) -> list[str]:
    """Quotas and disk, a line each."""
    lines = [
        f"{each.owner}: {each.running} of {_limit(found.quota_running)} jobs run, {each.waiting} of "
        f"{_limit(found.quota_queued)} wait"
        for each in found.owners
    ]
    if found.disk is not None:
        lines.append(f"disk: {size(found.disk.free_bytes)} of {size(found.disk.total_bytes)} free")
    return lines


def _limit(quota: int | None) -> str:
    return "any number of" if quota is None else str(quota)
