"""`medcoss up`, `key` and `status`: the platform on this machine."""

import json
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Column
from rich.text import Text

from medcoss.client import (
    ApiError,
    Client,
    ClientError,
    LocalPart,
    LocalPlatform,
    NotConfigured,
    data_folder,
    local_platform,
)
from services.cli.connection import DataDir, Json, Key, Server, connection
from services.cli.output import CliError, Columns, err, out, print_json, state, table, wrapped

STATE_FILE = "state.json"


def up(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", metavar="DIR", help="Where everything is kept; also MEDCOSS_DATA_DIR. By default .medcoss."
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65534, help="Control plane; the gateway listens on the next port.")
    ] = 8000,
) -> None:
    """Run the whole platform on this machine until Ctrl-C."""
    try:
        from services.embedded.platform import Platform
        from services.embedded.process import PlatformError
        from services.embedded.state import Running
    except ImportError as error:
        raise CliError(
            f"{error.name} is missing; `medcoss up` needs the servers: pip install 'medcoss[embedded]'"
        ) from error
    folder = data_folder(connection(context, data_dir=data_dir).data_dir)
    console = out()

    def say(event: str) -> None:
        console.print(Text(event), soft_wrap=True)

    def ready(running: Running) -> None:
        parts = [(p.name, state("running"), p.address) for p in running.parts]
        console.print(table(["part", "state", "address"], parts))
        say(f"ready: {running.url} (API description: {running.url}/docs); Ctrl-C stops it")
        say(f"console: {running.url}/console, which asks for the key that `medcoss key` prints")

    platform = Platform(folder, port, say)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # not here: this thread may be inside the event's own lock
        threading.Thread(target=platform.stopping.set).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    say(f"starting on {folder}; the first start takes a little longer")
    try:
        platform.run(ready)
    except PlatformError as error:
        raise CliError(str(error)) from error
    say("stopped")


def key(context: typer.Context, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print the administrator's key of the platform in the data folder, whether it runs or not."""
    folder = data_folder(connection(context, data_dir=data_dir).data_dir)
    found = _key(folder)
    if as_json:
        print_json({"key": found})
    else:
        typer.echo(found)


def _key(folder: Path) -> str:
    running = local_platform(folder)
    if running is not None:
        return running.key
    path = folder / STATE_FILE
    try:
        return str(json.loads(path.read_text())["admin_key"])
    except FileNotFoundError:
        raise CliError(f"{folder} holds no platform; start one with `medcoss up --data-dir {folder}`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CliError(f"{path} cannot be read ({type(error).__name__}); is it yours, and whole?") from error


def status(
    context: typer.Context, server: Server = None, key: Key = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """What runs: the parts, whether they answer, and the jobs by state. Exit code 1 when it is not ready."""
    where = connection(context, server, key, data_dir)
    with where.client() as client:
        report, ready = _report(client, _local(client, where.data_dir))
    if as_json:
        print_json(report)
    else:
        _print(report)
    if not ready:
        raise typer.Exit(1)


def _local(client: Client, data_dir: Path | None) -> LocalPlatform | None:
    """The platform in the data folder, if it is the one that the client talks to."""
    try:
        local = local_platform(data_dir)
    except NotConfigured:
        return None
    return local if local is not None and local.url == client.server else None


def _report(client: Client, local: LocalPlatform | None) -> tuple[dict[str, Any], bool]:
    report: dict[str, Any] = {
        "server": client.server,
        "gateway": local.gateway_url if local else None,
        "ready": False,
        "problem": None,
        "checks": {},
        "parts": [part.model_dump(mode="json") | {"alive": _alive(part)} for part in (local.parts if local else [])],
        "jobs": {},
    }
    try:
        report["checks"] = client.ready()
        report["jobs"] = client.job_counts()
        report["ready"] = True
    except ApiError as error:
        report["problem"] = error.detail
        report["checks"] = {entry.pointer.removeprefix("part:"): entry.detail for entry in error.errors}
    except ClientError as error:
        report["problem"] = str(error)
    return report, report["ready"]


def _alive(part: LocalPart) -> bool:
    try:
        os.kill(part.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _print(report: dict[str, Any]) -> None:
    console = out()
    if report["parts"]:
        rows = [
            (part["name"], str(part["pid"]), state("alive" if part["alive"] else "dead"), part["address"], part["log"])
            for part in report["parts"]
        ]
        columns: Columns = ["part", Column("pid", justify="right"), "state", "address", wrapped("log")]
        console.print(Group(table(columns, rows), ""))
    checks = ", ".join(f"{name} {result}" for name, result in report["checks"].items())
    line = Text(report["server"] + " ")
    line.append_text(Text("ready", style="green") if report["ready"] else Text("not ready", style="red"))
    console.print(line + Text(f" ({checks})" if checks else ""), soft_wrap=True)
    if report["problem"]:
        err().print(Text(report["problem"]), soft_wrap=True)
    counts = [f"{count} {name}" for name, count in report["jobs"].items() if count]
    if report["ready"]:
        console.print(f"jobs: {', '.join(counts) or 'none'}")
