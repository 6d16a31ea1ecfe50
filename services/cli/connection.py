"""Options that every command takes, and the client that they lead to."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from medcoss.client import Client

PANEL = "Connection"
Server = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="Control plane; also MEDCOSS_SERVER.", rich_help_panel=PANEL),
]
Key = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="API key; also MEDCOSS_KEY.", rich_help_panel=PANEL)
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Data folder of a platform on this machine, which tells server and key; also MEDCOSS_DATA_DIR. "
        "By default .medcoss.",
        rich_help_panel=PANEL,
    ),
]
Project = Annotated[
    str | None, typer.Option("--project", help="Name or id; by default the key's only one, or else default.")
]
InProject = Annotated[str | None, typer.Option("--project", help="Only those of this project, by name or id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Sort = Annotated[str | None, typer.Option("--sort", metavar="ORDER", help="E.g. name or -created_at: - is downwards.")]
ByTag = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", help="Only those with this tag; repeatable: with all.")
]
ByName = Annotated[str | None, typer.Option("--name", metavar="START", help="Only those whose name begins so.")]
Fields = Annotated[
    str | None, typer.Option("--fields", metavar="A,B", help="Show these fields, of all that there are in --json.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="Show so many; 0 shows all.")]


@dataclass(frozen=True)
class Connection:
    """Where to connect to, as far as the command line tells."""

    server: str | None = None
    key: str | None = None
    data_dir: Path | None = None

    def client(self) -> Client:
        """The client. Raises NotConfigured when there is nothing to connect to."""
        return Client(self.server, self.key, data_dir=self.data_dir)


def connection(context: typer.Context, server: str | None = None, key: str | None = None,
               data_dir: Path | None = None) -> Connection:  # fmt: skip
    """The options of a command; those given before the command count where it has none itself."""
    outer = context.obj if isinstance(context.obj, Connection) else Connection()
    return Connection(server or outer.server, key or outer.key, data_dir or outer.data_dir)


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is a `client`: it gets --server, --key and --data-dir instead."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != "client"]
    kind = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter("context", kind, annotation=typer.Context),
        *(
            inspect.Parameter(name, kind, default=None, annotation=annotation)
            for name, annotation in (("server", Server), ("key", Key), ("data_dir", DataDir))
        ),
    ]

    @functools.wraps(command)
    def run(*, context: typer.Context, server: str | None, key: str | None, data_dir: Path | None, **own: Any) -> None:
        with connection(context, server, key, data_dir).client() as client:
            command(client, **own)

    parameters = [*(p.replace(kind=kind) for p in own), *added]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    # typer would look through to the command's own signature
    del run.__wrapped__
    return run
