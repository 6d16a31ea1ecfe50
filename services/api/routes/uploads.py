"""Files of a dataset that arrive in parts: start, ask for URLs, PUT, complete."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from services.api.dependencies import Operator, Parts, PartsOf, ReaderOf, Viewer
from services.api.lists import Fields, Question, Shown, answer, page_of, question, response_model, wanted_fields
from services.api.pages import Cursor, number_of
from services.api.problems import responses
from services.api.schemas_uploads import (
    PartOut,
    PartsRequest,
    PartUrl,
    PartUrls,
    UploadCompletion,
    UploadOut,
    UploadRequest,
)
from services.core import assembly, registry, uploads
from services.core.errors import FieldError, ValidationFailed
from services.core.multipart import PartsGone
from services.core.short_lists import UPLOADS
from services.core.tables.base import now

router = APIRouter(prefix="/v1/datasets/{dataset_id}/uploads", tags=["uploads"])
PartLimit = Annotated[int, Query(ge=1, le=1000, description="entries in a page")]
_SHOWN = Shown(UPLOADS, UploadOut, lambda _, rows, __: [UploadOut.of(row) for row in rows])
_FULL = "The dataset takes no more files, or the file was announced otherwise"


def _until(parts: Parts) -> datetime:
    return now() + timedelta(seconds=parts.settings.upload_expiry_s)


@router.post("", status_code=201, responses=responses(conflict=_FULL, too_large="The file is over a limit"))
def start_upload(dataset_id: str, request: UploadRequest, parts: PartsOf, caller: Operator) -> UploadOut:
    """Start to send a file in parts, or go on: what is open for the path is told again, with the size of parts it has.

    A file that was not announced with the dataset joins it when it is complete.
    """
    limits = uploads.Limits(parts.settings.max_file_bytes, parts.settings.max_dataset_bytes)
    wanted = uploads.Wanted(request.path, request.size, request.sha256, request.part_bytes)
    with parts.database.session() as session:
        row = uploads.start(session, caller.scope, dataset_id, wanted, limits, _until(parts))
    assembly.begin(parts.database, parts.store, row)
    return UploadOut.of(row)


@router.get("", response_model=response_model(UploadOut))
def list_uploads(
    dataset_id: str, session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(UPLOADS))]
) -> Response:
    """Files that arrive, or arrived lately, in parts, oldest first unless `sort` says otherwise."""
    registry.get_dataset(session, caller.scope, dataset_id)
    return answer(session, caller.scope, _SHOWN, asked, dataset_id)


@router.get("/{upload_id}")
def show_upload(dataset_id: str, upload_id: str, session: ReaderOf, caller: Viewer) -> UploadOut:
    """One file that arrives in parts."""
    return UploadOut.of(uploads.get(session, caller.scope, dataset_id, upload_id))


@router.post("/{upload_id}/urls", responses=responses(conflict="The upload or its dataset takes no more parts"))
def sign_parts(dataset_id: str, upload_id: str, request: PartsRequest, parts: PartsOf, caller: Operator) -> PartUrls:
    """URLs to which parts are PUT, each good for one size and one content. The upload lasts longer for it."""
    until = _until(parts)
    with parts.database.session() as session:
        row = uploads.working(session, caller.scope, dataset_id, upload_id, until)
    plan = uploads.plan_of(row)
    beyond = [i for i, part in enumerate(request.parts) if part.number > plan.count]
    if beyond:
        detail = f"there is no part {request.parts[beyond[0]].number}; {row.path} has {plan.count}"
        raise ValidationFailed(
            detail, [FieldError(f"/parts/{i}/number", f"expected at most {plan.count}") for i in beyond]
        )
    s3_id = assembly.begin(parts.database, parts.store, row)
    signed = []
    for part in request.parts:
        size = plan.size_of(part.number)
        made = parts.store.multipart.presign(
            row.key, s3_id, part.number, size, part.md5, parts.settings.upload_expiry_s
        )  # fmt: skip
        signed.append(PartUrl(number=part.number, size=size, url=made.url, headers=made.headers))
    return PartUrls(parts=signed, expires_at=until)


@router.get("/{upload_id}/parts", response_model=response_model(PartOut))
def list_parts(dataset_id: str, upload_id: str, parts: PartsOf, caller: Viewer, limit: PartLimit = 1000,
               cursor: Cursor = None, fields: Fields = None) -> Response:  # fmt: skip
    """Parts that have arrived, in order; none any more when the upload is completed."""
    after, wanted = number_of(cursor) or 0, wanted_fields(fields, PartOut)
    with parts.database.reading() as session:
        row = uploads.get(session, caller.scope, dataset_id, upload_id)
    if row.s3_id is None:
        return page_of([], wanted, next=None)
    try:
        found, more = parts.store.multipart.page(row.key, row.s3_id, after, limit)
    except PartsGone:
        assembly.lost(parts.database, row)
        return page_of([], wanted, next=None)
    shown = [PartOut(number=part.number, size=part.size, md5=part.md5) for part in dict.fromkeys(found)]
    return page_of(shown, wanted, next=str(found[-1].number) if more and found else None)


@router.post("/{upload_id}/complete", responses=responses(conflict="Parts are missing or wrong; `errors` names each"))
def complete_upload(
    dataset_id: str, upload_id: str, request: UploadCompletion, parts: PartsOf, caller: Operator
) -> UploadOut:
    """Have the parts put together to the file. It may be repeated; Conflict names parts that are missing or wrong."""
    done = assembly.complete(
        parts.database, parts.store, caller.scope, dataset_id, upload_id, request.md5s, request.sha256
    )
    return UploadOut.of(done)


@router.delete("/{upload_id}", status_code=204, responses=responses(conflict="The file is, or is being, put together"))
def abort_upload(dataset_id: str, upload_id: str, parts: PartsOf, caller: Operator) -> Response:
    """Give up a file that is under way; its parts are removed within moments by the sweeper."""
    with parts.database.session() as session:
        uploads.abort(session, caller.scope, dataset_id, upload_id)
    return Response(status_code=204)
