"""The garbage collector of the object store: `client.gc`, for administrators."""

import threading
import time
from collections.abc import Callable, Iterator

from medcoss.client.errors import ClientError
from medcoss.client.gc_records import GcFinding, GcRun
from medcoss.client.paging import pages
from medcoss.client.transport import Transport

POLL_S = 0.5


class GarbageCollector:
    """`client.gc`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def start(self, *, dry_run: bool = True, max_fraction: float | None = None) -> GcRun:
        """Have the object store compared with what rows own; unless it is a dry run, what nobody owns is removed, but
        nothing when it would be more than `max_fraction` of all objects (by default half of them).
        """
        body = {"dry_run": dry_run} | ({} if max_fraction is None else {"max_fraction": max_fraction})
        return self._transport.read(GcRun, self._transport.call("POST", "/v1/gc", json=body, once=True))

    def get(self, run_id: str) -> GcRun:
        """How far a run is."""
        return self._transport.parse(GcRun, self._transport.get(f"/v1/gc/{run_id}"))

    def list(self) -> Iterator[GcRun]:
        """The runs that are remembered, newest first."""
        return pages(self._transport, "/v1/gc", GcRun)

    def findings(self, run_id: str) -> Iterator[GcFinding]:
        """What a run has found, folder by folder and owner by owner."""
        return pages(self._transport, f"/v1/gc/{run_id}/findings", GcFinding)

    def cancel(self, run_id: str) -> GcRun:
        """Stop a run; what it has removed is gone."""
        return self._transport.read(GcRun, self._transport.call("POST", f"/v1/gc/{run_id}/cancel"))

    def wait(self, run_id: str, *, notify: Callable[[GcRun], None] | None = None,
             timeout_s: float | None = None) -> GcRun:  # fmt: skip
        """The run once it is over; `notify` is told how far it is. Raises ClientError when it lasts too long."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            run = self.get(run_id)
            if notify is not None:
                notify(run)
            if run.ended:
                return run
            if until is not None and time.monotonic() > until:
                raise ClientError(f"{run_id} is not over after {timeout_s:g} s; it goes on")
            threading.Event().wait(POLL_S)
