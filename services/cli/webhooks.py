"""`medcoss webhooks`: have events sent to a URL."""

from itertools import islice
from typing import Annotated

import typer

from medcoss.client import Client, NewWebhook, Webhook
from services.cli.connection import InProject, Json, Limit, Project, connected
from services.cli.output import (
    Columns,
    details,
    identifier,
    number,
    say,
    short_moment,
    show,
    state,
    table,
    wrapped,
)

app = typer.Typer(name="webhooks", help="Have events sent to a URL, signed.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="Webhook, e.g. whk_01abc...")]
Events = Annotated[
    list[str] | None,
    typer.Option("--event", metavar="EVENT", help="What it is told of, e.g. job.failed; repeatable. Default: *."),
]
About = Annotated[str | None, typer.Option("--description", help="A few words about it.")]


def _state(hook: Webhook) -> str:
    if not hook.active:
        return "off"
    return "failing" if hook.failing_since else "active"


def _secret(made: NewWebhook, as_json: bool) -> None:
    say(f"{made.webhook.id}: keep the secret now, it is not shown again")
    show(made, as_json, made.secret)


@app.command("create")
@connected
def create(
    client: Client,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where messages are POSTed to.")],
    events: Events = None,
    description: About = None,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Make a webhook; prints its secret, which cannot be shown again."""
    made = client.webhooks.create(url, events=events or ("*",), description=description or "", project=project)
    _secret(made, as_json)


@app.command("list")
@connected
def list_webhooks(client: Client, project: InProject = None, limit: Limit = 50, as_json: Json = False) -> None:
    """Webhooks, newest first."""
    found = list(islice(client.webhooks.list(project=project), limit or None))
    rows = [(h.id, h.url, ", ".join(h.events), state(_state(h)), short_moment(h.created_at)) for h in found]
    show(found, as_json, table([identifier(), wrapped("url"), wrapped("events"), "state", "created"], rows, extra=1))


@app.command("show")
@connected
def show_webhook(client: Client, webhook_id: Id, as_json: Json = False) -> None:
    """One webhook: whether it is active, since when it fails, why it was switched off."""
    found = client.webhooks.get(webhook_id)
    show(found, as_json, details({"id": found.id, "state": state(_state(found))} | found.model_dump(exclude={"id"})))


@app.command("change")
@connected
def change(
    client: Client,
    webhook_id: Id,
    url: Annotated[str | None, typer.Option("--url", help="Another URL.")] = None,
    events: Events = None,
    description: About = None,
    active: Annotated[bool | None, typer.Option("--on/--off", help="Switch it on or off.")] = None,
    as_json: Json = False,
) -> None:
    """Change a webhook, or switch it off and on."""
    found = client.webhooks.change(webhook_id, url=url, events=events or None, description=description, active=active)
    show(found, as_json, f"{found.id} {_state(found)}")


@app.command("delete")
@connected
def delete(client: Client, webhook_id: Id) -> None:
    """Remove a webhook and the list of what was sent to it."""
    client.webhooks.delete(webhook_id)
    say(f"deleted {webhook_id}")


@app.command("rotate")
@connected
def rotate(
    client: Client,
    webhook_id: Id,
    grace_h: Annotated[
        float | None, typer.Option("--grace", metavar="HOURS", min=0, help="How long the old secret signs, too; 24.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Give a webhook a new secret; prints it."""
    _secret(client.webhooks.rotate(webhook_id, grace_s=None if grace_h is None else grace_h * 3600), as_json)


@app.command("test")
@connected
def test(client: Client, webhook_id: Id, as_json: Json = False) -> None:
    """Have a message `webhook.test` sent; `deliveries` shows how it went."""
    made = client.webhooks.test(webhook_id)
    show(made, as_json, f"{made.id} {made.state}")


@app.command("deliveries")
@connected
def deliveries(
    client: Client,
    webhook_id: Id,
    wanted: Annotated[str | None, typer.Option("--state", help="Only pending, delivered or failed.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """What was sent to a webhook, newest first."""
    found = list(islice(client.webhooks.deliveries(webhook_id, state=wanted), limit or None))
    columns: Columns = [
        identifier(), "event", "state", number("attempts"), number("status"), wrapped("error"), "created",
    ]  # fmt: skip
    rows = [
        (d.id, d.event, state(d.state), str(d.attempts), None if d.status is None else str(d.status), d.error,
         short_moment(d.created_at)) for d in found
    ]  # fmt: skip
    show(found, as_json, table(columns, rows, extra=1))


@app.command("redeliver")
@connected
def redeliver(
    client: Client,
    webhook_id: Id,
    delivery_id: Annotated[str, typer.Argument(metavar="MESSAGE", help="Message, e.g. msg_01abc...")],
    as_json: Json = False,
) -> None:
    """Send a message once more, under the same id."""
    found = client.webhooks.redeliver(webhook_id, delivery_id)
    show(found, as_json, f"{found.id} {found.state}")
