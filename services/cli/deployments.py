"""`medcoss deployments`."""

from itertools import islice
from typing import Annotated, Any

import typer

from medcoss.client import Client, Deployment
from services.cli.connection import InProject, Json, Limit, Project, Sort, connected
from services.cli.output import Columns, details, identifier, number, say, short_moment, show, state, table
from services.cli.settings import build_spec
from services.cli.watch import watch

app = typer.Typer(
    name="deployments", help="Serve models, look at what is served, switch versions.", no_args_is_help=True
)

Id = Annotated[str, typer.Argument(metavar="ID", help="Served version, e.g. dep_01abc...")]
Served = Annotated[str, typer.Argument(metavar="NAME", help="Name under which the gateway serves it, e.g. chest.")]


@app.command("create")
@connected
def create(
    client: Client,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model, e.g. mdl_01abc... or @production.")],
    name: Served,
    beside: Annotated[
        bool, typer.Option("--beside", help="Let the present version go on answering; ask this one as NAME@VERSION.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A field of `export` jobs, e.g. precision=fp16; repeatable."),
    ] = None,
    project: Project = None,
    watched: Annotated[
        bool, typer.Option("--watch", help="Wait until it is ready; exit code 1 when it fails.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve a model: export it, load it into Triton, compare its answers with PyTorch's. Prints the version's id."""
    options = build_spec(None, settings or []) | ({"activate": False} if beside else {})
    made = client.deployments.create(model, name, project=project, **options)
    if watched and made.job_id is not None:
        say(f"watching {made.job_id}")
        if watch(client, made.job_id).state == "succeeded":
            made = client.deployments.get(made.id)
    show(made, as_json, made.id)
    if watched and made.state != "ready":
        raise typer.Exit(1)


@app.command("list")
@connected
def list_deployments(
    client: Client,
    name: Annotated[str | None, typer.Option("--name", help="Only versions of this served name.")] = None,
    in_state: Annotated[str | None, typer.Option("--state", help="Only loading, ready or failed ones.")] = None,
    sort: Sort = None,
    project: InProject = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Versions of served models, newest first; those that answer for their name are marked."""
    found = list(
        islice(client.deployments.list(name=name, state=in_state, sort=sort, project=project), limit or None)
    )  # fmt: skip
    columns: Columns = [identifier(), "name", number("version"), "answers", "task", "modality", identifier("model"),
                        "state", "created"]  # fmt: skip
    rows = [
        (d.id, d.name, _version(d), "yes" if d.active else "", d.task, d.modality, d.model_id, state(d.state),
         short_moment(d.created_at))
        for d in found
    ]  # fmt: skip
    show(found, as_json, table(columns, rows, extra=2))


def _version(deployment: Deployment) -> str:
    return "" if deployment.version is None else str(deployment.version)


@app.command("show")
@connected
def show_deployment(client: Client, deployment_id: Id, as_json: Json = False) -> None:
    """One version in full; of one that has failed, why."""
    found = client.deployments.get(deployment_id)
    entries: dict[str, Any] = found.model_dump()
    if found.error:
        entries["error"] = f"{found.error.get('title', '')}: {found.error.get('detail', '')}"
    show(found, as_json, details(entries))


@app.command("activate")
@connected
def activate(client: Client, deployment_id: Id, as_json: Json = False) -> None:
    """Have a version that is ready answer for its name from now on."""
    _answers(client.deployments.activate(deployment_id), as_json)


@app.command("rollback")
@connected
def rollback(client: Client, name: Served, project: InProject = None, as_json: Json = False) -> None:
    """Have the version answer again that answered for a name before."""
    ready = client.deployments.list(name=name, state="ready", project=project)
    present = next((version for version in ready if version.active), None)
    if present is None:
        say(f"no version answers for '{name}'; see `medcoss deployments list --name {name}`")
        raise typer.Exit(1)
    _answers(client.deployments.roll_back(present.id), as_json)


def _answers(deployment: Deployment, as_json: bool) -> None:
    show(deployment, as_json, f"{deployment.name}: version {deployment.version} ({deployment.id}) answers")


@app.command("reload")
@connected
def reload(client: Client, deployment_id: Id, as_json: Json = False) -> None:
    """Have a version that was ready and has failed since be loaded and checked again."""
    found = client.deployments.reload(deployment_id)
    show(found, as_json, f"{found.id} is {found.state}")


@app.command("delete")
@connected
def delete_deployment(client: Client, deployment_id: Id) -> None:
    """Stop serving a version; the one that answered before it does. Of one that loads, the export is cancelled."""
    client.deployments.delete(deployment_id)
    say(f"deleted {deployment_id}")


@app.command("served")
@connected
def served(client: Client, as_json: Json = False) -> None:
    """What the inference gateway serves now, and the calls that each model answers."""
    found = list(client.inference.models())
    columns: Columns = ["name", number("version"), "task", "modality", "calls", "classes"]
    rows = [(m.name, str(m.version), m.task, m.modality, ", ".join(m.calls), ", ".join(m.classes or [])) for m in found]
    show(found, as_json, table(columns, rows))
