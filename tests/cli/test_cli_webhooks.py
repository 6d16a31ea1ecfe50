"""`medcoss webhooks` against a real control plane."""

from collections.abc import Callable
from typing import Any

from tests.cli.conftest import Done

Medcoss = Callable[..., Done]
URL = "https://8.8.8.8/hook"


def test_webhooks_are_made_changed_tested_and_removed(medcoss: Medcoss) -> None:
    done = medcoss("webhooks", "create", URL, "--event", "job.failed", "--event", "job.succeeded", "--json")
    hook: dict[str, Any] = done.json["webhook"]
    assert "keep the secret now" in done.err and done.json["secret"].startswith("whsec_")
    assert hook["events"] == ["job.failed", "job.succeeded"]
    assert hook["id"] in medcoss("webhooks", "list").out
    assert medcoss("webhooks", "show", hook["id"], "--json").json == hook
    assert medcoss("webhooks", "change", hook["id"], "--off").out.split() == [hook["id"], "off"]
    assert "switched off" in medcoss("webhooks", "test", hook["id"]).err
    assert medcoss("webhooks", "change", hook["id"], "--on", "--event", "*", "--json").json["events"] == ["*"]
    rotated = medcoss("webhooks", "rotate", hook["id"], "--grace", 1)
    assert rotated.out.startswith("whsec_") and rotated.out.strip() != done.json["secret"]
    message = medcoss("webhooks", "test", hook["id"], "--json").json["id"]
    assert [d["id"] for d in medcoss("webhooks", "deliveries", hook["id"], "--json").json] == [message]
    assert message in medcoss("webhooks", "deliveries", hook["id"], "--state", "pending").out
    again = medcoss("webhooks", "redeliver", hook["id"], message)
    assert again.code == 1 and "still being sent" in again.err
    assert medcoss("webhooks", "delete", hook["id"]).code == 0
    assert medcoss("webhooks", "show", hook["id"]).code == 1


def test_a_url_that_may_not_be_called_is_refused(medcoss: Medcoss) -> None:
    done = medcoss("webhooks", "create", "http://10.0.0.1/")
    assert done.code == 1 and "MEDCOSS_WEBHOOK_NETWORKS" in done.err
