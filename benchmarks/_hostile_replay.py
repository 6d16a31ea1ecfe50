"""Webhook messages that are not to be trusted: a receiver as docs/webhooks.md has it must refuse each one."""

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from random import Random

from medcoss.client import Receiver, WebhookRefused
from services.core import signing
from services.core.ids import new_id

Message = tuple[dict[str, str], bytes]
OLD_S = 301


def _signed(secret: str, seconds: float = 0.0, message_id: str | None = None) -> Message:
    """A message as the platform sends it, `seconds` from now."""
    body = json.dumps({"type": "job.failed", "timestamp": "2026-03-02T12:00:00Z", "data": {"job_id": "job_x"}}).encode()
    return signing.headers([secret], message_id or new_id("msg"), int(time.time() + seconds), body), body


def _with(message: Message, **changed: str) -> Message:
    headers, body = message
    return headers | {name.replace("_", "-"): value for name, value in changed.items()}, body


def _another_body(rng: Random, secret: str) -> Message:
    headers, body = _signed(secret)
    place = rng.randrange(len(body))
    return headers, body[:place] + bytes([body[place] ^ (1 << rng.randrange(8))]) + body[place + 1 :]


def _cut(rng: Random, secret: str) -> Message:
    message = _signed(secret)
    sign = message[0]["webhook-signature"]
    return _with(message, webhook_signature=sign[: rng.randrange(len(sign))])


def _without(rng: Random, secret: str) -> Message:
    headers, body = _signed(secret)
    del headers[rng.choice([*headers])]
    return headers, body


def _moved(rng: Random, secret: str) -> Message:
    message = _signed(secret)
    return _with(message, webhook_timestamp=str(int(message[0]["webhook-timestamp"]) + rng.choice((-1, 1, 10, -100))))


_NONSENSE = (
    "",
    "v1,",
    "v1",
    "v0,aGk=",
    "v1a,aGk=",
    "v1,***",
    ",",
    "v1,aGk= " * 100,
    "none",
    "v1,\xff",
    "v2," + "A" * 44,
)
_MOMENTS = ("", "x", "-1", "1e9", "99999999999999999999", "٣", "0", " 1", "nan")
FORGED: dict[str, Callable[[Random, str], Message]] = {
    "old": lambda rng, secret: _signed(secret, -OLD_S - rng.randrange(10**6)),
    "of the future": lambda rng, secret: _signed(secret, OLD_S + 1 + rng.randrange(10**6)),
    "another body": _another_body,
    "another id": lambda rng, secret: _with(_signed(secret), webhook_id=new_id("msg")),
    "another moment": _moved,
    "another secret": lambda rng, secret: _signed(signing.new_secret()),
    "an empty secret": lambda rng, secret: _signed("whsec_" + base64.b64encode(b"").decode()),
    "a cut signature": _cut,
    "a missing header": _without,
    "a signature that is none": lambda rng, secret: _with(_signed(secret), webhook_signature=rng.choice(_NONSENSE)),
    "a moment that is none": lambda rng, secret: _with(_signed(secret), webhook_timestamp=rng.choice(_MOMENTS)),
}


def replays(rng: Random, number: int) -> Iterator[str]:
    """Send messages to a receiver: good ones, the very same again, and forged ones; what was wrong."""
    secret = signing.new_secret()
    receiver = Receiver(secret)
    for _ in range(number):
        good = _signed(secret)
        if receiver.accept(*good) is None:
            yield "a good message was not taken"
        if not _refused(receiver, good):
            yield "a message was taken twice"
        name = rng.choice([*FORGED])
        if not _refused(receiver, FORGED[name](rng, secret)):
            yield f"a message with {name} was taken"


def _refused(receiver: Receiver, message: tuple[Mapping[str, str], bytes]) -> bool:
    try:
        receiver.accept(*message)
    except WebhookRefused:
        return True
    return False
