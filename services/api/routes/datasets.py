"""Datasets: announce the files, PUT them to the object store, complete."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.api import etags
from services.api.dependencies import Operator, Parts, PartsOf, ReaderOf, Viewer
from services.api.lists import Heavy, Question, Shown, answer, question, response_model
from services.api.problems import responses
from services.api.routes.labels import OF_DATASET
from services.api.schemas import DatasetCreated, DatasetOut, DatasetRequest, FileOut, Upload, UploadFile
from services.api.views import DATASET_INFO, dataset_view, dataset_views, file_views
from services.core import deletion, projects, registry
from services.core.errors import Conflict, FieldError, TooLarge
from services.core.ids import new_id
from services.core.lists import DATASETS
from services.core.multipart import MOST_PART as IN_ONE
from services.core.short_lists import DATASET_FILES
from services.core.tables import Dataset, DatasetFile
from services.core.tables.base import now

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
NAMED_AT_MOST = 100
_SHOWN = Shown(DATASETS, DatasetOut, dataset_views, (Heavy(Dataset.info, DATASET_INFO),))


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


@router.post(
    "", status_code=201,
    responses=responses(too_large="A file or all together are over the limit")
    | {200: {"model": DatasetCreated, "description": "With `resume`: the unfinished one, and what it lacks"}},
)  # fmt: skip
def create_dataset(request: DatasetRequest, parts: PartsOf, caller: Operator, response: Response) -> DatasetCreated:
    """Announce a raw dataset. It is visible as `uploading` until it is completed, and forgotten when it expires.

    With `resume`, repeated after a break, it tells which of the files have not arrived, with new URLs.
    """
    _check_limits(request, parts)
    with parts.database.reading() as session:
        project_id = projects.resolve(session, caller.scope, request.project)
    found = _resumed(request, parts, project_id) if request.resume else None
    if found is not None:
        response.status_code = 200
        return found
    dataset_id = new_id("ds")
    prefix = f"datasets/{dataset_id}/raw"
    moment = now()
    row = Dataset(
        id=dataset_id, name=request.name, description=request.description, role="raw", state="uploading",
        modality=request.modality, prefix=prefix, info=None, file_count=len(request.files),
        total_bytes=sum(f.size for f in request.files), parents=[], created_at=moment,
        expires_at=moment + timedelta(seconds=parts.settings.upload_expiry_s),
        files=[DatasetFile(path=f.path, size=f.size, sha256=f.sha256) for f in request.files], project_id=project_id,
    )  # fmt: skip
    with parts.database.session() as session:
        registry.add_dataset(session, row, list(dict.fromkeys(request.tags)))
        shown = dataset_view(session, row)
    return _created(parts, row, shown, request.files)


def _resumed(request: DatasetRequest, parts: Parts, project_id: str) -> DatasetCreated | None:
    """The dataset that was announced with the same words and is not complete, and where what it lacks goes."""
    files = {f.path: (f.size, f.sha256) for f in request.files}
    until = now() + timedelta(seconds=parts.settings.upload_expiry_s)
    with parts.database.session() as session:
        row = registry.unfinished(session, project_id, request.name, request.modality, files)
        if row is None:
            return None
        row.expires_at = max(row.expires_at or until, until)
        shown = dataset_view(session, row)
    stored = parts.store.sizes(f"{row.prefix}/")
    missing = [f for f in request.files if stored.get(f"{row.prefix}/{f.path}") != f.size]
    return _created(parts, row, shown, missing)


def _created(parts: Parts, row: Dataset, shown: DatasetOut, files: Sequence[UploadFile]) -> DatasetCreated:
    assert row.expires_at is not None
    expires_s = parts.settings.upload_expiry_s
    uploads = [
        Upload(
            path=f.path, url=parts.store.presign_put(f"{row.prefix}/{f.path}", expires_s) if f.size <= IN_ONE else None
        )
        for f in files
    ]
    return DatasetCreated(dataset=shown, uploads=uploads, expires_at=row.expires_at)


@router.post(
    "/{dataset_id}/complete", responses=responses(conflict="Files are missing, on their way, or have another size")
)
def complete_dataset(dataset_id: str, parts: PartsOf, caller: Operator) -> DatasetOut:
    """Make an uploaded dataset ready; Conflict names the files that are missing or have another size."""
    with parts.database.reading() as session:
        row = registry.get_dataset(session, caller.scope, dataset_id)
        announced = {f"{row.prefix}/{f.path}": f for f in row.files} if row.state == "uploading" else {}
    if announced:
        _check_arrived(announced, parts.store.sizes(f"{row.prefix}/"))
    with parts.database.session() as session:
        return dataset_view(session, registry.complete_dataset(session, caller.scope, dataset_id))


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


@router.get("", response_model=response_model(DatasetOut))
def list_datasets(
    session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(DATASETS))]
) -> Response:
    """Datasets, newest first unless `sort` says otherwise."""
    return answer(session, caller.scope, _SHOWN, asked)


@router.get("/{dataset_id}")
def show_dataset(dataset_id: str, request: Request, session: ReaderOf, caller: Viewer) -> DatasetOut:
    """One dataset."""
    shown = dataset_view(session, registry.get_dataset(session, caller.scope, dataset_id))
    etags.seen(request, shown, OF_DATASET)
    return shown


@router.get("/{dataset_id}/files", response_model=response_model(FileOut))
def list_files(
    dataset_id: str, parts: PartsOf, session: ReaderOf, caller: Viewer,
    asked: Annotated[Question, Depends(question(DATASET_FILES, 1000, 5000))],
) -> Response:  # fmt: skip
    """The files of a dataset, each with a URL to fetch it from, as they were announced unless `sort` says otherwise."""
    prefix = registry.get_dataset(session, caller.scope, dataset_id).prefix
    shown = Shown(DATASET_FILES, FileOut, lambda _, rows, wanted: file_views(parts.store, parts.settings, prefix, rows,
                                                                             wanted))  # fmt: skip
    return answer(session, caller.scope, shown, asked, dataset_id)


@router.delete("/{dataset_id}", status_code=204, responses=responses(conflict="Something uses it; `detail` names it"))
def delete_dataset(dataset_id: str, parts: PartsOf, caller: Operator) -> Response:
    """Remove a dataset that nothing uses. Its files are removed within moments by the sweeper."""
    with parts.database.session() as session:
        deletion.delete_dataset(session, caller.scope, dataset_id, parts.settings.upload_expiry_s)
    return Response(status_code=204)
