"""Datasets: announce the files, PUT them to the object store, complete."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.api.dependencies import Operator, Parts, PartsOf, ReaderOf, Viewer
from services.api.pages import Cursor, FileLimit, Limit, file_page, page
from services.api.problems import responses
from services.api.schemas import DatasetCreated, DatasetOut, DatasetRequest, FileOut, ModalityName, Page, Upload
from services.api.views import dataset_view, file_views
from services.core import leftovers, registry
from services.core.errors import Conflict, FieldError, NotFound, TooLarge
from services.core.ids import new_id
from services.core.jobs import changed
from services.core.lifecycle import TERMINAL
from services.core.tables import Dataset, DatasetFile, Job, JobInput, Model
from services.core.tables.base import now

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
NAMED_AT_MOST = 100


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB" if size >= 2**20 else f"{size:,} bytes"


def _check_limits(request: DatasetRequest, parts: Parts) -> None:
    limit = parts.settings.max_file_bytes
    large = [(i, f) for i, f in enumerate(request.files) if f.size > limit]
    if large:
        errors = [FieldError(f"/files/{i}/size", f"{f.path} has {_mib(f.size)}") for i, f in large]
        first = large[0][1]
        raise TooLarge(
            f"{first.path} has {_mib(first.size)}; the limit for a file is {_mib(limit)}. Split it, or raise "
            "MEDCOSS_MAX_FILE_BYTES",
            errors[:NAMED_AT_MOST],
        )
    total = sum(f.size for f in request.files)
    if total > parts.settings.max_dataset_bytes:
        raise TooLarge(
            f"the files have {_mib(total)} together; the limit for a dataset is "
            f"{_mib(parts.settings.max_dataset_bytes)}. Split it, or raise MEDCOSS_MAX_DATASET_BYTES",
            [FieldError("/files", "too large together")],
        )


@router.post("", status_code=201, responses=responses(too_large="A file or all together are over the limit"))
def create_dataset(request: DatasetRequest, parts: PartsOf, _: Operator) -> DatasetCreated:
    """Announce a raw dataset. It is visible as `uploading` until it is completed, and forgotten when it expires."""
    _check_limits(request, parts)
    dataset_id, expires_s = new_id("ds"), parts.settings.upload_expiry_s
    prefix = f"datasets/{dataset_id}/raw"
    moment = now()
    expires_at = moment + timedelta(seconds=expires_s)
    uploads = [Upload(path=f.path, url=parts.store.presign_put(f"{prefix}/{f.path}", expires_s)) for f in request.files]
    row = Dataset(
        id=dataset_id, name=request.name, description=request.description, role="raw", state="uploading",
        modality=request.modality, prefix=prefix, info=None, file_count=len(request.files),
        total_bytes=sum(f.size for f in request.files), parents=[], created_at=moment, expires_at=expires_at,
        files=[DatasetFile(path=f.path, size=f.size, sha256=f.sha256) for f in request.files],
    )  # fmt: skip
    with parts.database.session() as session:
        session.add(row)
    return DatasetCreated(dataset=dataset_view(row), uploads=uploads, expires_at=expires_at)


@router.post("/{dataset_id}/complete", responses=responses(conflict="Files are missing or have another size"))
def complete_dataset(dataset_id: str, parts: PartsOf, _: Operator) -> DatasetOut:
    """Make an uploaded dataset ready; Conflict names the files that are missing or have another size."""
    with parts.database.reading() as session:
        row = registry.get_dataset(session, dataset_id)
        announced = {f"{row.prefix}/{f.path}": f for f in row.files} if row.state == "uploading" else {}
    if announced:
        _check_arrived(announced, parts.store.sizes(f"{row.prefix}/"))
    with parts.database.session() as session:
        waiting = update(Dataset).where(Dataset.id == dataset_id, Dataset.state == "uploading")
        changed(session, waiting.values(state="ready", expires_at=None))
        # NotFound if it has expired meanwhile
        return dataset_view(registry.get_dataset(session, dataset_id))


def _check_arrived(announced: dict[str, DatasetFile], stored: dict[str, int]) -> None:
    wrong = []
    for number, (key, file) in enumerate(announced.items()):
        size = stored.get(key)
        if size is None:
            wrong.append(FieldError(f"/files/{number}", f"{file.path} has not arrived"))
        elif size != file.size:
            detail = f"{file.path} has {size} bytes, announced were {file.size}; PUT it again"
            wrong.append(FieldError(f"/files/{number}", detail))
    if wrong:
        raise Conflict(
            f"{len(wrong)} of {len(announced)} files are missing or wrong: {wrong[0].detail}", wrong[:NAMED_AT_MOST]
        )


@router.get("")
def list_datasets(
    session: ReaderOf,
    _: Viewer,
    limit: Limit = 100,
    cursor: Cursor = None,
    role: Annotated[Literal["raw", "prepared", "buffer"] | None, Query()] = None,
    modality: Annotated[ModalityName | None, Query()] = None,
) -> Page[DatasetOut]:
    """Datasets, newest first."""
    wanted = ((Dataset.role, role), (Dataset.modality, modality))
    filters = [column == value for column, value in wanted if value]
    rows, following = page(session, Dataset, limit, cursor, *filters)
    return Page(items=[dataset_view(row) for row in rows], next=following)


@router.get("/{dataset_id}")
def show_dataset(dataset_id: str, session: ReaderOf, _: Viewer) -> DatasetOut:
    """One dataset."""
    return dataset_view(registry.get_dataset(session, dataset_id))


@router.get("/{dataset_id}/files")
def list_files(
    dataset_id: str, parts: PartsOf, session: ReaderOf, _: Viewer, limit: FileLimit = 1000, cursor: Cursor = None
) -> Page[FileOut]:
    """The files of a dataset, each with a URL to fetch it from."""
    row = registry.get_dataset(session, dataset_id)
    files, following = file_page(session, DatasetFile, DatasetFile.dataset_id == dataset_id, limit, cursor)
    return Page(items=file_views(parts.store, parts.settings, row.prefix, files), next=following)


@router.delete("/{dataset_id}", status_code=204, responses=responses(conflict="Something uses it; `detail` names it"))
def delete_dataset(dataset_id: str, parts: PartsOf, _: Operator) -> Response:
    """Remove a dataset that nothing uses. Its files are removed within moments by the sweeper."""
    with parts.database.session() as session:
        # locked: no job that names it can be submitted until this is done
        row = session.get(Dataset, dataset_id, with_for_update=True)
        if row is None:
            raise NotFound(f"there is no dataset {dataset_id}")
        user = _user_of(session, dataset_id)
        if user:
            raise Conflict(f"dataset {dataset_id} is used by {user}; it can be deleted when nothing uses it")
        # its upload URLs open for as long
        uploads_end = row.created_at + timedelta(seconds=parts.settings.upload_expiry_s) if row.role == "raw" else None
        leftovers.add(session, f"datasets/{dataset_id}/", watch_until=uploads_end)
        session.delete(row)
    return Response(status_code=204)


def _user_of(session: Session, dataset_id: str) -> str | None:
    """A job that is not over, a dataset or a model that was made from it."""
    named = select(JobInput.job_id).where(JobInput.input_id == dataset_id)
    queries = (
        select(Job.id).where(Job.id.in_(named), Job.state.not_in(TERMINAL)),
        select(Dataset.id).where(Dataset.job_id.in_(named)),
        select(Model.id).where(Model.job_id.in_(named)),
    )
    return next((user for query in queries if (user := session.scalars(query.limit(1)).first())), None)
