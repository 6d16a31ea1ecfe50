"""The stages that an encoder has gone through, by its lineage, and the rehearsal buffers of their data."""

from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from medcoss.modalities import Kind
from medcoss.specs.curriculum import Earlier
from medcoss.specs.plan import sample_bytes
from medcoss.specs.records import DatasetInfo
from services.core import registry
from services.core.errors import FieldError, ValidationFailed
from services.core.scope import Scope
from services.core.tables import Dataset, Lineage, Model

# more stages than any encoder has gone through; lineages have no circles
_MOST = 1000


def earlier_stages(session: Session, scope: Scope, model_id: str, where: str, *, rehearsed: bool) -> list[Earlier]:
    """The stages of an encoder, the first one first, each with its newest buffer if there is one. What was imported has
    none.

    ValidationFailed, naming `where`, for a stage that is to be rehearsed, whose dataset has been deleted and that has
    no buffer.
    """
    chain = list(reversed(list(_chain(session, scope, model_id))))
    before = _buffers(session, scope, registry.inputs_of(session, model_id))
    found: list[Earlier] = []
    for model in chain:
        for dataset_id in _learnt(session, scope, model):
            dataset = scope.find(session, Dataset, dataset_id)
            buffer = _of(session, before, dataset_id) or _newest(session, scope, dataset_id)
            known = dataset or buffer
            if known is None and rehearsed:
                detail = (
                    f"{dataset_id}, which {model.id} was trained on, has been deleted and has no rehearsal buffer; "
                    "name the buffers to rehearse in init_buffers, or set rehearsal to none"
                )
                raise ValidationFailed(detail, [FieldError(where, detail)])
            # of a stage that has learnt several modalities at once, each dataset shows its own
            modality = known.modality if known is not None and known.modality else model.modality
            found.append(
                Earlier(
                    modality, model.id, dataset.id if dataset else None, buffer.id if buffer else None,
                    _bytes(buffer) if buffer else 0,
                )
            )  # fmt: skip
    return found


def _chain(session: Session, scope: Scope, model_id: str) -> Iterator[Model]:
    """An encoder and those that it went on from, as far as they are there."""
    row = scope.find(session, Model, model_id)
    for _ in range(_MOST):
        if row is None:
            return
        yield row
        row = next((found for parent in row.parents if (found := scope.find(session, Model, parent))), None)


def _learnt(session: Session, scope: Scope, model: Model) -> list[str]:
    """The datasets that a stage learnt: the one it is recorded with, and those beside it, without what it rehearsed."""
    first = [model.dataset_id] if model.dataset_id else []
    others = [row.id for name in sorted(registry.inputs_of(session, model.id))
              if (row := scope.find(session, Dataset, name)) is not None and row.role == "prepared"]  # fmt: skip
    return list(dict.fromkeys([*first, *others]))


def _buffers(session: Session, scope: Scope, names: set[str]) -> list[Dataset]:
    rows = (scope.find(session, Dataset, name) for name in sorted(names))
    return [row for row in rows if row is not None and row.role == "buffer"]


def _of(session: Session, buffers: Sequence[Dataset], dataset_id: str) -> Dataset | None:
    """The buffer among these that was chosen from a dataset, maybe through another buffer."""
    return next((row for row in buffers if dataset_id in registry.origins(session, row.id)), None)


def _bytes(buffer: Dataset) -> int:
    """What a buffer takes of a budget; of reports, as they are stored."""
    info = DatasetInfo.model_validate(buffer.info)
    return buffer.total_bytes if info.kind is Kind.TEXT else info.samples * sample_bytes(info)


def _newest(session: Session, scope: Scope, dataset_id: str) -> Dataset | None:
    chosen = select(Lineage.child_id).where(Lineage.input_id == dataset_id)
    newest = scope.select(Dataset).where(Dataset.id.in_(chosen), Dataset.role == "buffer")
    return session.scalars(newest.order_by(Dataset.created_at.desc(), Dataset.id.desc()).limit(1)).first()
