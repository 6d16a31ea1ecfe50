"""Answers of served models."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from medcoss.client.paging import pages
from medcoss.client.records import Classification, Embedding, Segmentation, SegmentedAmounts, ServedModel, TimingMs
from medcoss.client.transport import Transport

TIMEOUT_S = 900.0
SUFFIXES = {"application/gzip": ".nii.gz", "image/png": ".png"}


class Inference:
    """`client.inference`: calls the gateway.

    An input is a file (`pathlib.Path`), the bytes of one, or - for models of reports - a text. A string that
    names an existing file is that file, any other string is a text.
    """

    def __init__(self, gateway: Callable[[], Transport]) -> None:
        self._gateway = gateway

    def models(self) -> Iterator[ServedModel]:
        """The newest version of every served model."""
        return pages(self._gateway(), "/v1/models", ServedModel)

    def embed(self, model: str, given: Path | bytes | str, *, filename: str | None = None) -> Embedding:
        """The feature of an image, a volume or a report."""
        return self._gateway().read(Embedding, self._ask(model, "embed", given, filename))

    def classify(self, model: str, given: Path | bytes | str, *, filename: str | None = None) -> Classification:
        """The probability of every class."""
        return self._gateway().read(Classification, self._ask(model, "classify", given, filename))

    def segment(self, model: str, given: Path | bytes | str, *, filename: str | None = None) -> bytes:
        """The label map on the input's own grid, as a file: NIfTI (.nii.gz) for a volume, PNG for an image."""
        return self._ask(model, "segment", given, filename).content

    def segmentation(self, model: str, given: Path | bytes | str, *, filename: str | None = None) -> Segmentation:
        """The label map with the names of its classes and what each covers."""
        response = self._ask(model, "segment", given, filename)
        media_type = response.headers.get("content-type", "").partition(";")[0]
        return Segmentation(
            model=model,
            version=int(response.headers.get("x-model-version", 0)),
            mask=response.content,
            suffix=SUFFIXES.get(media_type, ""),
            classes=json.loads(response.headers.get("x-class-names", "[]")),
            volume_ml=json.loads(response.headers.get("x-volume-ml", "null")),
            pixels=json.loads(response.headers.get("x-pixels", "null")),
            timing_ms=_timing(response.headers.get("server-timing", "")),
        )

    def measure(self, model: str, given: Path | bytes | str, *, filename: str | None = None) -> SegmentedAmounts:
        """What each class covers, without the label map."""
        response = self._ask(model, "segment", given, filename, {"format": "json"})
        return self._gateway().read(SegmentedAmounts, response)

    def _ask(
        self, model: str, call: str, given: Path | bytes | str, filename: str | None,
        params: dict[str, Any] | None = None,
    ) -> httpx.Response:  # fmt: skip
        path = f"/v1/models/{quote(model, safe='')}/{call}"
        with _body(given, filename) as body:
            return self._gateway().call("POST", path, params=params, idempotent=True, timeout_s=TIMEOUT_S, **body)


@contextmanager
def _body(given: Path | bytes | str, filename: str | None) -> Iterator[dict[str, Any]]:
    """The body of a request as arguments of `Transport.call`."""
    if isinstance(given, str) and not _names_a_file(given):
        yield {"json": {"text": given}}
    elif isinstance(given, bytes):
        yield {"content": given, "headers": _headers(filename or "")}
    else:
        path = Path(given)
        with path.open("rb") as handle:
            yield {"content": handle, "headers": _headers(filename or path.name)}


def _names_a_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        # too long for a path, or with characters that no path has
        return False


def _headers(filename: str) -> dict[str, str]:
    named = {"X-Filename": quote(filename)} if filename else {}
    return {"Content-Type": "application/octet-stream"} | named


def _timing(header: str) -> TimingMs:
    """`decode;dur=1.5, infer;dur=20` as numbers."""
    stages = dict(part.strip().split(";dur=", 1) for part in header.split(",") if ";dur=" in part)
    return TimingMs(**{name: float(stages.get(name, 0)) for name in ("decode", "infer", "total")})
