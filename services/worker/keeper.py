"""Keeps Triton at what the database says: whatever it has lost, it loads again, and what comes back is checked."""

import structlog

from medcoss.run import BadInput
from medcoss.specs.records import DeploymentInfo
from services.core import deployments
from services.core.db import Database
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.worker.beside import Beside
from services.worker.errors import TritonRefused
from services.worker.process import without_folders
from services.worker.triton import AWAY, TritonRepository

_log = structlog.get_logger()


class Keeper:
    """Loads versions that should be ready and are not. `kick` returns at once: to load one may take minutes."""

    def __init__(self, settings: Settings, database: Database, store: ObjectStore) -> None:
        self._settings, self._database, self._store = settings, database, store
        self._beside = Beside("keeper", self.keep)

    def kick(self) -> None:
        """Have Triton looked at, unless somebody is at it."""
        self._beside.kick()

    def keep(self) -> int:
        """Load what is not loaded; how many versions. Nothing while Triton or the object store is away."""
        with self._database.reading() as session:
            wanted = deployments.to_keep(session)
        if not wanted:
            return 0
        # a client belongs to the thread that made it
        repository = TritonRepository(self._settings, self._store)
        loaded = 0
        try:
            states = repository.loaded()
            for row_id, state, info in wanted:
                at_triton = states.get(info.triton_model)
                if at_triton == "LOADING" or (at_triton == "READY" and state == deployments.READY):
                    continue
                loaded += self._load(repository, row_id, info)
        except (OSError, *AWAY) as error:
            _log.info("triton_is_away", error=type(error).__name__)
        return loaded

    def _load(self, repository: TritonRepository, row_id: str, info: DeploymentInfo) -> bool:
        try:
            repository.restore(info.triton_model)
            difference = repository.check(info)
        except (TritonRefused, BadInput) as error:
            detail = without_folders(str(error))
            _log.warning("deployment_failed", deployment=row_id, detail=detail)
            repository.withdraw(info.triton_model)
            with self._database.session() as session:
                deployments.broke(session, row_id, "The model cannot be served", detail, "serving")
            return False
        with self._database.session() as session:
            is_wanted = deployments.came(session, row_id)
        if not is_wanted:
            # it was deleted while it was loaded
            repository.withdraw(info.triton_model)
            return False
        _log.info("deployment_loaded", deployment=row_id, difference=difference)
        return True
