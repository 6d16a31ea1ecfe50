"""Runs the garbage collector beside the sweeper, which goes on meanwhile."""

from collections.abc import Callable

import structlog
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from services.core import audit
from services.core.db import Database
from services.core.garbage import runs
from services.core.garbage.collect import Collection, TooMuch
from services.core.storage import ObjectStore
from services.core.tables import GcRun
from services.core.tables.base import now
from services.worker.beside import Beside

_log = structlog.get_logger()


class Collector:
    """Carries out runs that wait. `kick` returns at once; `unload` takes a model out of Triton."""

    def __init__(self, database: Database, store: ObjectStore, unload: Callable[[str], None]) -> None:
        self._database, self._store, self._unload = database, store, unload
        self._beside = Beside("collector", self.run_next)

    def kick(self) -> None:
        """Have the run that waits carried out, unless one is. One whose process ends is begun anew by the next."""
        self._beside.kick()

    def run_next(self) -> str | None:
        """Carry out the run that waits; how it ended, None when there was none or another collector has it."""
        with self._database.session() as session:
            run = runs.take(session, now())
        if run is None:
            return None
        work = Collection(self._database, self._store, run, self._unload)
        state, why = "succeeded", None
        try:
            work.carry_out()
        except runs.Stopped:
            state = "cancelled"
        except TooMuch as error:
            state, why = "failed", str(error)
        except (MinioException, HTTPError, OSError) as error:
            state, why = "failed", f"the object store does not answer as it should ({type(error).__name__})"
        with self._database.session() as session:
            ended = runs.finish(session, run.id, run.fence, state, error=why)
        if not ended:
            return None
        _log.info("garbage_collected", run=run.id, state=state, dry_run=run.dry_run, **work.removed)
        if not run.dry_run:
            self._put_on_record(run, state, work.removed["objects"], work.removed["bytes"])
        return state

    def _put_on_record(self, run: GcRun, state: str, objects: int, size: int) -> None:
        """What was removed in the end, beside the request that asked for it."""
        deed = audit.Deed(
            "DELETE", "/v1/gc/{run_id}", f"/v1/gc/{run.id}", run.id, 500 if state == "failed" else 200,
            actor=run.created_by, detail=f"garbage collection {state}: removed {objects:,} objects, {size:,} bytes",
        )  # fmt: skip
        audit.record(self._database, deed)
