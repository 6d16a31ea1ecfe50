"""Who holds the data of a patient or of a file, as a request asks for it."""

from services.api.dependencies import Parts
from services.api.schemas_lineage import HoldersQuery
from services.core import erasures, holders
from services.core.holders import Holders
from services.core.scope import Scope


def found(parts: Parts, project_id: str, query: HoldersQuery) -> tuple[erasures.Whose, Holders]:
    """Whose data are asked for, and what holds them; lists of patients are read outside of transactions."""
    scope = Scope.of(project_id)
    with parts.database.reading() as session:
        if query.sha256 is not None:
            return erasures.Whose(sha256=query.sha256), holders.of_file(session, scope, query.sha256)
        key = query.key or holders.key_of(session, project_id, query.cohort, query.patient or "")
        lists = holders.lists_of_patients(session, scope)
    held = holders.holding_patient(parts.store, lists, key)
    with parts.database.reading() as session:
        return erasures.Whose(patient_key=key), holders.trained_on(session, scope, held)
