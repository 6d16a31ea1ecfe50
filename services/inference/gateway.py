"""What the gateway holds while it runs."""

from services.core.access import Access
from services.core.db import Database
from services.core.scope import Scope
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.inference.admission import Admission
from services.inference.deployments import Deployments
from services.inference.indexes import Indexes
from services.inference.predict import Predictor
from services.inference.references import References
from services.inference.triton import Triton


class Gateway:
    """The connections of one gateway process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database_url)
        store = ObjectStore(settings)
        self.deployments = Deployments(self.database, store)
        self.references = References(settings, self.database, store)
        self.admission = Admission(settings)
        self.indexes = Indexes(self.database, store, settings.index_memory_bytes)
        self.access = Access(settings, self.database)
        self.triton = Triton(settings.triton_url)

    def close(self) -> None:
        """Let what is under way end, and let go of all connections."""
        self.admission.close()
        self.references.close()
        self.triton.close()
        self.access.close()
        self.database.engine.dispose()

    def predictor(self, scope: Scope, name: str, call: str) -> Predictor:
        """The newest version of a served model, ready for `call`."""
        served = self.deployments.find(scope, name, call)
        return Predictor(served, self.deployments.preprocessing(served), self.triton)
