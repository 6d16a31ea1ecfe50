"""In which format an answer is given: what the caller accepts, and vectors and probabilities as files."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from services.core.errors import NotAcceptable
from services.inference.schemas import TimingMs

JSON, NPY, ARROW, STREAM = (
    "application/json", "application/x-npy", "application/vnd.apache.arrow.stream", "text/event-stream"
)  # fmt: skip
NIFTI, PNG, DICOM, CONTOURS = (
    "application/gzip",
    "image/png",
    "application/dicom",
    "application/vnd.medcoss.contours+json",
)
# by the names of the parameter `format`
VECTORS = {"json": JSON, "npy": NPY, "arrow": ARROW}


@dataclass(frozen=True)
class Answer:
    """The body of an answer, its media type, and headers that say more about it."""

    content: bytes
    media_type: str
    headers: dict[str, str] = field(default_factory=dict)


def wants_stream(accept: str) -> bool:
    """True when the caller asks for the progress as server-sent events."""
    return any(media_type == STREAM for media_type, _ in _accepted(accept))


def chosen(offered: Mapping[str, str], named: str | None, accept: str, what: str) -> str:
    """The name among `offered` (media types by name, the default first) that the caller named or accepts best.

    Raises NotAcceptable, which calls the answer `what`, when the header Accept leaves none.
    """
    if named is not None:
        return named
    accepted = [entry for entry in _accepted(accept) if entry[0] != STREAM]
    if not accepted:
        return next(iter(offered))
    best, highest = None, 0.0
    for name, media_type in offered.items():
        fits = [weight for pattern, weight in accepted if _covers(pattern, media_type)]
        if fits and max(fits) > highest:
            best, highest = name, max(fits)
    if best is None:
        told = ", ".join(dict.fromkeys(offered.values()))
        raise NotAcceptable(f"Accept is {accept[:200]}; {what} is given as one of {told}")
    return best


def _accepted(accept: str) -> list[tuple[str, float]]:
    """Media types of a header Accept with their weights (RFC 9110)."""
    found = []
    for entry in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            found.append((media_type, float(weight)))
        except ValueError:
            continue
    return [entry for entry in found if entry[0] and entry[1] > 0]


def _covers(pattern: str, media_type: str) -> bool:
    return pattern in ("*/*", media_type) or (pattern.endswith("/*") and media_type.startswith(pattern[:-1]))


def npy(values: NDArray[np.floating]) -> bytes:
    """An array as NumPy's file, float32."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, np.float32))
    return buffer.getvalue()


def arrow_embedding(values: NDArray[np.float32], metadata: Mapping[str, str]) -> bytes:
    """One row `embedding`, a list of float32 of fixed size, as an Arrow stream."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), len(values))
    return _stream(pa.table({"embedding": column}), metadata)


def arrow_probabilities(classes: Sequence[str], values: Sequence[float], metadata: Mapping[str, str]) -> bytes:
    """A row for each class with its `probability`, as an Arrow stream."""
    return _stream(pa.table({"class": pa.array(classes), "probability": pa.array(values, pa.float32())}), metadata)


def _stream(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata(dict(metadata))
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def header_json(value: object) -> str:
    """A value as JSON in a header, whose values are ASCII."""
    return json.dumps(value)


def server_timing(spent: TimingMs) -> str:
    """The header Server-Timing of an answer that is no JSON."""
    return ", ".join(f"{stage};dur={value}" for stage, value in spent.model_dump().items())
