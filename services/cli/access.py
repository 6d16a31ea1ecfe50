"""`medcoss whoami`, `projects`, `keys` and `audit`."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from medcoss.client import ApiKey, Client, NewKey
from services.cli.connection import Json, Limit, connected
from services.cli.output import (
    Columns,
    details,
    identifier,
    moment,
    number,
    say,
    short_moment,
    show,
    state,
    table,
    wrapped,
)

projects = typer.Typer(name="projects", help="Who shares datasets, jobs and models.", no_args_is_help=True)
keys = typer.Typer(name="keys", help="Give out keys and take them back (administrators).", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="Key, e.g. key_01abc...")]
ProjectId = Annotated[str, typer.Argument(metavar="ID", help="Project, e.g. prj_01abc...")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name for people.", show_default=False)]


@connected
def whoami(client: Client, as_json: Json = False) -> None:
    """Whose key this is, its role and the projects that it opens."""
    me = client.me()
    lines = me.model_dump(exclude={"projects", "all_projects"})
    lines["projects"] = "all" if me.all_projects else ", ".join(project.name for project in me.projects)
    show(me, as_json, details(lines))


@projects.command("list")
@connected
def list_projects(client: Client, limit: Limit = 50, as_json: Json = False) -> None:
    """The projects that the key opens, newest first."""
    found = list(islice(client.projects.list(), limit or None))
    rows = [(p.id, p.name, p.description, short_moment(p.created_at)) for p in found]
    show(found, as_json, table([identifier(), "name", wrapped("description"), "created"], rows))


@projects.command("create")
@connected
def create_project(
    client: Client,
    name: Name,
    description: Annotated[str, typer.Option("--description", help="A few words about it.")] = "",
    as_json: Json = False,
) -> None:
    """Make a project (administrators); prints its id."""
    project = client.projects.create(name, description)
    show(project, as_json, project.id)


@projects.command("change")
@connected
def change_project(
    client: Client,
    project_id: ProjectId,
    name: Annotated[str | None, typer.Option("--name", help="Its new name.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="A few words about it.")] = None,
    as_json: Json = False,
) -> None:
    """Change a project's name or description (administrators)."""
    project = client.projects.change(project_id, name=name, description=description)
    show(project, as_json, f"{project.id} {project.name}")


@keys.command("list")
@connected
def list_keys(client: Client, limit: Limit = 50, as_json: Json = False) -> None:
    """Keys, newest first, those that have ended too."""
    found = list(islice(client.keys.list(), limit or None))
    columns: Columns = [identifier(), "name", "owner", "role", "projects", "state", "expires", "last used"]
    show(found, as_json, table(columns, map(_row, found), extra=2))


def _row(key: ApiKey) -> tuple[str | Text | None, ...]:
    ends, used = (short_moment(at) if at else None for at in (key.expires_at, key.last_used_at))
    opened = "all" if key.projects is None else ", ".join(key.projects)
    return key.id, key.name, key.owner, key.role, opened, state(key.state), ends, used


@keys.command("create")
@connected
def create_key(
    client: Client,
    name: Name,
    role: Annotated[str, typer.Option("--role", help="viewer, operator or admin.")] = "operator",
    owner: Annotated[
        str | None, typer.Option("--owner", help="Who uses it; shown as the creator of jobs. By default the name.")
    ] = None,
    project: Annotated[
        list[str] | None, typer.Option("--project", help="What it opens, name or id; repeatable. Default: default.")
    ] = None,
    days: Annotated[float | None, typer.Option("--days", min=0, help="When it ends; by default never.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key; prints its secret, which cannot be shown again."""
    end = None if days is None else datetime.now(UTC) + timedelta(days=days)
    _secret(client.keys.create(name, role, owner=owner, projects=project or None, expires_at=end), as_json)


@keys.command("rotate")
@connected
def rotate_key(
    client: Client,
    key_id: KeyId,
    grace_h: Annotated[
        float | None, typer.Option("--grace", metavar="HOURS", min=0, help="How long the old secret still opens; 24.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Give a key a new secret; prints it."""
    _secret(client.keys.rotate(key_id, grace_s=None if grace_h is None else grace_h * 3600), as_json)


def _secret(made: NewKey, as_json: bool) -> None:
    say(f"{made.key.id}: keep the secret now, it is not shown again")
    show(made, as_json, made.secret)


@keys.command("revoke")
@connected
def revoke_key(client: Client, key_id: KeyId) -> None:
    """Close a key at once and for good."""
    client.keys.revoke(key_id)
    say(f"revoked {key_id}")


@connected
def audit(
    client: Client,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this owner did.")] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="Only done, denied, rejected or failed.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Every write, and every call without a good key, newest first (administrators)."""
    found = list(islice(client.audit.list(actor=actor, outcome=outcome), limit or None))
    columns: Columns = ["at", "who", "from", "method", wrapped("path"), number("status"), "outcome"]
    rows = [(moment(e.at), e.actor, e.address, e.method, e.path, str(e.status), e.outcome) for e in found]
    show(found, as_json, table(columns, rows))
