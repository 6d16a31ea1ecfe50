"""`medcoss models`."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from medcoss.client import Client
from medcoss.client.filters import ModelFilters
from services.cli.connection import ByName, ByTag, Fields, InProject, Json, Limit, Sort, connected
from services.cli.output import (
    Columns,
    chosen,
    details,
    figure,
    identifier,
    say,
    short_moment,
    show,
    size,
    table,
)
from services.cli.transfers import transfer_bar

app = typer.Typer(name="models", help="Look at, fetch, import and export models.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="Model, e.g. mdl_01abc... or @production.")]


@app.command("list")
@connected
def list_models(
    client: Client,
    task: Annotated[str | None, typer.Option("--task", help="Only encoder, classification or segmentation.")] = None,
    modality: Annotated[str | None, typer.Option("--modality", help="Only those trained on this last.")] = None,
    name: ByName = None,
    tag: ByTag = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", metavar="M", help="Only those whose number is so: 'auc>=0.8'.")
    ] = None,
    sort: Sort = None,
    fields: Fields = None,
    project: InProject = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Models, newest first; --sort=-metric.auc is by a final number."""
    filters: ModelFilters = {
        "task": task, "modality": modality, "name": name, "tag": tag, "metric": metric, "sort": sort,
        "project": project,
    }  # fmt: skip
    if fields is not None:
        chosen(islice(client.models.select(fields, **filters), limit or None), fields, as_json)
        return
    found = list(islice(client.models.list(**filters), limit or None))
    columns: Columns = [identifier(), "name", "task", "size", "modalities", "created"]
    rows = [(m.id, m.name, m.task, m.size, ",".join(m.modalities), short_moment(m.created_at)) for m in found]
    show(found, as_json, table(columns, rows, extra=1))


@app.command("show")
@connected
def show_model(client: Client, model_id: Id, as_json: Json = False) -> None:
    """One model in full."""
    model = client.models.get(model_id)
    entries = model.model_dump()
    entries["total_bytes"] = size(model.total_bytes)
    entries["metrics"] = "\n".join(f"{name} {figure(value)}" for name, value in model.metrics.items())
    show(model, as_json, details(entries))


@app.command("download")
@connected
def download(
    client: Client,
    model_id: Id,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the files.")],
    as_json: Json = False,
) -> None:
    """Fetch weights and configuration of a model, each file verified."""
    with transfer_bar() as notify:
        target = client.models.download(model_id, folder, progress=notify)
    show({"folder": str(target)}, as_json, str(target))


@app.command("delete")
@connected
def delete(client: Client, model_id: Id) -> None:
    """Delete a model that nothing uses."""
    client.models.delete(model_id)
    say(f"deleted {model_id}")
