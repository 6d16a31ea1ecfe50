"""Served versions of models."""

from collections.abc import Iterator
from typing import Any, Unpack

from medcoss.client.errors import DeploymentFailed
from medcoss.client.filters import DeploymentFilters, params
from medcoss.client.paging import pages
from medcoss.client.records import Deployment
from medcoss.client.transport import Transport
from medcoss.client.waiting import until_ended


class Deployments:
    """`client.deployments`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, model: str, name: str, *, project: str | None = None, **options: Any) -> Deployment:
        """Serve a model under a name; `options` are the other fields of an `export` job, as `precision="fp16"` or
        `activate=False`. The version that answers under the name goes on answering until this one is ready.
        """
        body = {"model": model, "name": name, "project": project} | options
        asked = {field: value for field, value in body.items() if value is not None}
        return self._transport.read(
            Deployment, self._transport.call("POST", "/v1/deployments", json=asked, once=True)
        )  # fmt: skip

    def get(self, deployment_id: str) -> Deployment:
        """One version."""
        return self._transport.parse(Deployment, self._transport.get(f"/v1/deployments/{deployment_id}"))

    def list(self, **filters: Unpack[DeploymentFilters]) -> Iterator[Deployment]:
        """Versions, newest first unless `sort` says otherwise."""
        return pages(self._transport, "/v1/deployments", Deployment, params(filters, DeploymentFilters))

    def wait(self, deployment_id: str, timeout: float | None = None) -> Deployment:
        """The version once it is ready; `timeout` in seconds. Raises DeploymentFailed with the reason, and
        TimeoutError; it goes on loading in that case.
        """
        found = until_ended(lambda: self.get(deployment_id), deployment_id, timeout, None)
        if found.state == "failed":
            why = found.error or {}
            what = f"{why.get('title', 'Error')}: {why.get('detail') or 'no reason is recorded'}"
            raise DeploymentFailed(f"{deployment_id} has failed: {what}", found)
        return found

    def activate(self, deployment_id: str) -> Deployment:
        """Have a version that is ready answer for its name from now on; no request is dropped."""
        return self._do(deployment_id, "activate")

    def roll_back(self, deployment_id: str) -> Deployment:
        """Have the version answer again that answered before this one; that one is returned. Raises ApiError (409)
        when this one does not answer, or none did before.
        """
        return self._do(deployment_id, "rollback")

    def reload(self, deployment_id: str) -> Deployment:
        """Have a version that was ready and has failed since be loaded and checked again."""
        return self._do(deployment_id, "reload")

    def _do(self, deployment_id: str, what: str) -> Deployment:
        response = self._transport.call("POST", f"/v1/deployments/{deployment_id}/{what}", once=True)
        return self._transport.read(Deployment, response)

    def delete(self, deployment_id: str) -> None:
        """Stop serving a version; the one that answered before it does from now on."""
        self._transport.call("DELETE", f"/v1/deployments/{deployment_id}")
