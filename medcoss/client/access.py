"""Who may do what: projects, keys and the audit log."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from medcoss.client.paging import pages
from medcoss.client.records import ApiKey, AuditEntry, NewKey, Project
from medcoss.client.transport import Transport


class Projects:
    """`client.projects`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[Project]:
        """The projects that the key opens, newest first."""
        return pages(self._transport, "/v1/projects", Project)

    def get(self, project_id: str) -> Project:
        """One project."""
        return self._transport.parse(Project, self._transport.get(f"/v1/projects/{project_id}"))

    def create(self, name: str, description: str = "") -> Project:
        """Make a project (administrators)."""
        body = {"name": name, "description": description}
        return self._transport.read(Project, self._transport.call("POST", "/v1/projects", json=body, once=True))

    def change(self, project_id: str, *, name: str | None = None, description: str | None = None) -> Project:
        """Another name or description (administrators)."""
        body = {"name": name, "description": description}
        return self._transport.change(Project, f"/v1/projects/{project_id}", body)


class Keys:
    """`client.keys`, for administrators."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[ApiKey]:
        """All keys, newest first, those that have ended too."""
        return pages(self._transport, "/v1/keys", ApiKey)

    def get(self, key_id: str) -> ApiKey:
        """One key."""
        return self._transport.parse(ApiKey, self._transport.get(f"/v1/keys/{key_id}"))

    def create(self, name: str, role: str, *, owner: str | None = None, projects: Iterable[str] | None = None,
               expires_at: datetime | None = None) -> NewKey:  # fmt: skip
        """Make a key. `projects` are names or ids, by default `default`; the secret is shown this once."""
        body: dict[str, Any] = {"name": name, "role": role, "owner": owner}
        body["projects"] = None if projects is None else [*projects]
        body["expires_at"] = None if expires_at is None else expires_at.isoformat()
        return self._transport.read(NewKey, self._transport.call("POST", "/v1/keys", json=body))

    def rotate(self, key_id: str, *, grace_s: float | None = None) -> NewKey:
        """A new secret for a key; the one before opens for `grace_s` seconds more, by default a day."""
        body = {} if grace_s is None else {"grace_s": grace_s}
        return self._transport.read(NewKey, self._transport.call("POST", f"/v1/keys/{key_id}/rotate", json=body))

    def revoke(self, key_id: str) -> None:
        """Close a key at once and for good."""
        self._transport.call("DELETE", f"/v1/keys/{key_id}")


class Audit:
    """`client.audit`, for administrators."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, actor: str | None = None, outcome: str | None = None, since: datetime | None = None,
             until: datetime | None = None) -> Iterator[AuditEntry]:  # fmt: skip
        """Writes and calls without a good key, newest first."""
        asked = {
            "actor": actor, "outcome": outcome, "since": since and since.isoformat(),
            "until": until and until.isoformat(),
        }  # fmt: skip
        return pages(self._transport, "/v1/audit", AuditEntry, asked)
