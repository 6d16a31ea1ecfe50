"""Which steps need not be run again: what a job makes is known by its kind, its spec, the content of its inputs, the
version of the code and the number of its processes. Together they are a step's key.

Inputs count by the SHA-256 of their files and by their descriptions, not by their identifiers: the same data that were
uploaded or made twice are the same. Seeds are fields of the spec.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from medcoss import __version__
from medcoss.specs import EVERY_KIND
from services.core import inputs, pending
from services.core.inputs import Inputs
from services.core.jobs import NewJob, changed
from services.core.lifecycle import State
from services.core.pipelines.plans import Done
from services.core.specs import with_ids
from services.core.tables import (
    Base,
    Dataset,
    DatasetFile,
    Deployment,
    Evaluation,
    Job,
    Model,
    ModelFile,
    Pipeline,
    PipelineStep,
)

_MADE: dict[str, type[Dataset | Model | Deployment | Evaluation]] = {
    "dataset": Dataset, "model": Model, "deployment": Deployment, "evaluation": Evaluation,
}  # fmt: skip
# what describes a result, not what it is made of
_RESULTS = ("metrics", "leakage", "bad_files", "made_with")
# steps with the same key that are looked at
_LOOKED_AT = 20


def key_of(session: Session, asked: NewJob, found: Inputs) -> str | None:
    """The key of a job whose inputs have been found; None while some of them are not there yet."""
    if pending.pending(asked.kind, asked.spec):
        return None
    contents: dict[str, str] = {name: _content(session, row) for name, row in found.datasets.items()}
    contents |= {name: _content(session, row) for name, row in found.models.items()}
    parts = {
        "kind": asked.kind, "spec": with_ids(asked.kind, asked.spec, contents), "version": __version__,
        "processes": inputs.processes(asked),
    }  # fmt: skip
    return _digest(parts)


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _content(session: Session, row: Dataset | Model) -> str:
    """What a dataset or model is, whatever it is called."""
    info = {name: value for name, value in (row.info or {}).items() if name not in _RESULTS}
    if isinstance(row, Dataset):
        files = select(DatasetFile.path, DatasetFile.sha256).where(DatasetFile.dataset_id == row.id)
    else:
        files = select(ModelFile.path, ModelFile.sha256).where(ModelFile.model_id == row.id)
    return _digest([row.modality, info, sorted(tuple(file) for file in session.execute(files))])


def find(session: Session, project_id: str, key: str) -> Done | None:
    """The newest job of the project's pipelines with this key that has succeeded, if all that it has made is there."""
    known = (
        select(Job.id, Job.result).join(PipelineStep, PipelineStep.job_id == Job.id)
        .join(Pipeline, Pipeline.id == PipelineStep.pipeline_id)
        .where(PipelineStep.key == key, Pipeline.project_id == project_id, Job.state == State.SUCCEEDED)
        .order_by(Job.created_at.desc(), Job.id.desc()).limit(_LOOKED_AT)
    )  # fmt: skip
    for job_id, result in session.execute(known):
        outputs = dict((result or {}).get("outputs", {}))
        if _are_there(session, outputs.items()):
            return Done(job_id, outputs, key)
    return None


def _are_there(session: Session, outputs: Iterable[tuple[str, str]]) -> bool:
    """Whether nothing of it has been deleted; it stays until the transaction ends."""
    rows: list[Base | None] = [
        session.get(_MADE[what], row_id, with_for_update={"read": True}) for what, row_id in outputs if what in _MADE
    ]
    return all(row is not None for row in rows)


def remember(session: Session, job_id: str, asked: NewJob, found: Inputs) -> None:
    """Keep the key of a step whose inputs are there now."""
    steps = (PipelineStep.job_id == job_id, PipelineStep.key.is_(None))
    if session.scalars(select(PipelineStep.name).where(*steps)).first() is None:
        return
    changed(session, update(PipelineStep).where(*steps).values(key=key_of(session, asked, found)))


def is_reusable(kind: str) -> bool:
    """Whether what a kind of job makes depends on nothing but its key; what is served depends on Triton, too."""
    return EVERY_KIND[kind].produces != "deployment"
