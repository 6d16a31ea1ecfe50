"""`medcoss models promote`, `rollback`, `history`, `aliases` and `unalias`."""

from itertools import islice
from typing import Annotated

import typer

from medcoss.client import Alias, Client, Promotion
from services.cli.connection import InProject, Json, Limit, Project, connected
from services.cli.output import CliError, Columns, details, identifier, moment, say, short_moment, show, table, wrapped

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
    override: Annotated[
        str | None, typer.Option("--override", metavar="REASON", help="Move it although its gate is closed.")
    ] = None,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Have an alias stand for a model: @ALIAS is then taken wherever a model's id is."""
    _show(client.aliases.promote(alias, model_id, note=note, override=override, project=project), as_json)


def _share(name: str, words: str) -> typer.models.OptionInfo:
    return typer.Option(f"--{name}", metavar="SHARE", help=words)  # type: ignore[no-any-return]


@connected
def gate(
    client: Client,
    alias: Name,
    average: Annotated[float | None, _share("average", "Largest mean forgetting.")] = None,
    each: Annotated[float | None, _share("each", "Largest forgetting of any modality.")] = None,
    modality: Annotated[
        list[str] | None, typer.Option("--modality", metavar="NAME=SHARE", help="Of this one; repeatable.")
    ] = None,
    accuracy: Annotated[float | None, _share("accuracy", "Largest loss of a probe's balanced accuracy.")] = None,
    check: Annotated[str | None, typer.Option("--check", metavar="MODEL", help="Say whether it may pass.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Let the alias move to any model again.")] = False,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Bound the forgetting report of models that an alias may move to; without bounds, show its gate."""
    bounds = {"average": average, "each": each, "accuracy": accuracy}
    given = modality is not None or any(bound is not None for bound in bounds.values())
    if given + (check is not None) + remove > 1:
        raise CliError("give bounds, --check or --remove, one of them")
    if check is not None:
        found = client.aliases.check_gate(alias, check, project=project)
        told = "open" if found.passes else "\n".join(["closed", *found.refusals])
        show(found, as_json, told)
        return
    if remove:
        client.aliases.remove_gate(alias, project=project)
        say(f"@{alias.removeprefix('@')} may move to any model")
        return
    if given:
        row = client.aliases.set_gate(alias, **bounds, modalities=_bounds(modality or []), project=project)
    else:
        row = client.aliases.get(alias, project=project)
    shown = {name: value for name, value in (row.gate or {}).items() if value not in (None, {})}
    show(row, as_json, details(shown) if shown else f"@{row.name} has no gate")


def _bounds(given: list[str]) -> dict[str, float]:
    found = {}
    for one in given:
        name, _, share = one.partition("=")
        try:
            found[name] = float(share)
        except ValueError:
            raise CliError(f"--modality {one}: expected a modality and a share, e.g. xray=0.1") from None
    return found


@connected
def rollback(client: Client, alias: Name, note: Note = "", project: Project = None, as_json: Json = False) -> None:
    """Have an alias stand for the model before its present one."""
    _show(client.aliases.roll_back(alias, note=note, project=project), as_json)


@connected
def history(client: Client, alias: Name, project: Project = None, limit: Limit = 50, as_json: Json = False) -> None:
    """What an alias has stood for, newest first: who, when, why."""
    found = list(islice(client.aliases.history(alias, project=project), limit or None))
    columns: Columns = ["at", "action", identifier("model"), "by", wrapped("note")]
    rows = [(moment(p.at), p.action, p.to_id, p.actor, _why(p)) for p in found]
    show(found, as_json, table(columns, rows))


def _why(move: Promotion) -> str:
    """The note of a move, and the reason that its gate was overridden for."""
    return move.note if move.override is None else f"{move.note} [gate overridden: {move.override}]".strip()


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
