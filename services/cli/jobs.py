"""`medcoss jobs`."""

from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from medcoss.client import Client, Job
from medcoss.client.filters import JobFilters
from medcoss.client.job_records import Level
from services.cli import scores, submit
from services.cli.connection import ByName, ByTag, Fields, InProject, Json, Limit, Sort, connected
from services.cli.fields import render
from services.cli.output import (
    Columns,
    chosen,
    details,
    figure,
    identifier,
    moment,
    number,
    out,
    print_json,
    say,
    seconds,
    short_moment,
    show,
    size,
    state,
    table,
    wrapped,
)
from services.cli.transfers import transfer_bar
from services.cli.watch import watch

app = typer.Typer(name="jobs", help="Submit, watch and look at jobs.", no_args_is_help=True)
app.command("submit", help=submit.HELP, context_settings={"help_option_names": []})(submit.submit)
app.command("submit-many")(submit.submit_many)
app.command("scores")(scores.scores)

Id = Annotated[str, typer.Argument(metavar="ID", help="Job, e.g. job_01abc...")]


@app.command("watch")
@connected
def watch_job(client: Client, job_id: Id, as_json: Json = False) -> None:
    """Show progress until the job ends; exit code 0 when it succeeded, else 1."""
    job = watch(client, job_id)
    if as_json:
        print_json(job)
    if job.state != "succeeded":
        raise typer.Exit(1)


@app.command("list")
@connected
def list_jobs(
    client: Client,
    job_state: Annotated[list[str] | None, typer.Option("--state", help="Only jobs in this state; repeatable.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only jobs of this kind; repeatable.")] = None,
    owner: Annotated[str | None, typer.Option("--by", metavar="OWNER", help="Only jobs that this owner made.")] = None,
    name: ByName = None,
    tag: ByTag = None,
    given: Annotated[
        str | None, typer.Option("--input", metavar="ID", help="Only jobs that name this dataset or model.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="JOB", help="Only the child jobs of this one: its chunks or runs.")
    ] = None,
    since: Annotated[datetime | None, typer.Option("--since", help="Only jobs made at this time or later.")] = None,
    sort: Sort = None,
    fields: Fields = None,
    project: InProject = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Jobs, newest first."""
    filters: JobFilters = {
        "state": job_state, "kind": kind, "created_by": owner, "name": name, "tag": tag, "input": given,
        "parent": parent, "created_after": since, "sort": sort, "project": project,
    }  # fmt: skip
    if fields is not None:
        chosen(islice(client.jobs.select(fields, **filters), limit or None), fields, as_json)
        return
    found = list(islice(client.jobs.list(**filters), limit or None))
    columns: Columns = [identifier(), "kind", "name", "state", number("done"), "created"]
    rows = [(j.id, j.kind, j.name, state(j.state), _done(j), short_moment(j.created_at)) for j in found]
    show(found, as_json, table(columns, rows, extra=1))


def _done(job: Job) -> str | None:
    return f"{job.progress.fraction:.0%}" if job.progress else None


@app.command("show")
@connected
def show_job(client: Client, job_id: Id, as_json: Json = False) -> None:
    """One job in full: state, progress, spec, result, error."""
    job = client.jobs.get(job_id)
    entries = job.model_dump(exclude={"state", "progress", "duration_s", "error"})
    lines = {
        "id": entries.pop("id"),
        "kind": entries.pop("kind"),
        "name": entries.pop("name"),
        "state": state(job.state),
    }
    error = job.error or {}
    progress = job.progress
    lines |= {
        "reason": entries.pop("reason", None),
        "error": f"{error.get('title')}: {error.get('detail')}" if error else None,
        "what to try": "\n".join(error.get("advice", [])),
        "last lines": "\n".join(error.get("log", [])),
        "progress": f"{progress.done} of {progress.total} {progress.message or ''}".strip() if progress else None,
        "time left": seconds(progress.eta_s) if progress else None,
        "took": seconds(job.duration_s),
    }
    show(job, as_json, details(lines | entries))


@app.command("logs")
@connected
def logs(
    client: Client,
    job_id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    contains: Annotated[str | None, typer.Option("--contains", help="Only lines that hold this text.")] = None,
    level: Annotated[Level | None, typer.Option("--level", help="Only lines of this level and above.")] = None,
    as_json: Json = False,
) -> None:
    """The log of a job. With --follow, --json prints one JSON object a line."""
    lines = client.jobs.logs(job_id, follow=follow, contains=contains, level=level)
    if as_json and not follow:
        print_json(list(lines))
        return
    console = out()
    for line in lines:
        if as_json:
            print_json(line, indent=None)
        else:
            text = Text(f"{moment(line.at)} ", style="dim")
            text.append(f"{line.level:<7} ", style="yellow" if line.level in {"warning", "error"} else "")
            text.append(line.message, style="default not dim")
            console.print(text, soft_wrap=True)


@app.command("metrics")
@connected
def metrics(
    client: Client,
    job_id: Id,
    name: Annotated[str | None, typer.Option("--name", help="Only this number, e.g. loss/xray.")] = None,
    last: Annotated[int, typer.Option("--last", min=0, help="Only the last rows; 0 shows all.")] = 0,
    as_json: Json = False,
) -> None:
    """The numbers that a job has reported, by step."""
    found = [row for row in client.jobs.metrics(job_id) if name is None or name in row.values]
    found = found[-last:] if last else found
    rows = [
        (str(m.step), str(m.attempt), "   ".join(
            f"{key} {figure(value)}" for key, value in m.values.items() if name in {None, key}
        )) for m in found
    ]  # fmt: skip
    show(found, as_json, table([number("step"), number("attempt"), wrapped("values")], rows))


@app.command("events")
@connected
def events(client: Client, job_id: Id, as_json: Json = False) -> None:
    """How the state of a job has changed."""
    found = list(client.jobs.events(job_id))
    rows = [(moment(e.at), str(e.attempt), state(e.type), _event(e.data)) for e in found]
    show(found, as_json, table(["at", number("attempt"), "event", wrapped("what")], rows))


def _event(data: dict[str, object]) -> str:
    problem = data.get("problem")
    if isinstance(problem, dict):
        return f"{problem.get('title')}: {problem.get('detail')}"
    return ", ".join(f"{name} {value}" for name, value in data.items())


@app.command("pause")
@connected
def pause(client: Client, job_id: Id, as_json: Json = False) -> None:
    """Set a job aside; a running one writes a checkpoint first."""
    job = client.jobs.pause(job_id)
    show(job, as_json, f"{job.id} {'is being paused' if job.state == 'running' else job.state}")


@app.command("resume")
@connected
def resume(client: Client, job_id: Id, as_json: Json = False) -> None:
    """Queue a paused job again; it goes on from its last checkpoint."""
    job = client.jobs.resume(job_id)
    show(job, as_json, f"{job.id} {job.state}")


@app.command("cancel")
@connected
def cancel(client: Client, job_id: Id, as_json: Json = False) -> None:
    """Cancel a job; a running one writes a checkpoint first."""
    job = client.jobs.cancel(job_id)
    show(job, as_json, f"{job.id} {'is being cancelled' if job.state == 'running' else job.state}")


@app.command("delete")
@connected
def delete(client: Client, job_id: Id) -> None:
    """Delete a job that has ended, with its log, numbers and files; what it made stays."""
    client.jobs.delete(job_id)
    say(f"deleted {job_id}")


@app.command("artifacts")
@connected
def artifacts(
    client: Client,
    job_id: Id,
    folder: Annotated[
        Path | None, typer.Option("--download", metavar="DIR", help="Fetch the files into this folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The files that a job kept."""
    if folder is None:
        found = client.jobs.artifacts(job_id)
        rows = [(a.name, a.content_type, size(a.size)) for a in found]
        show(found, as_json, table([wrapped("name"), "type", number("size")], rows))
        return
    with transfer_bar() as notify:
        paths = [str(path) for path in client.jobs.download_artifacts(job_id, folder, progress=notify)]
    show(paths, as_json, "\n".join(paths))


@app.command("kinds")
@connected
def kinds(client: Client, as_json: Json = False) -> None:
    """The kinds of jobs."""
    found = list(client.jobs.kinds())
    rows = [(k.name, k.produces, k.description) for k in found]
    show(found, as_json, table(["kind", "produces", wrapped("what it does")], rows))


@app.command("schema")
@connected
def schema(
    client: Client, kind: Annotated[str, typer.Argument(metavar="KIND", help="Kind of job.")], as_json: Json = False
) -> None:
    """The fields of a kind: type, default, unit, bounds, description. --json prints the JSON schema."""
    found = client.jobs.schema(kind)
    show(found, as_json, render(found, out().width))
