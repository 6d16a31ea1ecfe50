"""A worker tells every few seconds that it lives, what it offers and what it does, also while it is idle."""

import os
import socket
import threading
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from medcoss import __version__
from services.core import workers
from services.core.tables.base import now
from services.core.workers import BEAT_S, Beat, WorkerState
from services.worker import gpus
from services.worker.offer import devices
from services.worker.supervisor import Supervisor

_log = structlog.get_logger()


class Heart:
    """Beats in a thread of its own from `start` to `stop`, and whenever a job begins or ends. A database that is away
    is tried again at the next beat.
    """

    def __init__(self, supervisor: Supervisor, queues: list[str], every_s: float = BEAT_S) -> None:
        self._supervisor, self._every_s = supervisor, every_s
        self._devices = devices(supervisor.settings)
        self._facts: dict[str, Any] = {
            "name": supervisor.worker, "host": socket.gethostname(), "pid": os.getpid(), "version": __version__,
            "queues": queues, "gpus": supervisor.offer.gpus,
            "nodes": supervisor.offer.nodes, "memory_bytes": supervisor.offer.memory_bytes,
            "cpus": len(os.sched_getaffinity(0)), "started_at": now(),
        }  # fmt: skip
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Say good-bye: the worker is gone at once, not after a silence."""
        self._over.set()
        self._supervisor.news.set()
        self._thread.join()
        try:
            with self._supervisor.database.session() as session:
                workers.left(session, self._facts["name"])
        except (DBAPIError, PoolTimeout) as error:
            # the sweeper notices the silence
            _log.warning("good_bye_failed", error=type(error).__name__)

    def beat(self) -> Beat:
        """What there is to tell now."""
        seen, running = gpus.look(self._devices), sorted(self._supervisor.running)
        state = WorkerState.RUNNING if running else WorkerState.IDLE
        if self._supervisor.shutting_down.is_set():
            state = WorkerState.DRAINING
        return Beat(
            **self._facts, gpu_model=seen.model, gpu_memory_bytes=seen.memory_bytes, state=state,
            job_id=running[0] if running else None, gpu_utilisation=seen.utilisation,
            gpu_memory_used_bytes=seen.memory_used_bytes,
        )  # fmt: skip

    def _run(self) -> None:
        news = self._supervisor.news
        while not self._over.is_set():
            news.clear()
            try:
                with self._supervisor.database.session() as session:
                    workers.heard(session, self.beat())
            except (DBAPIError, PoolTimeout) as error:
                _log.warning("beat_failed", error=type(error).__name__)
            if not self._over.is_set():
                news.wait(self._every_s)
