"""Webhooks: who is told of what, and what was sent. All of it is for operators: a URL may hold a secret."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.api import etags
from services.api.dependencies import Operator, Parts, PartsOf, ReaderOf
from services.api.etags import IfMatch
from services.api.lists import Heavy, Question, Shown, answer, question, response_model
from services.api.problems import CHANGED, responses
from services.api.schemas_webhooks import (
    DeliveryOut,
    SecretRotation,
    WebhookChange,
    WebhookCreated,
    WebhookOut,
    WebhookRequest,
)
from services.core import projects, webhooks
from services.core.errors import FieldError, ValidationFailed
from services.core.lists import WEBHOOKS
from services.core.sealing import Seal
from services.core.short_lists import DELIVERIES
from services.core.tables import Delivery
from services.core.targets import Refused, Targets, literal, place_of, resolve

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
_CHANGEABLE = tuple(WebhookChange.model_fields)
_SHOWN = Shown(WEBHOOKS, WebhookOut, lambda _, rows, __: [WebhookOut.of(row) for row in rows])

_SENT = Shown(
    DELIVERIES, DeliveryOut, lambda _, rows, __: [DeliveryOut.of(row) for row in rows],
    (Heavy(Delivery.payload, frozenset({"payload"}), {}),),
)  # fmt: skip


def _check_target(parts: Parts, url: str) -> None:
    """ValidationFailed for a place that webhooks may not lead to. It is looked at again whenever something is sent."""
    place = place_of(url)
    try:
        found = [place.host] if literal(place.host) else resolve(place.host, place.port)
        Targets(parts.settings.webhook_networks).choose(place.host, found)
    except Refused as error:
        raise ValidationFailed(str(error), [FieldError("/url", str(error))]) from None


@router.post("", status_code=201, responses=responses(conflict="The project has as many as it may have"))
def create_webhook(request: WebhookRequest, parts: PartsOf, caller: Operator) -> WebhookCreated:
    """Have a project's events POSTed to a URL; the answer is the only place where the secret is shown."""
    # its name is looked up before there is a transaction
    _check_target(parts, request.url)
    with parts.database.session() as session:
        project_id = projects.resolve(session, caller.scope, request.project)
        row, secret = webhooks.create(
            session, Seal(parts.settings), project_id, request.url, request.events, request.description, caller.owner
        )
        return WebhookCreated(webhook=WebhookOut.of(row), secret=secret)


@router.get("", response_model=response_model(WebhookOut))
def list_webhooks(
    session: ReaderOf, caller: Operator, asked: Annotated[Question, Depends(question(WEBHOOKS))]
) -> Response:
    """Webhooks, newest first unless `sort` says otherwise."""
    return answer(session, caller.scope, _SHOWN, asked)


@router.get("/{webhook_id}")
def show_webhook(webhook_id: str, request: Request, session: ReaderOf, caller: Operator) -> WebhookOut:
    """One webhook: whether it is active, since when it fails, why it was switched off."""
    shown = WebhookOut.of(webhooks.get(session, caller.scope, webhook_id))
    etags.seen(request, shown, _CHANGEABLE)
    return shown


@router.patch("/{webhook_id}", responses=CHANGED)
def change_webhook(webhook_id: str, change: WebhookChange, request: Request, parts: PartsOf, caller: Operator,
                   if_match: IfMatch = None) -> WebhookOut:  # fmt: skip
    """Change where a webhook leads or what it is told, or switch it off and on."""
    if change.url is not None:
        _check_target(parts, change.url)
    with parts.database.session() as session:
        row = webhooks.get(session, caller.scope, webhook_id, lock=True)
        etags.check(if_match, WebhookOut.of(row), _CHANGEABLE)
        webhooks.change(session, row, url=change.url, topics=change.events, description=change.description,
                        active=change.active)  # fmt: skip
        shown = WebhookOut.of(row)
    etags.seen(request, shown, _CHANGEABLE)
    return shown


@router.delete("/{webhook_id}", status_code=204)
def delete_webhook(webhook_id: str, parts: PartsOf, caller: Operator) -> Response:
    """Remove a webhook and the list of what was sent to it."""
    with parts.database.session() as session:
        webhooks.remove(session, webhooks.get(session, caller.scope, webhook_id))
    return Response(status_code=204)


@router.post("/{webhook_id}/rotate")
def rotate_webhook_secret(
    webhook_id: str, parts: PartsOf, caller: Operator, request: SecretRotation | None = None
) -> WebhookCreated:
    """Give a webhook a new secret; messages are signed with the one before, too, for `grace_s` more."""
    with parts.database.session() as session:
        row = webhooks.get(session, caller.scope, webhook_id, lock=True)
        secret = webhooks.rotate(session, Seal(parts.settings), row, (request or SecretRotation()).grace_s)
        return WebhookCreated(webhook=WebhookOut.of(row), secret=secret)


@router.post("/{webhook_id}/test", status_code=201, responses=responses(conflict="The webhook is switched off"))
def test_webhook(webhook_id: str, parts: PartsOf, caller: Operator) -> DeliveryOut:
    """Have a message `webhook.test` sent, whatever the webhook is told of."""
    with parts.database.session() as session:
        return DeliveryOut.of(webhooks.test(session, webhooks.get(session, caller.scope, webhook_id)))


@router.get("/{webhook_id}/deliveries", response_model=response_model(DeliveryOut))
def list_deliveries(
    webhook_id: str, session: ReaderOf, caller: Operator, asked: Annotated[Question, Depends(question(DELIVERIES))]
) -> Response:
    """Messages to a webhook, newest first unless `sort` says otherwise, kept for 30 days after they were delivered or
    given up.
    """
    webhooks.get(session, caller.scope, webhook_id)
    return answer(session, caller.scope, _SENT, asked, webhook_id)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    responses=responses(conflict="It is still being sent, or the webhook is switched off"),
)
def redeliver(webhook_id: str, delivery_id: str, parts: PartsOf, caller: Operator) -> DeliveryOut:
    """Send a message once more, under the same id, which a receiver that has it already will know."""
    with parts.database.session() as session:
        row = webhooks.get(session, caller.scope, webhook_id)
        return DeliveryOut.of(webhooks.redeliver(session, row, delivery_id))
