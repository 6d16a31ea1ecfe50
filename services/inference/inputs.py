"""What a caller sends: a file (form field or raw body), or in JSON a text or a reference to stored files."""

import json
from dataclasses import dataclass
from email.message import Message
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from fastapi import Request
from starlette.datastructures import UploadFile

from medcoss.preprocess.io import describe
from medcoss.preprocess.received import File
from services.core.errors import BadRequest, FieldError, ValidationFailed

MAX_TEXT = 100_000
# a path or an address
MAX_REFERENCE = 2_048
REFERENCES = ("dataset", "s3", "dicomweb")


@dataclass(frozen=True)
class Reference:
    """Where the input is to be fetched from: a field of REFERENCES, what it holds, and the `path` in a dataset."""

    by: str
    value: str
    path: str = ""


@dataclass(frozen=True)
class Input:
    """One file with its name, the files of a DICOM series, or one text; or where to fetch the files from."""

    data: bytes = b""
    filename: str = ""
    text: str | None = None
    several: tuple[File, ...] = ()
    reference: Reference | None = None
    # whether the file may be a text
    textual: bool = False

    @property
    def files(self) -> tuple[File, ...]:
        """The files, of which there is one at least unless this is a text."""
        return self.several or (File(self.filename, self.data),)

    def read_text(self) -> str | None:
        """The text, or that of a file which may be one; None when a file was sent that is not said to be a text."""
        if self.text is not None or not self.textual:
            return self.text
        try:
            return _checked(self.data.decode("utf-8-sig"), "/file", "expected a text that is not empty")
        except UnicodeDecodeError:
            detail = f"{self.filename}: this is {describe(self.data)}; expected a report, as text in UTF-8"
            raise invalid("/file", detail) from None


async def read_input(request: Request) -> Input:
    """The input of a request. Raises ValidationFailed or BadRequest naming what is missing."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _from_form(request)
    if content_type == "application/json":
        return _from_json(await request.body())
    name = plain_name(request.headers.get("x-filename") or _disposition_name(request) or "the request body")
    return _whole(await request.body(), name, content_type == "text/plain")


async def _from_form(request: Request) -> Input:
    async with request.form(max_files=1, max_fields=8) as form:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise invalid("/file", "the form has no file in the field 'file'")
        if unknown := [name for name in form if name != "file"]:
            raise invalid(
                "", f"the form has a field '{unknown[0][:100]}'; expected the file alone, in the field 'file'"
            )
        return _whole(await upload.read(), plain_name(upload.filename or "the uploaded file"), textual=True)


def _from_json(body: bytes) -> Input:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f'the body is not JSON ({error}); expected {{"text": "..."}}') from error
    named = [field for field in REFERENCES if isinstance(content, dict) and field in content]
    if named:
        return _referring(content, named)
    text = content.get("text") if isinstance(content, dict) else None
    expected = 'expected a JSON object with a text that is not empty: {"text": "..."}'
    return Input(text=_checked(text if isinstance(text, str) else "", "/text", expected))


def _checked(text: str, pointer: str, expected: str) -> str:
    if not text.strip():
        raise invalid(pointer, expected)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise invalid(pointer, "the text holds a half of a surrogate pair; expected Unicode")
    if len(text) > MAX_TEXT:
        raise invalid(pointer, f"the text has {len(text)} characters; expected at most {MAX_TEXT}")
    return text


def _referring(content: dict[str, Any], named: list[str]) -> Input:
    """The reference of a JSON body, of which there is to be one."""
    by, allowed = named[0], {named[0], *(["path"] if named[0] == "dataset" else [])}
    if unknown := sorted(set(content) - allowed):
        raise invalid(f"/{unknown[0]}", f"'{unknown[0][:100]}' does not go with '{by}'; expected {by} alone"
                      + (" with the path of a file in it" if by == "dataset" else ""))  # fmt: skip
    for field in sorted(allowed):
        value = content.get(field)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_REFERENCE:
            raise invalid(f"/{field}", f"expected a text of 1 to {MAX_REFERENCE} characters")
    return Input(reference=Reference(by, content[by], content.get("path", "")))


def _disposition_name(request: Request) -> str | None:
    message = Message()
    message["content-disposition"] = request.headers.get("content-disposition", "")
    return message.get_filename()


def plain_name(name: str) -> str:
    """The last part of a file name, for messages and suffixes only; nothing is ever opened by it."""
    plain = PurePosixPath(unquote(name).replace("\\", "/")).name
    return "".join(c for c in plain if c.isprintable())[-200:] or "the file"


def _whole(data: bytes, filename: str, textual: bool) -> Input:
    if not data:
        raise invalid("/file", f"{filename}: the file is empty")
    return Input(data=data, filename=filename, textual=textual)


def invalid(pointer: str, detail: str) -> ValidationFailed:
    """The refusal of one field."""
    return ValidationFailed(detail, [FieldError(pointer, detail)])
