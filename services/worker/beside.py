"""Work beside the sweeper, which goes on meanwhile."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import DBAPIError

_log = structlog.get_logger()


class Beside:
    """Does `work` in a thread called `name`, one at a time. What breaks is logged: the next sweep asks again."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self._name, self._do = name, work
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def kick(self) -> None:
        """Have the work done by a thread of its own, unless one is at it; returns at once."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def _work(self) -> None:
        try:
            self._do()
        except DBAPIError as error:
            _log.warning("database_failed", error=type(error.orig).__name__)
        except Exception:  # noqa: BLE001 - the next sweep begins it anew
            _log.exception(f"{self._name}_failed")
