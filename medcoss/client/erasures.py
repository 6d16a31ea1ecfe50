"""Erasures: `client.erasures`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Unpack

from pydantic import Field

from medcoss.client.filters import ErasureFilters, params
from medcoss.client.paging import pages
from medcoss.client.records import Record
from medcoss.client.transport import Transport


class Erasure(Record):
    """Whose data have to go, what holds them, and the pipeline that makes that anew; `left` cannot be, and why."""

    id: str
    project_id: str = ""
    reason: str
    patient_key: str | None = None
    sha256: str | None = None
    datasets: dict[str, list[str]] = Field(default={})
    models: list[str] = Field(default=[])
    deployments: list[str] = Field(default=[])
    unknown: list[str] = Field(default=[])
    left: dict[str, str] = Field(default={})
    pipeline_id: str | None = None
    created_by: str
    created_at: datetime


class Erasures:
    """`client.erasures`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, reason: str, *, patient: str | None = None, cohort: str = "own", key: str | None = None,
               sha256: str | None = None, project: str | None = None) -> Erasure:  # fmt: skip
        """Mark what holds the data of a patient (by identifier and cohort, or by keyed hash) or of a raw file."""
        body = {"reason": reason, "patient": patient, "cohort": cohort, "key": key, "sha256": sha256}
        asked = {name: value for name, value in body.items() if value is not None}
        response = self._transport.call("POST", "/v1/erasures", json=asked, params={"project": project})
        return self._transport.read(Erasure, response)

    def get(self, erasure_id: str) -> Erasure:
        """One erasure."""
        return self._transport.parse(Erasure, self._transport.get(f"/v1/erasures/{erasure_id}"))

    def list(self, **filters: Unpack[ErasureFilters]) -> Iterator[Erasure]:
        """Erasures, newest first."""
        return pages(self._transport, "/v1/erasures", Erasure, params(filters, ErasureFilters))

    def rebuild(self, erasure_id: str, *, redeploy: bool = False) -> Erasure:
        """Make anew what is marked, without the data, as a pipeline; with `redeploy` what is served, too."""
        asked = {"redeploy": redeploy}
        response = self._transport.call("POST", f"/v1/erasures/{erasure_id}/rebuild", json=asked)
        return self._transport.read(Erasure, response)
