"""What the API takes and gives about projects, keys and the audit log."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from medcoss.specs.base import Name
from services.api.schemas import SECONDS, Body, Text
from services.core.keys import RoleName
from services.core.lists import Moment

LONGEST_GRACE_S = 30 * 86_400


def _no_id(value: str | None) -> str | None:
    if value is not None and value.startswith("prj_"):
        raise ValueError("expected a name that does not look like a project's id")
    return value


class ProjectRequest(Body):
    """Asks for a project."""

    name: Name = Field(description="unique on the platform")
    description: Text = Field("", max_length=4000, description="for people")

    _is_name = field_validator("name")(_no_id)


class ProjectChange(Body):
    """What to change of a project; what is left out stays."""

    name: Name | None = Field(None, description="unique on the platform")
    description: Text | None = Field(None, max_length=4000, description="for people")

    _is_name = field_validator("name")(_no_id)


class ProjectOut(BaseModel):
    """A project: what it owns is seen by its own keys only."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="identifier, prj_...")
    name: str = Field(description="unique on the platform")
    description: str = Field(description="for people")
    created_at: datetime = Field(description="when it was made")


class KeyRequest(Body):
    """Asks for a key."""

    name: Text = Field(min_length=1, max_length=128, description="what the key is for")
    owner: Text | None = Field(
        None, min_length=1, max_length=128,
        description="person or program that uses it: shown as `created_by`, and what turns and quotas are counted by; "
        "the name when left out",
    )  # fmt: skip
    role: RoleName = Field(description="viewer reads, operator also changes, admin also manages keys and projects")
    projects: list[str] | None = Field(
        None, max_length=100,
        description="names or ids of what it opens; left out: `default`. An admin's key opens all and takes none",
    )  # fmt: skip
    expires_at: Moment | None = Field(None, description="when it ends; left out: never")

    @field_validator("expires_at")
    @classmethod
    def _is_to_come(cls, value: datetime | None) -> datetime | None:
        if value is not None and not datetime.now(UTC) < value < datetime.now(UTC) + timedelta(days=36_500):
            raise ValueError("expected a moment to come")
        return value


class Rotation(Body):
    """How long the secret before still opens."""

    grace_s: float = Field(
        86_400, ge=0, le=LONGEST_GRACE_S, description="0: it ends at once", json_schema_extra=SECONDS
    )


class KeyOut(BaseModel):
    """A key, without its secret; `projects` is null for administrators, who see all."""

    id: str = Field(description="identifier, key_...; no secret")
    name: str = Field(description="what the key is for")
    owner: str = Field(description="person or program that uses it")
    role: RoleName = Field(description="viewer, operator or admin")
    projects: list[str] | None = Field(
        description="names of the projects that it opens; null for administrators, who see all"
    )
    state: Literal["active", "expired", "revoked"] = Field(description="active, expired or revoked")
    created_at: datetime = Field(description="when it was made")
    expires_at: datetime | None = Field(description="when it ends; null: never")
    revoked_at: datetime | None = Field(description="when it was closed; null while it is open")
    last_used_at: datetime | None = Field(description="last use, to the minute; null: never used")
    previous_until: datetime | None = Field(description="until when the secret before opens, too")


class KeyCreated(BaseModel):
    """A key and its secret, which is shown this once."""

    key: KeyOut = Field(description="the key")
    secret: str = Field(description="send it as `Authorization: Bearer ...`; it is not shown again")


class Me(BaseModel):
    """Who calls; `projects` are those that the key opens, all of them for administrators."""

    key_id: str = Field(description="identifier of the key")
    name: str = Field(description="what the key is for")
    owner: str = Field(description="person or program that uses it")
    role: RoleName = Field(description="viewer, operator or admin")
    all_projects: bool = Field(description="true for administrators")
    projects: list[ProjectOut] = Field(description="what the key opens")
    expires_at: datetime | None = Field(description="when it ends; null: never")


class AuditOut(BaseModel):
    """One write, or one attempt without a good key."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="number of the row")
    at: datetime = Field(description="when it happened")
    actor: str | None = Field(description="owner of the key; null without a good one")
    key_id: str | None = Field(description="the key; null without a good one")
    address: str | None = Field(description="where the request came from")
    method: str = Field(description="HTTP method")
    route: str = Field(description="path with placeholders")
    path: str = Field(description="path as it was called")
    request_id: str = Field(description="finds the request in the server's log")
    status: int = Field(description="HTTP status of the answer")
    outcome: str = Field(description="done, denied, rejected or failed")
    detail: str | None = Field(description="why a key was refused")
