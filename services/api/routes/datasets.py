"""Datasets: announce the files, PUT them to the object store, complete."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import String, cast, select

from services.api.dependencies import Operator, Parts, PartsOf, SessionOf, Viewer
from services.api.pages import Cursor, Limit, page
from services.api.schemas import DatasetCreated, DatasetOut, DatasetRequest, FileOut, Page, Upload
from services.api.views import dataset_view, file_views
from services.core import registry
from services.core.errors import Conflict, FieldError, TooLarge
from services.core.ids import new_id
from services.core.tables import Dataset, DatasetFile, Job, Model
from services.core.tables.base import now

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _check_limits(request: DatasetRequest, parts: Parts) -> None:
    limit = parts.settings.max_file_bytes
    large = [(i, f) for i, f in enumerate(request.files) if f.size > limit]
    if large:
        errors = [FieldError(f"/files/{i}/size", f"{f.path} has {_mib(f.size)}") for i, f in large]
        first = large[0][1]
        raise TooLarge(
            f"{first.path} has {_mib(first.size)}; the limit for a file is {_mib(limit)}. Split it, or raise "
            "MEDCOSS_MAX_FILE_BYTES",
            errors,
        )
    total = sum(f.size for f in request.files)
    if total > parts.settings.max_dataset_bytes:
        raise TooLarge(
            f"the files have {_mib(total)} together; the limit for a dataset is "
            f"{_mib(parts.settings.max_dataset_bytes)}",
            [FieldError("/files", "too large together")],
        )


@router.post("", status_code=201)
def create_dataset(request: DatasetRequest, parts: PartsOf, session: SessionOf, _: Operator) -> DatasetCreated:
    """Announce a raw dataset. It is visible as `uploading` until it is completed, and forgotten when it expires."""
    _check_limits(request, parts)
    dataset_id = new_id("ds")
    expires_s = parts.settings.upload_expiry_s
    row = Dataset(
        id=dataset_id, name=request.name, description=request.description, role="raw", state="uploading",
        modality=request.modality, prefix=f"datasets/{dataset_id}/raw", info=None, file_count=len(request.files),
        total_bytes=sum(f.size for f in request.files), parents=[], created_at=now(),
        expires_at=now() + timedelta(seconds=expires_s),
        files=[DatasetFile(path=f.path, size=f.size, sha256=f.sha256) for f in request.files],
    )  # fmt: skip
    session.add(row)
    session.flush()
    uploads = [
        Upload(path=f.path, url=parts.store.presign_put(f"{row.prefix}/{f.path}", expires_s)) for f in request.files
    ]
    assert row.expires_at is not None
    return DatasetCreated(dataset=dataset_view(row), uploads=uploads, expires_at=row.expires_at)


@router.post("/{dataset_id}/complete")
def complete_dataset(dataset_id: str, parts: PartsOf, session: SessionOf, _: Operator) -> DatasetOut:
    """Make an uploaded dataset ready; Conflict names the files that are missing or have another size."""
    row = registry.get_dataset(session, dataset_id)
    if row.state == "ready":
        return dataset_view(row)
    stored = parts.store.sizes(f"{row.prefix}/")
    wrong = []
    for file in row.files:
        size = stored.get(f"{row.prefix}/{file.path}")
        if size is None:
            wrong.append(FieldError("", f"{file.path} has not arrived"))
        elif size != file.size:
            wrong.append(FieldError("", f"{file.path} has {size} bytes, announced were {file.size}"))
    if wrong:
        raise Conflict(f"{len(wrong)} of {len(row.files)} files are missing or wrong: {wrong[0].detail}", wrong[:100])
    row.state, row.expires_at = "ready", None
    session.flush()
    return dataset_view(row)


@router.get("")
def list_datasets(
    session: SessionOf,
    _: Viewer,
    limit: Limit = 100,
    cursor: Cursor = None,
    role: Annotated[str | None, Query(max_length=16)] = None,
    modality: Annotated[str | None, Query(max_length=32)] = None,
) -> Page[DatasetOut]:
    """Datasets, newest first."""
    wanted = ((Dataset.role, role), (Dataset.modality, modality))
    filters = [column == value for column, value in wanted if value]
    rows, following = page(session, Dataset, limit, cursor, *filters)
    return Page(items=[dataset_view(row) for row in rows], next=following)


@router.get("/{dataset_id}")
def show_dataset(dataset_id: str, session: SessionOf, _: Viewer) -> DatasetOut:
    """One dataset."""
    return dataset_view(registry.get_dataset(session, dataset_id))


@router.get("/{dataset_id}/files")
def list_files(dataset_id: str, parts: PartsOf, session: SessionOf, _: Viewer) -> Page[FileOut]:
    """The files of a dataset, each with a URL to fetch it from."""
    row = registry.get_dataset(session, dataset_id)
    return Page(items=file_views(parts.store, parts.settings, row.prefix, row.files))


@router.delete("/{dataset_id}", status_code=204)
def delete_dataset(dataset_id: str, parts: PartsOf, session: SessionOf, _: Operator) -> Response:
    """Remove a dataset that nothing uses; Conflict names what does."""
    row = registry.get_dataset(session, dataset_id)
    mentioned = f'%"{dataset_id}"%'
    busy = session.scalars(
        select(Job.id).where(
            Job.state.in_(["waiting", "queued", "running", "paused"]), cast(Job.spec, String).like(mentioned)
        )
    ).first()
    child = session.scalars(select(Dataset.id).where(cast(Dataset.parents, String).like(mentioned))).first()
    model = session.scalars(select(Model.id).where(Model.dataset_id == dataset_id)).first()
    user = busy or child or model
    if user:
        raise Conflict(f"dataset {dataset_id} is used by {user}; it can be deleted when nothing uses it")
    prefix = row.prefix
    session.delete(row)
    session.flush()
    parts.store.remove_prefix(f"{prefix}/")
    return Response(status_code=204)
