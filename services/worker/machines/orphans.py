"""TrainJobs whose worker was lost: removed as soon as another worker notices."""

import threading

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.core.db import Database
from services.core.lifecycle import State
from services.core.settings import Settings
from services.core.tables import Job
from services.worker.machines.cluster import Cluster, ClusterAway, ClusterRefused
from services.worker.machines.names import FENCE, JOB, RUNTIME

EVERY_S = 30.0
_log = structlog.get_logger()


def remove_orphans(cluster: Cluster, settings: Settings, database: Database) -> list[str]:
    """Remove the TrainJobs of attempts that have ended or have lost their lease; their names. What they might still
    publish carries an old fence and changes nothing: they only take machines away from others.
    """
    found = {
        one["metadata"]["name"]: (one["metadata"]["labels"].get(JOB, ""), one["metadata"]["labels"].get(FENCE, ""))
        for one in cluster.train_jobs(f"{RUNTIME}={settings.machines_runtime}")
    }
    if not found:
        return []
    with database.session() as session:
        running = select(Job.id, Job.fence).where(
            Job.state == State.RUNNING, Job.id.in_({job_id for job_id, _ in found.values()})
        )
        held = {(job_id, str(fence)) for job_id, fence in session.execute(running)}
    orphans = [name for name, claim in found.items() if claim not in held]
    for name in orphans:
        cluster.remove(name)
    return orphans


class OrphanWatch:
    """Looks for them from `start` to `stop`, in a thread of its own."""

    def __init__(self, cluster: Cluster, settings: Settings, database: Database) -> None:
        self._given = cluster, settings, database
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orphans", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for a look that is under way."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                if names := remove_orphans(*self._given):
                    _log.warning("orphans_removed", train_jobs=names)
            except (ClusterAway, ClusterRefused, DBAPIError, PoolTimeout) as error:
                _log.warning("orphans_not_known", error=str(error) or type(error).__name__)
            self._over.wait(EVERY_S)
