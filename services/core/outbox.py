"""Messages to webhooks, written in the transaction of what they tell of: none is lost, none tells what did not happen.

A message holds identifiers, names, states and typed reasons; never details of an error, which may name files.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from services.core.ids import new_id
from services.core.tables import Delivery, Job, Webhook
from services.core.tables.base import now

# state changes of jobs that are told, and what has become of a modality, by the type of their event
JOB_EVENTS = (
    "waiting", "queued", "running", "paused", "attempt_failed", "succeeded", "failed", "cancelled", "stopped_learning",
    "learns_again", "forgotten",
)  # fmt: skip
TEST, DISABLED = "webhook.test", "webhook.disabled"
PIPELINE_EVENTS = ("succeeded", "failed", "cancelled")
TOPICS = (
    *(f"job.{name}" for name in JOB_EVENTS), *(f"pipeline.{name}" for name in PIPELINE_EVENTS), DISABLED,
)  # fmt: skip
EVERYTHING = "*"
_MADE = re.compile(r"(ds|mdl|dep)_[0-9a-z]{1,60}")


# one statement for all jobs, which finds nothing where nobody listens
_LISTENING = (
    select(Webhook.id, Webhook.topics, Job.id.label("job_id"), Job.project_id, Job.kind, Job.name, Job.state,
           Job.error, Job.result)
    .join(Job, Job.project_id == Webhook.project_id)
    .where(Job.id.in_(bindparam("told", expanding=True)), Webhook.active).order_by(Job.id)
)  # fmt: skip


def tell_of_jobs(session: Session, events: Sequence[Mapping[str, Any]]) -> None:
    """Jobs' states have changed, one event a job (`job_id`, `attempt`, `type`, `data`): write a message for each
    webhook of its project that wants it.
    """
    told = {event["job_id"]: event for event in events if event["type"] in JOB_EVENTS}
    if not told:
        return
    for row in session.execute(_LISTENING, {"told": list(told)}):
        event = told[row.job_id]
        if listens(row.topics, f"job.{event['type']}"):
            write(session, row.id, f"job.{event['type']}", _about(row, event))


def _about(row: Any, event: Mapping[str, Any]) -> dict[str, Any]:
    type_ = event["type"]
    why = event["data"].get("problem") or (row.error if type_ == "failed" else None) or {}
    return {
        "job_id": row.job_id, "project_id": row.project_id, "kind": row.kind, "name": row.name, "state": row.state,
        "attempt": event["attempt"], "reason": why.get("reason"), "outputs": _outputs(type_, row.result),
    } | ({"modality": event["data"]["modality"]} if "modality" in event["data"] else {})  # fmt: skip


def listens(topics: list[Any], topic: str) -> bool:
    """True for a webhook that wants messages of this topic."""
    return topic in topics or EVERYTHING in topics


def _outputs(type_: str, result: dict[str, Any] | None) -> dict[str, str]:
    made = (result or {}).get("outputs", {}) if type_ == "succeeded" else {}
    return {str(resource): row_id for resource, row_id in made.items() if _MADE.fullmatch(str(row_id))}


def write(session: Session, webhook_id: str, topic: str, data: dict[str, Any]) -> Delivery:
    """A message for one webhook, due at once."""
    moment = now()
    payload = {"type": topic, "timestamp": moment.astimezone(UTC).isoformat(timespec="milliseconds"), "data": data}
    row = Delivery(id=new_id("msg"), webhook_id=webhook_id, topic=topic, payload=payload, created_at=moment,
                   asked_at=moment, next_at=moment)  # fmt: skip
    session.add(row)
    return row


def tell_project(session: Session, project_id: str, topic: str, data: dict[str, Any]) -> None:
    """Something of a project that is no job has changed."""
    listening = select(Webhook.id, Webhook.topics).where(Webhook.project_id == project_id, Webhook.active)
    for row in session.execute(listening):
        if listens(row.topics, topic):
            write(session, row.id, topic, data)
