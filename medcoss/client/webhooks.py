"""Webhooks: `client.webhooks`, and what a receiver needs to trust a message."""

import base64
import binascii
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medcoss.client.paging import pages
from medcoss.client.records import Delivery, NewWebhook, Webhook
from medcoss.client.transport import Transport

TOLERANCE_S = 300
# retries come for three days
REMEMBERED_S = 4 * 86_400
_PREFIX = "whsec_"


class Webhooks:
    """`client.webhooks`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, url: str, *, events: Iterable[str] = ("*",), description: str = "",
               project: str | None = None) -> NewWebhook:  # fmt: skip
        """Have a project's events POSTed to `url`; the secret is shown this once."""
        body = {"url": url, "events": [*events], "description": description, "project": project}
        return self._transport.read(NewWebhook, self._transport.call("POST", "/v1/webhooks", json=body))

    def list(self, *, project: str | None = None, active: bool | None = None) -> Iterator[Webhook]:
        """Webhooks, newest first."""
        return pages(self._transport, "/v1/webhooks", Webhook, {"project": project, "active": active})

    def get(self, webhook_id: str) -> Webhook:
        """One webhook."""
        return self._transport.parse(Webhook, self._transport.get(f"/v1/webhooks/{webhook_id}"))

    def change(self, webhook_id: str, *, url: str | None = None, events: Iterable[str] | None = None,
               description: str | None = None, active: bool | None = None,
               if_match: str | None = None) -> Webhook:  # fmt: skip
        """Change where it leads or what it is told, or switch it off; `if_match` is the ETag of what was seen."""
        body = {"url": url, "events": None if events is None else [*events], "description": description,
                "active": active}  # fmt: skip
        return self._transport.change(Webhook, f"/v1/webhooks/{webhook_id}", body, if_match)

    def delete(self, webhook_id: str) -> None:
        """Remove it, and the list of what was sent to it."""
        self._transport.call("DELETE", f"/v1/webhooks/{webhook_id}")

    def rotate(self, webhook_id: str, *, grace_s: float | None = None) -> NewWebhook:
        """A new secret; messages are signed with the one before, too, for `grace_s` seconds more, by default a day."""
        body = {} if grace_s is None else {"grace_s": grace_s}
        response = self._transport.call("POST", f"/v1/webhooks/{webhook_id}/rotate", json=body)
        return self._transport.read(NewWebhook, response)

    def test(self, webhook_id: str) -> Delivery:
        """Have a message `webhook.test` sent."""
        return self._transport.read(Delivery, self._transport.call("POST", f"/v1/webhooks/{webhook_id}/test"))

    def deliveries(self, webhook_id: str, *, state: str | None = None) -> Iterator[Delivery]:
        """Its messages, newest first."""
        return pages(self._transport, f"/v1/webhooks/{webhook_id}/deliveries", Delivery, {"state": state})

    def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a message once more, under the same id."""
        path = f"/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"
        return self._transport.read(Delivery, self._transport.call("POST", path))


class WebhookRefused(Exception):
    """A message that is not to be trusted: not signed with the secret, too old, or replayed. Answer 400."""


@dataclass(frozen=True)
class WebhookMessage:
    """A message that was checked. `id` is the same at every attempt, `timestamp` in seconds since 1970."""

    id: str
    timestamp: int
    type: str
    data: dict[str, Any]


def verify(secrets: str | Iterable[str], headers: Mapping[str, str], body: bytes, *, tolerance_s: float = TOLERANCE_S,
           now: float | None = None) -> WebhookMessage:  # fmt: skip
    """The message in a request, if it was signed with one of the secrets within `tolerance_s` of now.

    `body` are the bytes as they came, before anything parses them. This does not know what came before: `Receiver`
    does. Raises WebhookRefused.
    """
    known = [secrets] if isinstance(secrets, str) else [*secrets]
    lowered = {name.lower(): value for name, value in headers.items()}
    message_id, moment = lowered.get("webhook-id", ""), lowered.get("webhook-timestamp", "")
    if not message_id or not (moment.isascii() and moment.isdecimal()) or len(moment) > 12:
        raise WebhookRefused("the headers webhook-id and webhook-timestamp are missing or wrong")
    content = f"{message_id}.{moment}.".encode() + body
    expected = [hmac.new(_key(secret), content, hashlib.sha256).digest() for secret in known]
    given = [_decoded(one.removeprefix("v1,")) for one in lowered.get("webhook-signature", "").split(" ")
             if one.startswith("v1,")]  # fmt: skip
    if not any(hmac.compare_digest(one, other) for one in given for other in expected):
        raise WebhookRefused("no signature fits; is this the secret of this webhook?")
    if abs((time.time() if now is None else now) - int(moment)) > tolerance_s:
        raise WebhookRefused(f"the message was signed more than {tolerance_s:g} s ago; it may be replayed")
    try:
        document = json.loads(body)
        return WebhookMessage(message_id, int(moment), str(document["type"]), dict(document["data"]))
    except (ValueError, KeyError, TypeError):
        raise WebhookRefused("the body is no message of medcoss") from None


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("expected a secret that begins with whsec_, as it was shown at first") from None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


class Receiver:
    """Checks messages and knows those that came before; it may be used from several threads.

    It remembers in memory. Where several processes receive, or a message must not be acted on twice after a restart,
    keep the ids in a database, too (a unique column does it).
    """

    def __init__(self, secrets: str | Iterable[str], *, tolerance_s: float = TOLERANCE_S) -> None:
        self._secrets = [secrets] if isinstance(secrets, str) else [*secrets]
        self._tolerance_s = tolerance_s
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def accept(self, headers: Mapping[str, str], body: bytes) -> WebhookMessage | None:
        """The message to act on; None for one that was acted on already and is only sent again: answer 200 to both.

        Raises WebhookRefused for what is not to be trusted, and for the very request that came before: it is replayed.
        """
        message = verify(self._secrets, headers, body, tolerance_s=self._tolerance_s)
        with self._lock:
            before = self._seen.get(message.id)
            if before is not None and message.timestamp <= before:
                raise WebhookRefused("this very message was received before; it is replayed")
            oldest = message.timestamp - REMEMBERED_S
            if before is None and len(self._seen) % 1000 == 999:
                self._seen = {known: moment for known, moment in self._seen.items() if moment > oldest}
            self._seen[message.id] = message.timestamp
        return message if before is None else None

    def forget(self, message: WebhookMessage) -> None:
        """It could not be acted on: take it when it is sent again."""
        with self._lock:
            self._seen.pop(message.id, None)
