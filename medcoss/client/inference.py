"""Answers of served models."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from medcoss.client.errors import ApiError, UnexpectedAnswer
from medcoss.client.inference_inputs import Given, body_of
from medcoss.client.inference_records import (
    Classification,
    Embedding,
    InferenceFile,
    InferenceStep,
    ModelPage,
    Segmentation,
    SegmentedAmounts,
    ServedModel,
    TimingMs,
)
from medcoss.client.paging import pages
from medcoss.client.records import (
    Record,
)
from medcoss.client.streams import PASSING, SILENCE_S, events
from medcoss.client.transport import CONNECT_TIMEOUT_S, Transport, problem

TIMEOUT_S = 900.0
# of the files that answers are, by their media types
SUFFIXES = {
    "application/gzip": ".nii.gz", "image/png": ".png", "application/dicom": ".dcm", "application/x-npy": ".npy",
    "application/vnd.apache.arrow.stream": ".arrow", "application/vnd.medcoss.contours+json": ".json",
    "application/json": ".json",
}  # fmt: skip

R = TypeVar("R", bound=Record)

# is called with every step of an inference
Progress = Callable[[InferenceStep], None]


class Inference:
    """`client.inference`: calls the gateway.

    An input is a file (`pathlib.Path`) or a folder of DICOM files, the bytes of one file, a text for models of reports,
    or where the platform finds it: `Stored(dataset, path)`, `S3Object(url)`, `DicomWeb(url)`. A string that names what
    there is on this machine is that file or folder, any other string is a text. With `progress`, that is called with
    every step of the work, as long as it lasts.
    """

    def __init__(self, gateway: Callable[[], Transport]) -> None:
        self._gateway = gateway

    def models(self) -> Iterator[ServedModel]:
        """The newest version of every served model."""
        return pages(self._gateway(), "/v1/models", ServedModel)

    def model(self, name: str) -> ModelPage:
        """What a served model takes and gives: inputs, outputs, labels, limits, and how to call it."""
        return self._gateway().parse(ModelPage, self._gateway().get(_path(name)))

    def embed(
        self, model: str, given: Given, *, filename: str | None = None, progress: Progress | None = None
    ) -> Embedding:
        """The feature of an image, a volume or a report."""
        return self._record(Embedding, self.file(model, "embed", given, "json", filename=filename, progress=progress))

    def classify(
        self, model: str, given: Given, *, filename: str | None = None, progress: Progress | None = None
    ) -> Classification:
        """The probability of every class."""
        found = self.file(model, "classify", given, "json", filename=filename, progress=progress)
        return self._record(Classification, found)

    def segment(self, model: str, given: Given, *, filename: str | None = None) -> bytes:
        """The label map on the input's own grid, as a file: NIfTI (.nii.gz) for a volume, PNG for an image."""
        return self.file(model, "segment", given, "file", filename=filename).content

    def segmentation(
        self, model: str, given: Given, *, format: str = "file", slice: int | None = None,
        filename: str | None = None, progress: Progress | None = None,
    ) -> Segmentation:  # fmt: skip
        """The masks with the names of their classes and what each covers.

        `format`: `file` (the label map), `nifti`, `png`, `dicom-seg` (of DICOM input), `overlay` (a picture, of a
        volume that of the axial `slice`), `contours` (JSON).
        """
        found = self.file(model, "segment", given, format, slice=slice, filename=filename, progress=progress)
        headers = httpx.Headers(found.headers)
        return Segmentation(
            model=model,
            version=int(headers.get("x-model-version", 0)),
            mask=found.content,
            suffix=SUFFIXES.get(found.media_type, ""),
            classes=json.loads(headers.get("x-class-names", "[]")),
            volume_ml=json.loads(headers.get("x-volume-ml", "null")),
            pixels=json.loads(headers.get("x-pixels", "null")),
            timing_ms=_timing(headers.get("server-timing", "")),
        )

    def measure(
        self, model: str, given: Given, *, filename: str | None = None, progress: Progress | None = None
    ) -> SegmentedAmounts:
        """What each class covers, without the label map."""
        found = self.file(model, "segment", given, "json", filename=filename, progress=progress)
        return self._record(SegmentedAmounts, found)

    def file(
        self, model: str, call: str, given: Given, format: str, *, slice: int | None = None,
        filename: str | None = None, progress: Progress | None = None,
    ) -> InferenceFile:  # fmt: skip
        """The answer of `embed`, `classify` or `segment` in a format of the gateway, as it is.

        Raises ApiError when it is refused, ServerUnreachable when there is no answer.
        """
        path, params = f"{_path(model)}/{call}", {"format": format, "slice": slice}
        with body_of(given, filename) as body:
            if progress is not None:
                found = self._streamed(path, params, dict(body), progress)
                if found is not None:
                    return found
            gateway = self._gateway()
            response = gateway.call("POST", path, params=params, idempotent=True, timeout_s=TIMEOUT_S, **body)
        media_type = response.headers.get("content-type", "").partition(";")[0]
        return InferenceFile(content=response.content, media_type=media_type, headers=dict(response.headers))

    def _streamed(
        self, path: str, params: dict[str, Any], body: dict[str, Any], progress: Progress
    ) -> InferenceFile | None:  # fmt: skip
        """The answer at the end of a stream of steps; None when the gateway is busy or a part of it away for now."""
        headers = {"Accept": "text/event-stream"} | body.pop("headers", {})
        timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_TIMEOUT_S)
        gateway = self._gateway()
        with gateway.stream(path, params, headers, timeout, method="POST", **body) as response:
            if response.status_code in PASSING:
                return None
            if not response.is_success:
                raise problem(response)
            for sent in events(response.iter_bytes()):
                if sent.name == "progress":
                    progress(gateway.parse(InferenceStep, sent.data))
                elif sent.name == "problem":
                    raise ApiError.from_problem(int(sent.data.get("status", 500)), sent.data)
                elif sent.name == "answer":
                    return _answer(sent.data)
        raise UnexpectedAnswer("the stream of the inference broke off before its answer; try again")

    def _record(self, record: type[R], found: InferenceFile) -> R:
        gateway = self._gateway()
        try:
            return gateway.parse(record, json.loads(found.content))
        except ValueError as error:
            raise UnexpectedAnswer(f"{gateway.server} gave an answer that is no JSON") from error


def _path(model: str) -> str:
    return f"/v1/models/{quote(model, safe='')}"


def _answer(data: dict[str, Any]) -> InferenceFile:
    """The answer in an event: JSON as it is, files in base64."""
    content = json.dumps(data["json"]).encode() if "json" in data else base64.b64decode(data.get("base64", ""))
    return InferenceFile(content=content, media_type=data.get("media_type", ""), headers=data.get("headers", {}))


def _timing(header: str) -> TimingMs:
    """`decode;dur=1.5, infer;dur=20` as numbers."""
    stages = dict(part.strip().split(";dur=", 1) for part in header.split(",") if ";dur=" in part)
    return TimingMs(**{name: float(stages.get(name, 0)) for name in TimingMs.model_fields})
