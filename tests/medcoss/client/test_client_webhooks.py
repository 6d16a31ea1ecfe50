"""A receiver trusts what is signed and fresh, once."""

import base64
import time

import pytest

from medcoss.client import Receiver, WebhookRefused, verify
from services.core.signing import headers, new_secret, signature

# the example of the Standard Webhooks specification
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
MESSAGE = b'{"type":"job.failed","timestamp":"2026-03-02T12:00:00Z","data":{"job_id":"job_1","name":"chest"}}'


def signed(secret: str, at: float | None = None, message_id: str = "msg_1") -> dict[str, str]:
    return headers([secret], message_id, int(time.time() if at is None else at), MESSAGE)


def test_signatures_are_those_of_the_specification() -> None:
    assert signature(SECRET, ID, AT, BODY) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_is_signed_and_fresh_is_taken() -> None:
    message = verify(SECRET, {k.title(): v for k, v in signed(SECRET).items()}, MESSAGE)
    assert (message.id, message.type, message.data["job_id"]) == ("msg_1", "job.failed", "job_1")
    other = new_secret()
    both = headers([other, SECRET], "msg_1", int(time.time()), MESSAGE)
    assert verify(SECRET, both, MESSAGE) and verify([new_secret(), other], both, MESSAGE)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": ""}, {"webhook-signature": "v1,"}, {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v2," + base64.b64encode(b"x" * 32).decode()}, {"webhook-signature": "v1,ä v1,\x00"},
        {"webhook-id": "msg_2"}, {"webhook-id": ""}, {"webhook-timestamp": "soon"}, {"webhook-timestamp": "-1"},
        {"webhook-timestamp": str(int(time.time()) + 1)}, {"webhook-timestamp": "9" * 40}, {"webhook-timestamp": "١٢٣"},
    ],
)  # fmt: skip
def test_what_was_changed_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(WebhookRefused):
        verify(SECRET, signed(SECRET, at=time.time() - 5) | change, MESSAGE)


def test_another_body_or_secret_is_refused() -> None:
    with pytest.raises(WebhookRefused, match="no signature fits"):
        verify(SECRET, signed(SECRET), MESSAGE + b" ")
    with pytest.raises(WebhookRefused, match="no signature fits"):
        verify(new_secret(), signed(SECRET), MESSAGE)
    with pytest.raises(WebhookRefused, match="no message"):
        verify(SECRET, headers([SECRET], "msg_1", int(time.time()), b"[]"), b"[]")
    with pytest.raises(ValueError, match="begins with whsec_"):
        verify("whsec_#", signed(SECRET), MESSAGE)


@pytest.mark.parametrize("shift", [-301, 302])
def test_what_is_old_or_from_the_future_is_refused(shift: int) -> None:
    with pytest.raises(WebhookRefused, match="replayed"):
        verify(SECRET, signed(SECRET, at=time.time() + shift), MESSAGE)
    assert verify(SECRET, signed(SECRET, at=AT), MESSAGE, now=AT + 299)


def test_a_replay_is_refused_and_a_retry_is_known() -> None:
    receiver = Receiver(SECRET)
    first = signed(SECRET, at=time.time() - 10)
    message = receiver.accept(first, MESSAGE)
    assert message is not None
    with pytest.raises(WebhookRefused, match="received before"):
        receiver.accept(first, MESSAGE)
    assert receiver.accept(signed(SECRET), MESSAGE) is None, "sent again because the answer was lost"
    with pytest.raises(WebhookRefused):
        receiver.accept(first, MESSAGE)
    receiver.forget(message)
    assert receiver.accept(signed(SECRET), MESSAGE) == verify(SECRET, signed(SECRET), MESSAGE), "it is acted on at last"
    assert receiver.accept(signed(SECRET, message_id="msg_2"), MESSAGE) is not None
