"""What the calls take and answer, as OpenAPI tells of it."""

from typing import Any

from services.inference.formats import ARROW, CONTOURS, DICOM, NIFTI, NPY, PNG, STREAM
from services.inference.inputs import MAX_REFERENCE, MAX_TEXT

_STREAM_EXAMPLE = """event: progress
data: {"stage": "infer", "done": 8, "total": 12}

event: answer
data: {"media_type": "application/gzip", "headers": {"X-Model-Version": "1"}, "base64": "H4sIAAAAAAAC..."}

"""
RAW = {"schema": {"type": "string", "format": "binary"}}


def _object(field: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schema": {"type": "object", "required": [field], "properties": {field: schema}} | more}


_REFERENCE = {"type": "string", "maxLength": MAX_REFERENCE}
JSON_BODY: dict[str, Any] = {
    "schema": {
        "oneOf": [
            _object("text", {"type": "string", "maxLength": MAX_TEXT, "pattern": "\\S"})["schema"],
            {
                "type": "object", "required": ["dataset", "path"], "additionalProperties": False,
                "properties": {"dataset": _REFERENCE, "path": _REFERENCE},
            },
            _object("s3", _REFERENCE, additionalProperties=False)["schema"],
            _object("dicomweb", _REFERENCE, additionalProperties=False)["schema"],
        ]
    },
    "examples": {
        "a report": {"value": {"text": "No focal consolidation. Heart size is normal."}},
        "a stored file": {"value": {"dataset": "ds_0199c2b4455a1b2c3d4e5", "path": "case_01/scan.nii.gz"}},
        "an object": {"value": {"s3": "s3://medcoss/datasets/ds_0199c2b4455a1b2c3d4e5/raw/case_01/scan.nii.gz"}},
        "a series of a PACS": {"value": {"dicomweb": "https://pacs.example.org/dicom-web/studies/1.2.3/series/1.2.3.4"}},
    },
}  # fmt: skip
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _object("file", {"type": "string", "format": "binary"}, additionalProperties=False),
            "application/octet-stream": RAW,
            "application/json": JSON_BODY,
            "text/plain": {"schema": {"type": "string", "maxLength": MAX_TEXT}},
        },
    }
}
_STREAM = {"schema": {"type": "string"}, "example": _STREAM_EXAMPLE}
VECTOR_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"content": {NPY: RAW, ARROW: RAW, STREAM: _STREAM}}}
MASK_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {NIFTI: RAW, PNG: RAW, DICOM: RAW, CONTOURS: {"schema": {"type": "object"}}, STREAM: _STREAM}}
}
