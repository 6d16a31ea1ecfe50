"""The command line `medcoss`."""

import os
import signal
import sys

import typer
from rich.text import Text

from medcoss import __version__
from medcoss.client import ApiError, ClientError
from services.cli import (
    access,
    aliases,
    backup,
    checkpoints,
    curriculum,
    datasets,
    deployments,
    erasures,
    evaluations,
    gc,
    indexes,
    inference,
    jobs,
    labels,
    local,
    models,
    pipelines,
    samples,
    stages,
    usage,
    webhooks,
    workers,
)
from services.cli.connection import Connection, DataDir, Key, Server
from services.cli.output import CliError, err

app = typer.Typer(
    name="medcoss",
    help="One encoder over reports, X-ray, CT, MR and pathology: prepare data, pre-train, fine-tune, serve.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("up", rich_help_panel="Platform")(local.up)
app.command("status", rich_help_panel="Platform")(local.status)
app.command("key", rich_help_panel="Platform")(local.key)
app.command("workers", rich_help_panel="Platform")(workers.workers)
app.command("usage", rich_help_panel="Platform")(usage.usage)
app.command("backup", rich_help_panel="Platform")(backup.backup)
app.command("restore", rich_help_panel="Platform")(backup.restore)
app.command("gc", rich_help_panel="Platform")(gc.gc)
app.command("whoami", rich_help_panel="Access")(access.whoami)
app.add_typer(access.projects, rich_help_panel="Access")
app.add_typer(access.keys, rich_help_panel="Access")
app.command("audit", rich_help_panel="Access")(access.audit)
app.command("demo", rich_help_panel="Platform")(samples.demo)
app.command("sample-data", rich_help_panel="Platform")(samples.sample_data)
app.add_typer(datasets.app, rich_help_panel="Work")
app.add_typer(jobs.app, rich_help_panel="Work")
app.add_typer(pipelines.app, rich_help_panel="Work")
app.add_typer(curriculum.app, rich_help_panel="Work")
for command in (labels.search, labels.tag, labels.note, labels.rename):
    app.command(command.__name__, rich_help_panel="Work")(command)
jobs.app.command("priority")(labels.priority)
jobs.app.command("time-limit")(labels.time_limit)
models.app.command("import")(checkpoints.import_model)
models.app.command("export-checkpoint")(checkpoints.export_checkpoint)
for command in (stages.line, stages.lineage, stages.card, stages.holders):
    models.app.command(command.__name__)(command)
for command in (aliases.promote, aliases.gate, aliases.rollback, aliases.history, aliases.aliases, aliases.unalias):
    models.app.command(command.__name__)(command)
app.add_typer(models.app, rich_help_panel="Work")
app.add_typer(erasures.app, rich_help_panel="Work")
app.add_typer(stages.lines, rich_help_panel="Work")
stages.lines.command("show")(stages.line)
app.add_typer(evaluations.app, rich_help_panel="Work")
app.add_typer(indexes.app, rich_help_panel="Work")
app.add_typer(webhooks.app, rich_help_panel="Work")
app.add_typer(deployments.app, rich_help_panel="Work")
app.command("embed", rich_help_panel="Inference")(inference.embed)
app.command("classify", rich_help_panel="Inference")(inference.classify)
app.command("segment", rich_help_panel="Inference")(inference.segment)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medcoss {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    server: Server = None,
    key: Key = None,
    data_dir: DataDir = None,
    _version_wanted: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Options before the command; each command takes those of the connection, too."""
    context.obj = Connection(server, key, data_dir)


def run(arguments: list[str]) -> int:
    """Run a command line; its exit code: 0 good, 1 failed, 2 wrong usage. What went wrong is on standard error."""
    try:
        app(arguments, prog_name="medcoss")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except ApiError as error:
        _complain(error)
    except (ClientError, CliError) as error:
        _error(str(error), error)
    except OSError as error:
        _error(f"{error.filename}: {error.strerror}" if error.filename else str(error), error)
    except Exception as error:
        if "MEDCOSS_TRACE" in os.environ:
            raise
        _error(f"unexpected {type(error).__name__}: {error} (set MEDCOSS_TRACE=1 to see where)", error)
    return 1


def _complain(error: ApiError) -> None:
    fields = [f"{entry.pointer}: {entry.detail}" if entry.pointer else entry.detail for entry in error.errors]
    # the detail often is the list of the fields
    repeated = bool(fields) and all(field in error.detail for field in fields)
    _error(f"{error.title} ({error.status})" if repeated else f"{error.title} ({error.status}): {error.detail}", error)
    for field in fields:
        err().print(Text(f"  {field}"), soft_wrap=True)
    if error.request_id:
        err().print(Text(f"  request {error.request_id}", style="dim"), soft_wrap=True)


def _error(message: str, error: Exception) -> None:
    console = err()
    console.print(Text("error: ", style="bold red") + Text(message), soft_wrap=True)
    for note in getattr(error, "__notes__", []):
        console.print(Text(f"  {note}"), soft_wrap=True)


def main() -> None:
    """Entry point: like Ctrl-C, SIGTERM leaves nothing half done."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
