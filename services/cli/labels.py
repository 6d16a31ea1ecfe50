"""`medcoss tag`, `note`, `rename`, `search`, and `medcoss jobs priority` and `time-limit`."""

from typing import Annotated

import typer

from medcoss.client import Client, Dataset, Job, Model
from medcoss.client.datasets import Datasets
from medcoss.client.jobs import Jobs
from medcoss.client.registry import Models
from services.cli.connection import InProject, Json, connected
from services.cli.output import CliError, Columns, identifier, short_moment, show, state, table, wrapped

Id = Annotated[str, typer.Argument(metavar="ID", help="Job, dataset or model: job_..., ds_... or mdl_...")]


def _resource(client: Client, item_id: str) -> Jobs | Datasets | Models:
    """What an identifier is one of."""
    start = item_id.partition("_")[0]
    resources: dict[str, Jobs | Datasets | Models] = {"job": client.jobs, "ds": client.datasets, "mdl": client.models}
    if start not in resources:
        raise CliError(f"{item_id} is no job, dataset or model; expected job_..., ds_... or mdl_...")
    return resources[start]


@connected
def tag(
    client: Client,
    item_id: Id,
    tags: Annotated[
        list[str] | None, typer.Argument(metavar="TAG...", help="Tags to give.", show_default=False)
    ] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="TAG", help="A tag to take away.")] = None,
    as_json: Json = False,
) -> None:
    """Give a job, dataset or model tags, or take them away; prints those that it has."""
    found = _resource(client, item_id).tag(item_id, *(tags or []), remove=remove or [])
    show(found.tags, as_json, " ".join(found.tags) or "no tags")


@connected
def note(
    client: Client,
    item_id: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to remember; empty for nothing.")],
    as_json: Json = False,
) -> None:
    """Write a note on a job or model, or the description of a dataset."""
    resource = _resource(client, item_id)
    if isinstance(resource, Datasets):
        found: Job | Dataset | Model = resource.change(item_id, description=text)
    else:
        found = resource.change(item_id, notes=text)
    show(found, as_json, f"{found.id} {found.name}")


@connected
def rename(
    client: Client,
    item_id: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name.")],
    as_json: Json = False,
) -> None:
    """Give a job, dataset or model another name."""
    found = _resource(client, item_id).change(item_id, name=name)
    show(found, as_json, f"{found.id} {found.name}")


@connected
def priority(
    client: Client,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Job, e.g. job_01abc...")],
    value: Annotated[int, typer.Argument(metavar="N", min=-100, max=100, help="-100 to 100; higher runs first.")],
    as_json: Json = False,
) -> None:
    """Give a job that has not ended another priority; put -- before a negative one."""
    job = client.jobs.change(job_id, priority=value)
    show(job, as_json, f"{job.id} {job.state}, priority {job.priority}")


@connected
def time_limit(
    client: Client,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Job, e.g. job_01abc...")],
    seconds: Annotated[float, typer.Argument(metavar="S", min=1, help="Seconds that all attempts may run together.")],
    as_json: Json = False,
) -> None:
    """Give a job that has not ended another time limit; one that it has paused goes on with `medcoss jobs resume`."""
    job = client.jobs.change(job_id, time_limit_s=seconds)
    show(job, as_json, f"{job.id} {job.state}, time limit {seconds:g} s")


@connected
def search(
    client: Client,
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help="Words, or how they begin.")],
    type_: Annotated[list[str] | None, typer.Option("--type", help="Only dataset, job or model; repeatable.")] = None,
    project: InProject = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="Show so many.")] = 20,
    as_json: Json = False,
) -> None:
    """Find datasets, jobs and models by words of their names, tags and notes, newest first."""
    found = client.search(" ".join(words), type=type_, project=project, limit=limit)
    columns: Columns = ["what", identifier(), wrapped("name"), "kind", "state", wrapped("tags"), "created"]
    rows = [
        (f.type, f.id, f.name, f.detail, state(f.state) if f.state else None, " ".join(f.tags),
         short_moment(f.created_at))
        for f in found
    ]  # fmt: skip
    show(found, as_json, table(columns, rows, extra=2))
