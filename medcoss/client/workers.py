"""Workers: who is there to run jobs."""

from collections.abc import Iterator

from medcoss.client.paging import pages
from medcoss.client.records import Worker
from medcoss.client.transport import Transport


class Workers:
    """`client.workers`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, state: str | None = None) -> Iterator[Worker]:
        """Workers that were heard of in the last days, by name; `state` is idle, running, draining or gone."""
        return pages(self._transport, "/v1/workers", Worker, {"state": state})
