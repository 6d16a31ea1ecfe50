"""What the API takes and gives about webhooks."""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.api.schemas import Body, ProjectRef, Text
from services.api.schemas_access import LONGEST_GRACE_S
from services.core import outbox
from services.core.tables import Delivery, Webhook
from services.core.targets import LONGEST_URL, Refused, place_of

_ID, _MESSAGE = "whk_0199c2e1d66f708192a3b", "msg_0199c2e2e77081920a3c4"
_URL = "https://hooks.clinic.example/medcoss"
_WEBHOOK: dict[str, Any] = {
    "id": _ID, "project_id": "prj_default", "url": _URL, "description": "tells the ward's dashboard",
    "events": ["job.succeeded", "job.failed"], "active": True, "disabled_reason": None, "failing_since": None,
    "previous_until": None, "created_by": "ada", "created_at": "2026-03-02T08:30:00Z",
}  # fmt: skip
_PAYLOAD: dict[str, Any] = {
    "type": "job.failed", "timestamp": "2026-03-02T12:00:00.000+00:00",
    "data": {
        "job_id": "job_0199c2b44550a1b2c3d4e", "project_id": "prj_default", "kind": "pretrain", "name": "chest",
        "state": "failed", "attempt": 3, "reason": "out_of_memory", "outputs": {},
    },
}  # fmt: skip
_DELIVERY: dict[str, Any] = {
    "id": _MESSAGE, "event": "job.failed", "payload": _PAYLOAD, "state": "pending", "attempts": 2, "status": 503,
    "error": "answered 503", "excerpt": "maintenance", "created_at": "2026-03-02T12:00:00Z",
    "sent_at": "2026-03-02T12:00:22Z", "next_at": "2026-03-02T12:00:37Z", "finished_at": None,
}  # fmt: skip

Event = Literal[
    "*", "job.waiting", "job.queued", "job.running", "job.paused", "job.attempt_failed", "job.succeeded", "job.failed",
    "job.cancelled", "job.stopped_learning", "job.learns_again", "job.forgotten", "pipeline.succeeded",
    "pipeline.failed", "pipeline.cancelled", "webhook.disabled",
]  # fmt: skip
assert set(get_args(Event)) == {outbox.EVERYTHING, *outbox.TOPICS}
DeliveryState = Literal["pending", "delivered", "failed"]


def _may_be_called(value: str) -> str:
    try:
        place_of(value)
    except Refused as error:
        raise ValueError(str(error)) from None
    return value


def _distinct(value: list[Event]) -> list[Event]:
    return list(dict.fromkeys(value))


_SCHEME = {"pattern": "^https?://[!-~]+$"}
Url = Annotated[
    str, Field(min_length=1, max_length=LONGEST_URL, json_schema_extra=_SCHEME), AfterValidator(_may_be_called)
]
Events = Annotated[list[Event], Field(min_length=1, max_length=20), AfterValidator(_distinct)]


class WebhookRequest(Body):
    """Asks for a webhook."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"url": _URL, "events": ["job.succeeded", "job.failed"]}}
    )

    url: Url = Field(description="where messages are POSTed to, https:// or http://")
    events: Events = Field(default=["*"], description="what it is told of; * is everything")
    description: Text = Field("", max_length=4000, description="for people")
    project: ProjectRef = Field(None, description="name or id; left out: the key's only project, or else `default`")


class WebhookChange(Body):
    """What to change of a webhook; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"active": True}})

    url: Url | None = Field(None, description="where messages are POSTed to, https:// or http://")
    events: Events | None = Field(None, description="what it is told of; * is everything")
    description: Text | None = Field(None, max_length=4000, description="for people")
    active: bool | None = Field(None, description="false: it is told nothing; what waits for it is kept for three days")


class SecretRotation(Body):
    """How long messages are signed with the secret before, too."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"grace_s": 3600}})

    grace_s: float = Field(
        86_400, ge=0, le=LONGEST_GRACE_S, description="0: with the new one only", json_schema_extra={"unit": "s"}
    )


class WebhookOut(BaseModel):
    """A webhook, without its secret."""

    id: str = Field(description="identifier, whk_...")
    project_id: str = Field(description="project whose events it is told, prj_...")
    url: str = Field(description="where messages are POSTed to")
    description: str = Field(description="for people")
    events: list[str] = Field(description="what it is told of; * is everything")
    active: bool = Field(description="false: it is told nothing")
    disabled_reason: str | None = Field(description="why the platform has switched it off; null when it has not")
    failing_since: datetime | None = Field(description="first failure after the last success; null when all is well")
    previous_until: datetime | None = Field(description="until when messages are signed with the secret before, too")
    created_by: str = Field(description="owner of the key that made it")
    created_at: datetime = Field(description="when it was made")

    @classmethod
    def of(cls, row: Webhook) -> "WebhookOut":
        """A row as the API shows it."""
        own = {name: getattr(row, name) for name in cls.model_fields if name != "events"}
        return cls(**own, events=row.topics)


class WebhookCreated(BaseModel):
    """A webhook and its secret, which is shown this once."""

    webhook: WebhookOut = Field(description="the webhook")
    secret: str = Field(description="what signatures are checked with, whsec_...; it is not shown again")


class DeliveryOut(BaseModel):
    """A message to a webhook and what became of it."""

    id: str = Field(description="identifier, msg_..., the same at every attempt: the header webhook-id")
    event: str = Field(description="what it tells of")
    payload: dict[str, Any] = Field(description="the body that is sent")
    state: DeliveryState = Field(description="pending, delivered, or failed: given up")
    attempts: int = Field(description="how often it was sent")
    status: int | None = Field(description="status of the last answer; null when there was none")
    error: str | None = Field(description="what was wrong at the last attempt; null when nothing was")
    excerpt: str | None = Field(description="how the last answer began, if it was no success; at most 200 characters")
    created_at: datetime = Field(description="when it was written")
    sent_at: datetime | None = Field(description="when it was last sent")
    next_at: datetime | None = Field(description="when it is sent next; null when it is over")
    finished_at: datetime | None = Field(description="when it was delivered or given up")

    @classmethod
    def of(cls, row: Delivery) -> "DeliveryOut":
        """A row as the API shows it."""
        own = {name: getattr(row, name) for name in cls.model_fields if name != "event"}
        return cls(**own, event=row.topic)


EXAMPLES = (
    WebhookOut.model_validate(_WEBHOOK),
    WebhookCreated.model_validate({"webhook": _WEBHOOK, "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"}),
    DeliveryOut.model_validate(_DELIVERY),
)
