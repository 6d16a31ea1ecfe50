"""Evaluations: recorded with the end of the job that made them, found, deleted."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from medcoss.specs.records import Draws, EvaluationInfo, FileEntry
from services.core import leftovers
from services.core.errors import FieldError, ValidationFailed
from services.core.scope import Scope
from services.core.storage import ObjectStore
from services.core.tables import Dataset, Evaluation, EvaluationFile, Job, Model

# what a list is sorted by, and the best checkpoint is chosen by: higher is better
DRAWS = "draws.json"
FORGETTING = "forgetting"
HEADLINES = {"classification": "f1", "segmentation": "dice", FORGETTING: "backward_transfer"}


def folder_of(evaluation_id: str) -> str:
    """Where its files are in the object store."""
    return f"evaluations/{evaluation_id}"


def register(session: Session, evaluation_id: str, *, name: str, info: EvaluationInfo, model_id: str, dataset_id: str,
             split: str, files: Sequence[FileEntry], job_id: str, project_id: str, seed: int | None = None,
             fold: int | None = None) -> None:  # fmt: skip
    """Record an evaluation with its files; the model is registered by now. Of `info` everything but the cases is kept.

    `seed` and `fold` that are not given are those of the job that trained the model, as far as its spec tells.
    """
    model = session.get_one(Model, model_id)
    dataset = session.get_one(Dataset, dataset_id)
    trained = _spec_of(session, model)
    task = FORGETTING if info.forgetting is not None else model.task
    headline = HEADLINES[task]
    session.add(
        Evaluation(
            id=evaluation_id, name=name, model_id=model_id, model_name=model.name,
            encoder_id=trained.get("init_model"), dataset_id=dataset_id, dataset_name=dataset.name, split=split,
            task=task, headline=headline, score=info.metrics[headline],
            seed=seed if seed is not None else trained.get("seed"),
            fold=fold if fold is not None else trained.get("fold"),
            info=info.model_dump(mode="json", exclude={"cases"}), job_id=job_id, project_id=project_id,
            files=[EvaluationFile(path=f.path, size=f.size, sha256=f.sha256) for f in files],
        )
    )  # fmt: skip
    session.flush()


def _spec_of(session: Session, model: Model) -> dict[str, Any]:
    """What the model was trained with; of a job that has been deleted, its parent alone is known."""
    job = session.get(Job, model.job_id) if model.job_id is not None else None
    if job is not None:
        return job.spec
    return {"init_model": next(iter(model.parents), None)}


def get(session: Session, scope: Scope, evaluation_id: str) -> Evaluation:
    """The evaluation, or NotFound."""
    return scope.get(session, Evaluation, evaluation_id)


def delete(session: Session, scope: Scope, evaluation_id: str) -> None:
    """Remove an evaluation; its files go with the next sweeps. Nothing is made from one, so nothing stands in the
    way.
    """
    row = scope.get(session, Evaluation, evaluation_id, with_for_update=True)
    leftovers.add(session, f"{folder_of(evaluation_id)}/")
    session.delete(row)


def chosen(session: Session, scope: Scope, ids: Sequence[str]) -> list[Evaluation]:
    """Evaluations to compare, in the order of `ids`. ValidationFailed for fewer than two different ones, and for one
    that is not there.
    """
    if len(set(ids)) < max(2, len(ids)):
        detail = (
            "expected the ids of at least two evaluations, each once; the first one is what others are compared with"
        )
        raise ValidationFailed(detail, [FieldError("query:id", detail)])
    rows = []
    for evaluation_id in ids:
        row = scope.find(session, Evaluation, evaluation_id)
        if row is None:
            detail = f"there is no evaluation {evaluation_id}"
            raise ValidationFailed(detail, [FieldError("query:id", detail)])
        rows.append(row)
    return rows


def draws_of(store: ObjectStore, evaluation_id: str) -> Draws | None:
    """The draws of its bootstrap; None where it keeps none, or none that can be read."""
    try:
        return Draws.model_validate_json(store.get_bytes(f"{folder_of(evaluation_id)}/{DRAWS}"))
    except (FileNotFoundError, ValidationError):
        return None
