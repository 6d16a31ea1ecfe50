"""Rows of the database as the API shows them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from medcoss.specs.records import DatasetInfo, ModelInfo
from services.api.schemas import DatasetOut, FileOut, JobOut, Progress, Resources, Retry
from services.api.schemas_models import ModelOut
from services.core import chunks, jobs, labels, pending, registry, waiting
from services.core.chunks import Children
from services.core.lifecycle import State
from services.core.scheduling import time_run
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import Dataset, DatasetFile, EvaluationFile, IndexFile, Job, Model, ModelFile
from services.core.tables.base import now

Wanted = frozenset[str]
EVERY_DATASET_FIELD, EVERY_MODEL_FIELD, EVERY_JOB_FIELD = (
    Wanted(out.model_fields) for out in (DatasetOut, ModelOut, JobOut)
)
# what is read from `info` alone
DATASET_INFO = Wanted({"kind", "samples", "splits", "classes", "has_masks", "sample_shape", "recipe", "bad_files"})
MODEL_INFO = Wanted(set(ModelInfo.model_fields) & EVERY_MODEL_FIELD - {"task", "modality"})


def dataset_view(session: Session, row: Dataset) -> DatasetOut:
    """A dataset."""
    return dataset_views(session, [row])[0]


def dataset_views(session: Session, rows: Sequence[Dataset], wanted: Wanted = EVERY_DATASET_FIELD) -> list[DatasetOut]:
    """Datasets, with one query for the tags of all; of what is not wanted, nothing is read."""
    tags = labels.tags_of(session, Dataset, [row.id for row in rows]) if "tags" in wanted else {}
    return [_dataset_view(row, tags.get(row.id, [])) for row in rows]


def _dataset_view(row: Dataset, tags: list[str]) -> DatasetOut:
    info = DatasetInfo.model_validate(row.info) if row.info else None
    return DatasetOut(
        id=row.id, project_id=row.project_id, tags=tags,
        name=row.name, description=row.description, role=row.role, state=row.state, modality=row.modality,
        kind=info.kind if info else None, samples=info.samples if info else None,
        splits=info.splits if info else None, classes=info.classes if info else None,
        has_masks=bool(info and info.has_masks), sample_shape=info.sample_shape if info else None,
        recipe=info.recipe if info else None, bad_files=info.bad_files if info else [], file_count=row.file_count,
        total_bytes=row.total_bytes, parents=row.parents, job_id=row.job_id, created_at=row.created_at,
    )  # fmt: skip


def model_view(session: Session, row: Model) -> ModelOut:
    """A model."""
    return model_views(session, [row])[0]


def model_views(session: Session, rows: Sequence[Model], wanted: Wanted = EVERY_MODEL_FIELD) -> list[ModelOut]:
    """Models, with one query for the tags and one for the sizes of all; of what is not wanted, nothing is read."""
    ids = [row.id for row in rows]
    tags = labels.tags_of(session, Model, ids) if "tags" in wanted else {}
    sizes = registry.model_sizes(session, ids) if "total_bytes" in wanted else {}
    return [_model_view(row, tags.get(row.id, []), sizes.get(row.id, 0)) for row in rows]


def _model_view(row: Model, tags: list[str], size: int) -> ModelOut:
    values: dict[str, Any] = {
        "id": row.id, "project_id": row.project_id, "name": row.name, "notes": row.notes, "tags": tags,
        "task": row.task, "modality": row.modality, "parents": row.parents, "dataset_id": row.dataset_id,
        "job_id": row.job_id, "total_bytes": size, "created_at": row.created_at,
    }  # fmt: skip
    if not row.info:
        # a list that shows nothing of it
        return ModelOut.model_construct(**values)
    info = ModelInfo.model_validate(row.info)
    return ModelOut(**info.model_dump(include=set(MODEL_INFO)), **values)


def job_view(session: Session, row: Job, quota: int | None = None) -> JobOut:
    """A job, with its place in the queue. `quota` is how many jobs an owner may run at once."""
    view = job_views(session, [row], quota=quota)[0]
    if view.reason is not None and view.reason.startswith(waiting.FOR_A_FREE_ONE):
        place = waiting.position(waiting.ahead(session, row, now()))
        return view.model_copy(update={"reason": f"{view.reason}; {place}"})
    return view


def job_views(session: Session, rows: Sequence[Job], wanted: Wanted = EVERY_JOB_FIELD,
              quota: int | None = None) -> list[JobOut]:  # fmt: skip
    """Jobs, with few queries more for all of them: dependencies, tags, workers, child jobs, what their owners run; of
    what is not wanted, nothing is read.
    """
    ids = [row.id for row in rows]
    # what does not wait has its reason without them
    waiting_ids = [row.id for row in rows if row.state == State.WAITING] if "reason" in wanted else []
    needing = ids if "depends_on" in wanted else waiting_ids
    needed = jobs.needs(session, needing, children=False) if needing else {}
    shared = chunks.children(session, rows) if wanted & {"children", "progress", "reason"} else {}
    tags = labels.tags_of(session, Job, ids) if "tags" in wanted else {}
    around = waiting.surroundings(session, rows, now(), quota) if "reason" in wanted else None
    return [
        _job_view(
            row, found := needed.get(row.id, {}), tags.get(row.id, []),
            waiting.why(row, found, around, shared.get(row.id)) if around is not None else None, shared.get(row.id),
        )
        for row in rows
    ]  # fmt: skip


def _job_view(row: Job, needed: dict[str, str], tags: list[str], reason: str | None,
              children: Children | None) -> JobOut:  # fmt: skip
    progress = None
    if row.total is None and children is not None and children.total:
        total, done = children.total, min(children.done, children.total)
        progress = Progress(
            done=done, total=total, fraction=done / total, message=children.in_words(), eta_s=children.eta_s
        )  # fmt: skip
    elif row.total:
        done = min(row.done or 0, row.total)
        progress = Progress(
            done=done, total=row.total, fraction=done / row.total, message=row.message, eta_s=row.eta_s
        )  # fmt: skip
    finished = row.finished_at
    duration = (finished - row.started_at).total_seconds() if finished and row.started_at else None
    return JobOut(
        id=row.id, project_id=row.project_id, kind=row.kind, name=row.name, state=row.state,
        spec=pending.shown(row.kind, row.spec) if row.spec and _may_wait(row) else row.spec,
        notes=row.notes, tags=tags, priority=row.priority,
        attempt=row.attempt, max_attempts=row.max_attempts, depends_on=list(needed), progress=progress,
        parent=row.parent_id, children=children and children.count,
        retry=Retry(backoff_s=row.backoff_s, on=row.retry_on),
        resources=Resources(nodes=row.nodes, gpus=row.gpus, memory_bytes=row.memory_bytes),
        time_limit_s=row.time_limit_s,
        ran_s=time_run(row, now()), not_before=row.not_before, worker=row.worker if row.state == "running" else None,
        checkpoint_step=row.checkpoint_step, continues=row.continues,
        result=row.result, error=row.error, reason=reason, created_by=row.created_by,
        created_at=row.created_at, started_at=row.started_at, finished_at=finished, duration_s=duration,
    )  # fmt: skip


def _may_wait(row: Job) -> bool:
    """Whether a job may name what is not there yet: one that has never been queued."""
    return row.fence == 0 and row.state in {State.WAITING, State.PAUSED, State.FAILED, State.CANCELLED}


def file_views(store: ObjectStore, settings: Settings, prefix: str,
               files: Sequence[DatasetFile] | Sequence[ModelFile] | Sequence[EvaluationFile] | Sequence[IndexFile],
               wanted: frozenset[str]) -> list[FileOut]:  # fmt: skip
    """Files with presigned URLs, which are made only where they are `wanted`."""
    sign = "url" in wanted
    return [
        FileOut(
            path=f.path, size=f.size, sha256=f.sha256,
            url=store.presign_get(f"{prefix}/{f.path}", settings.upload_expiry_s) if sign else "",
        )
        for f in files
    ]  # fmt: skip
