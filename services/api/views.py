"""Rows of the database as the API shows them."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from medcoss.specs.records import DatasetInfo, DeploymentInfo, ModelInfo
from services.api.schemas import DatasetOut, DeploymentOut, FileOut, JobOut, ModelOut, Progress, Resources, Retry
from services.core import jobs, waiting
from services.core.scheduling import time_run
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import Dataset, DatasetFile, Deployment, Job, Model, ModelFile
from services.core.tables.base import now


def dataset_view(row: Dataset) -> DatasetOut:
    """A dataset."""
    info = DatasetInfo.model_validate(row.info) if row.info else None
    return DatasetOut(
        id=row.id, project_id=row.project_id,
        name=row.name, description=row.description, role=row.role, state=row.state, modality=row.modality,
        kind=info.kind if info else None, samples=info.samples if info else None,
        splits=info.splits if info else None, classes=info.classes if info else None,
        has_masks=bool(info and info.has_masks), sample_shape=info.sample_shape if info else None,
        recipe=info.recipe if info else None, bad_files=info.bad_files if info else [], file_count=row.file_count,
        total_bytes=row.total_bytes, parents=row.parents, job_id=row.job_id, created_at=row.created_at,
    )  # fmt: skip


def model_view(row: Model) -> ModelOut:
    """A model; its files have to be loaded."""
    info = ModelInfo.model_validate(row.info)
    return ModelOut(
        id=row.id, project_id=row.project_id,
        name=row.name, parents=row.parents, dataset_id=row.dataset_id, job_id=row.job_id,
        total_bytes=sum(f.size for f in row.files), created_at=row.created_at,
        **info.model_dump(include=set(ModelInfo.model_fields) - {"recipes"}),
    )  # fmt: skip


def deployment_view(row: Deployment) -> DeploymentOut:
    """A deployment."""
    info = DeploymentInfo.model_validate(row.info)
    return DeploymentOut(
        id=row.id, project_id=row.project_id,
        name=row.name, version=row.version, state=row.state, task=info.task, modality=info.modality,
        kind=info.kind, classes=info.classes, model_id=row.model_id, max_difference=info.max_difference,
        job_id=row.job_id, created_at=row.created_at,
    )  # fmt: skip


def job_view(session: Session, row: Job, quota: int | None = None) -> JobOut:
    """A job, with its place in the queue. `quota` is how many jobs an owner may run at once."""
    view = job_views(session, [row], quota)[0]
    if view.reason is not None and view.reason.startswith(waiting.FOR_A_FREE_ONE):
        place = waiting.position(waiting.ahead(session, row, now()))
        return view.model_copy(update={"reason": f"{view.reason}; {place}"})
    return view


def job_views(session: Session, rows: Sequence[Job], quota: int | None = None) -> list[JobOut]:
    """Jobs, with three queries more for all of them: dependencies, workers, what their owners run."""
    needed = jobs.needs(session, [row.id for row in rows])
    around = waiting.surroundings(session, rows, now(), quota)
    return [_job_view(row, needed[row.id], waiting.why(row, needed[row.id], around)) for row in rows]


def _job_view(row: Job, needed: dict[str, str], reason: str | None) -> JobOut:
    progress = None
    if row.total:
        done = min(row.done or 0, row.total)
        progress = Progress(
            done=done, total=row.total, fraction=done / row.total, message=row.message, eta_s=row.eta_s
        )  # fmt: skip
    finished = row.finished_at
    duration = (finished - row.started_at).total_seconds() if finished and row.started_at else None
    return JobOut(
        id=row.id, project_id=row.project_id, kind=row.kind, name=row.name, state=row.state, spec=row.spec,
        priority=row.priority,
        attempt=row.attempt, max_attempts=row.max_attempts, depends_on=list(needed), progress=progress,
        retry=Retry(backoff_s=row.backoff_s, on=row.retry_on),
        resources=Resources(gpus=row.gpus, memory_bytes=row.memory_bytes), time_limit_s=row.time_limit_s,
        ran_s=time_run(row, now()), not_before=row.not_before, worker=row.worker if row.state == "running" else None,
        checkpoint_step=row.checkpoint_step,
        result=row.result, error=row.error, reason=reason, created_by=row.created_by,
        created_at=row.created_at, started_at=row.started_at, finished_at=finished, duration_s=duration,
    )  # fmt: skip


def file_views(store: ObjectStore, settings: Settings, prefix: str,
               files: Sequence[DatasetFile] | Sequence[ModelFile]) -> list[FileOut]:  # fmt: skip
    """Files with presigned URLs."""
    return [
        FileOut(
            path=f.path, size=f.size, sha256=f.sha256,
            url=store.presign_get(f"{prefix}/{f.path}", settings.upload_expiry_s),
        )
        for f in files
    ]  # fmt: skip
