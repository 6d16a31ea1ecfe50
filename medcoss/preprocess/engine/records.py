"""What became of items, in a file that is written and read front to back.

An item is its samples and, after them, its end: a line of JSON each, a sample's compressed image and mask behind
its line.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal

from medcoss.data.frames import compressed
from medcoss.data.originals import Placement, packed
from medcoss.data.shards import Chunk
from medcoss.preprocess.recipe import Made

_ORIGINAL = "original"


@dataclass(frozen=True)
class End:
    """How item number `item` of the plan ended: `made` its samples, or for which `reason` it did not.

    `path` is the file that is to blame; `digest` the SHA-256 of its first file, or of its data; `findings` what the
    samples were made with, of a recipe that concludes something from all items.
    """

    item: int
    state: Literal["made", "bad", "left_out"]
    digest: str = ""
    path: str = ""
    reason: str = ""
    findings: Any = None


@dataclass(frozen=True)
class StoredSample:
    """A sample as it is stored: what its row needs besides the item, `images` and `masks`. Of a survey, the row is
    what was found. The `original` of a case is its placement and, as bits, its mask.
    """

    row: dict[str, Any]
    chunks: dict[str, Chunk]
    original: tuple[Placement, Chunk] | None = None


def write_sample(file: IO[bytes], made: Made) -> None:
    """Append a sample."""
    z, y, x = made.spacing
    row = {"text": made.text, "offset": made.offset, "slices": made.slices,
           "spacing_z": z, "spacing_y": y, "spacing_x": x}  # fmt: skip
    arrays = {name: array for name, array in (("images", made.image), ("masks", made.mask)) if array is not None}
    chunks = {name: compressed(array) for name, array in arrays.items()}
    content: dict[str, Any] = {"row": row}
    if made.original is not None:
        arrays[_ORIGINAL], chunks[_ORIGINAL] = made.original.mask, packed(made.original.mask)
        content["placement"] = asdict(made.original.placement)
    layout = {name: [len(chunks[name]), array.shape, array.dtype.name] for name, array in arrays.items()}
    _write_line(file, content | {"chunks": layout})
    for chunk in chunks.values():
        file.write(chunk)


def write_found(file: IO[bytes], found: Any) -> None:
    """Append what a survey has found."""
    _write_line(file, {"row": {"found": found}, "chunks": {}})


def write_end(file: IO[bytes], end: End) -> None:
    """Append the end of an item."""
    _write_line(file, {name: value for name, value in vars(end).items() if value is not None})


def _write_line(file: IO[bytes], content: dict[str, Any]) -> None:
    file.write(json.dumps(content).encode() + b"\n")


def read_records(file: IO[bytes]) -> Iterator[StoredSample | End]:
    """All records of a whole file."""
    for line in iter(file.readline, b""):
        content = json.loads(line)
        if "chunks" in content:
            chunks = {n: Chunk(file.read(size), s, t) for n, (size, s, t) in content["chunks"].items()}
            mask, original = chunks.pop(_ORIGINAL, None), None
            if mask is not None:
                placement = Placement(**{name: tuple(values) for name, values in content["placement"].items()})
                original = (placement, mask)
            yield StoredSample(content["row"], chunks, original)
        else:
            yield End(**content)
