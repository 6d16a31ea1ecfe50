"""`medcoss models promote`, `rollback`, `history`, `aliases` and `unalias`."""

from itertools import islice
from typing import Annotated

import typer

from medcoss.client import Alias, Client
from services.cli.connection import InProject, Json, Limit, Project, connected
from services.cli.output import Columns, identifier, moment, say, short_moment, show, table, wrapped

Name = Annotated[str, typer.Argument(metavar="ALIAS", help="Name of the alias, e.g. production.")]
Note = Annotated[str, typer.Option("--note", help="Why, for people.")]


def _show(alias: Alias, as_json: bool) -> None:
    show(alias, as_json, f"@{alias.name} {alias.model_id}")


@connected
def promote(
    client: Client,
    model_id: Annotated[str, typer.Argument(metavar="MODEL", help="Model, e.g. mdl_01abc... or @candidate.")],
    alias: Name,
    note: Note = "",
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Have an alias stand for a model: @ALIAS is then taken wherever a model's id is."""
    _show(client.aliases.promote(alias, model_id, note=note, project=project), as_json)


@connected
def rollback(client: Client, alias: Name, note: Note = "", project: Project = None, as_json: Json = False) -> None:
    """Have an alias stand for the model before its present one."""
    _show(client.aliases.roll_back(alias, note=note, project=project), as_json)


@connected
def history(client: Client, alias: Name, project: Project = None, limit: Limit = 50, as_json: Json = False) -> None:
    """What an alias has stood for, newest first: who, when, why."""
    found = list(islice(client.aliases.history(alias, project=project), limit or None))
    columns: Columns = ["at", "action", identifier("model"), "by", wrapped("note")]
    rows = [(moment(p.at), p.action, p.to_id, p.actor, p.note) for p in found]
    show(found, as_json, table(columns, rows))


@connected
def aliases(client: Client, project: InProject = None, limit: Limit = 50, as_json: Json = False) -> None:
    """Aliases and the models that they stand for, newest first."""
    found = list(islice(client.aliases.list(project=project), limit or None))
    columns: Columns = ["alias", identifier("model"), "by", "since", wrapped("note")]
    rows = [(f"@{a.name}", a.model_id, a.promoted_by, short_moment(a.promoted_at), a.note) for a in found]
    show(found, as_json, table(columns, rows, extra=1))


@connected
def unalias(client: Client, alias: Name, project: Project = None) -> None:
    """Give an alias up; its history stays."""
    client.aliases.remove(alias, project=project)
    say(f"@{alias.removeprefix('@')} stands for nothing any more")
