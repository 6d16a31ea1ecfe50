"""What a caller sends: a file (form field or raw body) or a text (JSON)."""

import json
from dataclasses import dataclass
from email.message import Message
from pathlib import PurePosixPath
from urllib.parse import unquote

from fastapi import Request
from starlette.datastructures import UploadFile

from services.core.errors import BadRequest, FieldError, ValidationFailed

MAX_TEXT = 100_000


@dataclass(frozen=True)
class Input:
    """One file with its name, or one text."""

    data: bytes = b""
    filename: str = ""
    text: str | None = None


async def read_input(request: Request) -> Input:
    """The input of a request. Raises ValidationFailed or BadRequest naming what is missing."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _from_form(request)
    if content_type == "application/json":
        return _from_json(await request.body())
    name = _plain_name(request.headers.get("x-filename") or _disposition_name(request) or "the request body")
    return _whole(await request.body(), name)


async def _from_form(request: Request) -> Input:
    async with request.form(max_files=1, max_fields=8) as form:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise _invalid("/file", "the form has no file in the field 'file'")
        if unknown := [name for name in form if name != "file"]:
            raise _invalid(
                "", f"the form has a field '{unknown[0][:100]}'; expected the file alone, in the field 'file'"
            )
        return _whole(await upload.read(), _plain_name(upload.filename or "the uploaded file"))


def _from_json(body: bytes) -> Input:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f'the body is not JSON ({error}); expected {{"text": "..."}}') from error
    text = content.get("text") if isinstance(content, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise _invalid("/text", 'expected a JSON object with a text that is not empty: {"text": "..."}')
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _invalid("/text", "the text holds a half of a surrogate pair; expected Unicode")
    if len(text) > MAX_TEXT:
        raise _invalid("/text", f"the text has {len(text)} characters; expected at most {MAX_TEXT}")
    return Input(text=text)


def _disposition_name(request: Request) -> str | None:
    message = Message()
    message["content-disposition"] = request.headers.get("content-disposition", "")
    return message.get_filename()


def _plain_name(name: str) -> str:
    """The last part of a file name, for messages and suffixes only; nothing is ever opened by it."""
    plain = PurePosixPath(unquote(name).replace("\\", "/")).name
    return "".join(c for c in plain if c.isprintable())[-200:] or "the file"


def _whole(data: bytes, filename: str) -> Input:
    if not data:
        raise _invalid("/file", f"{filename}: the file is empty")
    return Input(data=data, filename=filename)


def _invalid(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed(detail, [FieldError(pointer, detail)])
