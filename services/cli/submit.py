"""`medcoss jobs submit`."""

from pathlib import Path
from typing import Annotated

import typer

from medcoss.client import Client
from medcoss.client.job_records import JobOptions
from medcoss.specs import JOB_KINDS
from services.cli.connection import DataDir, Json, Key, Project, Server, connected, connection
from services.cli.fields import render
from services.cli.foretelling import DryRun, foretell, foretell_many
from services.cli.output import CliError, out, say, show
from services.cli.settings import build_spec, read_json
from services.cli.watch import watch

KINDS = "\n\n".join(f"{kind.name}: {kind.description}" for kind in JOB_KINDS.values())
HELP = f"""Submit a job; prints its id.

Fields are given with --set or --spec; `medcoss jobs submit KIND --help` lists those of a kind. The kinds:

{KINDS}
"""


def submit(
    context: typer.Context,
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="What to do.", show_default=False)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A field; dotted for nested ones, the value is JSON or text."),
    ] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", metavar="FILE", help="JSON file with the fields; - is standard input.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="A name for people.")] = None,
    project: Project = None,
    priority: Annotated[int, typer.Option("--priority", help="-100 to 100; higher runs first.")] = 0,
    max_attempts: Annotated[int | None, typer.Option("--max-attempts", help="Tries after a crash.")] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", help="GPUs for the job; a training runs one process on each.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option("--nodes", help="Machines that a training runs on together, with --gpus on each.")
    ] = None,
    memory_gib: Annotated[float | None, typer.Option("--memory", metavar="GIB", help="Memory of the worker.")] = None,
    time_limit_s: Annotated[
        float | None, typer.Option("--time-limit", metavar="SECONDS", help="Set it aside after so long.")
    ] = None,
    note: Annotated[str, typer.Option("--note", help="A few words about it.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A tag to find it by; repeatable.")] = None,
    after: Annotated[
        list[str] | None, typer.Option("--after", metavar="JOB", help="Wait until this job has succeeded.")
    ] = None,
    dry_run: DryRun = False,
    watched: Annotated[bool, typer.Option("--watch", help="Wait for the end; exit code 1 when it fails.")] = False,
    as_json: Json = False,
    help_wanted: Annotated[
        bool, typer.Option("--help", help="Show this message, with KIND also its fields, and exit.")
    ] = False,
    server: Server = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Submit a job."""
    if help_wanted:
        _help(context, kind)
        return
    if kind is None:
        raise typer.BadParameter(f"KIND is missing; expected one of {', '.join(JOB_KINDS)}")
    fields = build_spec(spec, settings or [])
    options: JobOptions = {
        "name": name, "project": project, "priority": priority, "max_attempts": max_attempts,
        "depends_on": after or [], "gpus": gpus, "nodes": nodes,
        "memory_bytes": None if memory_gib is None else int(memory_gib * 2**30), "time_limit_s": time_limit_s,
        "notes": note, "tags": tag or [],
    }  # fmt: skip
    with connection(context, server, key, data_dir).client() as client:
        if dry_run:
            foretell(client.jobs.validate(kind, fields, **options), as_json)
            return
        job = client.jobs.submit(kind, fields, **options)
        say(f"{job.state}: {job.reason}" if job.reason else job.state)
        if watched:
            say(f"watching {job.id}")
            job = watch(client, job.id)
    show(job, as_json, job.id)
    if watched and job.state != "succeeded":
        raise typer.Exit(1)


@connected
def submit_many(
    client: Client,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON: a list of jobs, each kind, spec, ...; - is standard input.")
    ],
    project: Project = None,
    partly: Annotated[
        bool, typer.Option("--partly", help="Make those that are right, even if others are wrong.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Submit many jobs at once, all or none; prints their ids. Jobs may name each other's `ref` in `depends_on`."""
    document = read_json(file)
    jobs = document.get("jobs") if isinstance(document, dict) else document
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise CliError(f'{file} holds no list of jobs; expected [{{"kind": ..., "spec": ...}}, ...]')
    if dry_run:
        foretell_many(client.jobs.validate_many(jobs, project=project), as_json)
        return
    made = client.jobs.submit_many(jobs, project=project, all_or_nothing=not partly)
    for error in made.errors:
        say(f"{error.pointer}: {error.detail}")
    show(made, as_json, "\n".join(job.id for job in made.jobs if job is not None))
    if made.errors:
        raise typer.Exit(1)


def _help(context: typer.Context, kind: str | None) -> None:
    text = context.get_help()
    if text:
        typer.echo(text)
    if kind in JOB_KINDS:
        console = out()
        console.print(render(JOB_KINDS[kind].spec.model_json_schema(), console.width))
