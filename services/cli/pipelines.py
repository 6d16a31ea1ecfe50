"""`medcoss pipelines`: jobs whose inputs are each other's outputs, as a whole."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from medcoss.client import Client, JobCancelled, JobFailed, Pipeline, PipelinePreflight, PipelineStep
from medcoss.client.filters import PipelineFilters
from services.cli.connection import ByName, Fields, InProject, Json, Limit, Project, Sort, connected
from services.cli.foretelling import DryRun, value_of
from services.cli.output import (
    CliError,
    Columns,
    chosen,
    details,
    identifier,
    number,
    print_json,
    say,
    seconds,
    short_moment,
    show,
    state,
    table,
    wrapped,
)
from services.cli.settings import build_spec, read_json

app = typer.Typer(
    name="pipelines", help="Submit, watch and repeat jobs that take each other's outputs.", no_args_is_help=True
)
Id = Annotated[str, typer.Argument(metavar="ID", help="Pipeline, e.g. pip_01abc...")]
Watched = Annotated[bool, typer.Option("--watch", help="Wait for the end; exit code 1 when it fails.")]
Reuse = Annotated[
    bool, typer.Option("--reuse", help="Do not run steps that have been done with the same spec and inputs.")
]


@app.command("submit")
@connected
def submit(
    client: Client,
    file: Annotated[Path, typer.Argument(metavar="FILE", help='JSON: {"steps": {NAME: ...}}; - is standard input.')],
    name: Annotated[str | None, typer.Option("--name", help="A name for people.")] = None,
    project: Project = None,
    reuse: Reuse = False,
    dry_run: DryRun = False,
    watched: Watched = False,
    as_json: Json = False,
) -> None:
    """Submit a pipeline; prints its id.

    Every step has a kind and a spec as a single job; {"from": "ct.model"} in a spec is what the step ct makes.
    """
    document = read_json(file)
    steps = document.get("steps") if isinstance(document, dict) else None
    if not isinstance(steps, dict) or not all(isinstance(step, dict) for step in steps.values()):
        raise CliError(f'{file} holds no steps; expected {{"steps": {{"NAME": {{"kind": ..., "spec": ...}}}}}}')
    name = name or document.get("name")
    if dry_run:
        foretell_pipeline(client.pipelines.validate(steps, name=name, project=project), as_json)
        return
    follow(client, client.pipelines.submit(steps, name=name, project=project, reuse=reuse), watched, as_json)


def follow(client: Client, made: Pipeline, watched: bool, as_json: bool) -> None:
    """Show a pipeline that was made, or watch it until it ends; exit code 1 when it ends badly."""
    if watched:
        say(f"watching {made.id}")
        made = watch_until_end(client, made.id)
    show(made, as_json, made.id)
    if watched and made.state != "succeeded":
        raise typer.Exit(1)


def foretell_pipeline(seen: PipelinePreflight, as_json: bool) -> None:
    """Show what would come of a pipeline; exit code 1 when it would be refused."""
    for error in seen.errors:
        say(f"error: {error.pointer}: {error.detail}")
    for name, step in seen.steps.items():
        for warning in step.warnings:
            say(f"warning: {name}{warning.pointer}: {warning.detail}")
    if seen.steps or as_json:
        show(seen, as_json, foretold(seen))
    if not seen.valid:
        raise typer.Exit(1)


def foretold(seen: PipelinePreflight) -> Table | Group:
    """The steps of a pipeline with what they take, and what they take together."""
    columns: Columns = ["step", "kind", number("samples"), number("steps"), number("memory"), number("duration"),
                        number("storage")]  # fmt: skip
    rows: list[tuple[str | None, ...]] = [
        (name, one.kind, *(value_of(figure) for figure in (one.samples, one.steps, one.memory, one.duration,
                                                           one.storage)))
        for name, one in seen.steps.items()
    ]  # fmt: skip
    rows.append(("together", "", value_of(seen.samples), value_of(seen.training_steps), None, value_of(seen.duration),
                 value_of(seen.storage)))  # fmt: skip
    hours = seen.gpu_hours
    told = None if hours.value is None else f"{hours.value:.3g}, {hours.how}"
    return Group(table(columns, rows), details({"GPU hours": told or hours.how, "duration": seen.duration.how}))


@app.command("list")
@connected
def list_pipelines(
    client: Client,
    pipeline_state: Annotated[
        list[str] | None, typer.Option("--state", help="Only those in this state; repeatable.")
    ] = None,
    owner: Annotated[str | None, typer.Option("--by", metavar="OWNER", help="Only those that this owner made.")] = None,
    repeats: Annotated[
        str | None, typer.Option("--rerun-of", metavar="ID", help="Only those that repeat this one.")
    ] = None,
    name: ByName = None,
    sort: Sort = None,
    fields: Fields = None,
    project: InProject = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Pipelines, newest first."""
    filters: PipelineFilters = {
        "state": pipeline_state, "created_by": owner, "rerun_of": repeats, "name": name, "sort": sort,
        "project": project,
    }  # fmt: skip
    if fields is not None:
        chosen(islice(client.pipelines.select(fields, **filters), limit or None), fields, as_json)
        return
    found = list(islice(client.pipelines.list(**filters), limit or None))
    columns: Columns = [identifier(), "name", "state", number("steps"), number("left"), "created"]
    rows = [
        (p.id, p.name, state(p.state), f"{p.progress.done}/{p.progress.total}", seconds(p.progress.eta_s),
         short_moment(p.created_at)) for p in found
    ]  # fmt: skip
    show(found, as_json, table(columns, rows, extra=1))


@app.command("show")
@connected
def show_pipeline(client: Client, pipeline_id: Id, as_json: Json = False) -> None:
    """One pipeline with its steps."""
    found = client.pipelines.get(pipeline_id)
    show(found, as_json, rendered(found))


def rendered(found: Pipeline) -> Group:
    """A pipeline for people."""
    about = details({
        "id": found.id, "name": found.name, "state": state(found.state), "notes": found.notes,
        "progress": found.progress.message, "time left": seconds(found.progress.eta_s), "rerun of": found.rerun_of,
        "created": found.created_at, "started": found.started_at, "finished": found.finished_at,
    })  # fmt: skip
    columns: Columns = ["step", "kind", "state", identifier("job"), number("done"), wrapped("what")]
    rows = [(s.name, s.kind, state("reused" if s.reused else s.state), s.job_id, _done(s), _what(s))
            for s in found.steps]  # fmt: skip
    return Group(about, table(columns, rows))


def _done(step: PipelineStep) -> str | None:
    return f"{step.progress.fraction:.0%}" if step.progress and step.state != "succeeded" else None


def _what(step: PipelineStep) -> str | None:
    if step.state == "failed" and step.error:
        return f"{step.error.get('title')}: {step.error.get('detail')}"
    return step.reason or ", ".join(f"{what} {row_id}" for what, row_id in step.outputs.items()) or None


@app.command("watch")
@connected
def watch_pipeline(client: Client, pipeline_id: Id, as_json: Json = False) -> None:
    """Tell what its steps do until it ends; exit code 0 when it succeeded, else 1."""
    found = watch_until_end(client, pipeline_id)
    if as_json:
        print_json(found)
    if found.state != "succeeded":
        raise typer.Exit(1)


def watch_until_end(client: Client, pipeline_id: str) -> Pipeline:
    """Tell each change of a step's state, on standard error; the pipeline when it has ended, however."""
    told: dict[str, str] = {}

    def tell(found: Pipeline) -> None:
        for step in found.steps:
            if told.get(step.name) != step.state:
                told[step.name] = step.state
                left = seconds(found.progress.eta_s)
                say(f"{step.name}: {'reused' if step.reused else step.state}{f', {left} left in all' if left else ''}")

    try:
        return client.pipelines.wait(pipeline_id, on_update=tell)
    except (JobFailed, JobCancelled) as error:
        say(str(error))
        return client.pipelines.get(pipeline_id)


@app.command("cancel")
@connected
def cancel(client: Client, pipeline_id: Id, as_json: Json = False) -> None:
    """Cancel the steps that have not ended; running ones write a checkpoint first."""
    _ordered(client.pipelines.cancel(pipeline_id), as_json)


@app.command("pause")
@connected
def pause(client: Client, pipeline_id: Id, as_json: Json = False) -> None:
    """Set the steps aside that have not ended; running ones write a checkpoint first."""
    _ordered(client.pipelines.pause(pipeline_id), as_json)


@app.command("resume")
@connected
def resume(client: Client, pipeline_id: Id, as_json: Json = False) -> None:
    """Let the paused steps go on, each from its last checkpoint."""
    _ordered(client.pipelines.resume(pipeline_id), as_json)


@app.command("retry")
@connected
def retry(client: Client, pipeline_id: Id, watched: Watched = False, as_json: Json = False) -> None:
    """Do the steps again that have failed or were cancelled, and those behind them."""
    follow(client, client.pipelines.retry(pipeline_id), watched, as_json)


def _ordered(found: Pipeline, as_json: bool) -> None:
    show(found, as_json, f"{found.id} {found.state}")


@app.command("rerun")
@connected
def rerun(
    client: Client,
    pipeline_id: Id,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="STEP.KEY=VALUE", help="Another value of a step's field; repeatable."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="A name for people.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Run every step again, also those that are equal.")] = False,
    watched: Watched = False,
    as_json: Json = False,
) -> None:
    """Make a pipeline again with other parameters; steps whose spec and inputs stay as they were are not run."""
    changes = build_spec(None, settings or [])
    wrong = next((step for step, fields in changes.items() if not isinstance(fields, dict)), None)
    if wrong is not None:
        raise typer.BadParameter(f"--set {wrong}: expected STEP.KEY=VALUE, e.g. --set ct.epochs=50")
    follow(client, client.pipelines.rerun(pipeline_id, _changed(client, pipeline_id, changes), name=name,
                                          reuse=not everything), watched, as_json)  # fmt: skip


def _changed(client: Client, pipeline_id: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Fields inside of fields: what is not named of them stays."""
    if not any(isinstance(value, dict) for fields in changes.values() for value in fields.values()):
        return changes
    specs = {step.name: step.spec for step in client.pipelines.get(pipeline_id).steps}
    return {step: {key: _merged(specs.get(step, {}).get(key), value) for key, value in fields.items()}
            for step, fields in changes.items()}  # fmt: skip


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {key: _merged(old.get(key), value) for key, value in new.items()}


@app.command("delete")
@connected
def delete(client: Client, pipeline_id: Id) -> None:
    """Forget a pipeline that has ended; its jobs and what they have made stay."""
    client.pipelines.delete(pipeline_id)
    say(f"deleted {pipeline_id}")
