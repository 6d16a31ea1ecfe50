"""The masks of a dataset's images and volumes as they were before they were resampled, and where the samples lie there.

A dataset folder may hold `originals.parquet`, a row a case: its `group`, the `placement` as JSON, and the mask as
compressed bits.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import blosc2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

NAME = "originals.parquet"
# rows and bytes that are written, and read, at once
_ROWS, _BYTES = 64, 8 * 2**20
_SCHEMA = pa.schema([("group", pa.string()), ("placement", pa.string()), ("mask", pa.binary())])


@dataclass(frozen=True)
class Placement:
    """Where samples lie in an image (H, W) or a volume (D, H, W) of `shape`, axes nearest to LPS.

    The box of `size` voxels from `start` on was resampled to `resampled` voxels, whose slices were then cut around
    their centre, or padded, to those of the samples. `spacing` of the original in mm (z, y, x); 1 for images, whose
    pixel size is not known.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    start: tuple[int, ...]
    size: tuple[int, ...]
    resampled: tuple[int, ...]


@dataclass(frozen=True)
class Original:
    """The mask (K, ...) of an image or a volume on its own grid."""

    placement: Placement
    mask: NDArray[np.bool_]


def packed(mask: NDArray[np.bool_]) -> bytes:
    """A mask as compressed bits, the same for the same mask."""
    bits = np.packbits(np.ascontiguousarray(mask, bool))
    return bytes(blosc2.compress2(bits, typesize=1, codec=blosc2.Codec.ZSTD, clevel=5, nthreads=1))


def unpacked(data: bytes, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask of `shape` that was `packed`."""
    bits = np.frombuffer(blosc2.decompress2(data), np.uint8)
    return np.unpackbits(bits, count=math.prod(shape)).reshape(shape).view(bool)


class OriginalsWriter:
    """Writes `originals.parquet` into a folder, case by case; it is complete after `close`."""

    def __init__(self, folder: Path) -> None:
        self._writer = pq.ParquetWriter(folder / NAME, _SCHEMA)
        self._rows: list[tuple[str, str, bytes]] = []

    def add(self, group: str, placement: Placement, channels: int, mask: bytes) -> None:
        """Append a case whose mask of so many channels is `packed` already."""
        told = json.dumps(asdict(placement) | {"channels": channels})
        self._rows.append((group, told, mask))
        if len(self._rows) == _ROWS or sum(len(mask) for *_, mask in self._rows) >= _BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the table's end."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            columns = dict(zip(_SCHEMA.names, zip(*self._rows, strict=True), strict=True))
            self._writer.write_table(pa.table({name: list(column) for name, column in columns.items()}, _SCHEMA))
            self._rows.clear()


class OriginalsReader:
    """Reads the originals of a dataset folder by the group of their samples; there may be none."""

    def __init__(self, folder: Path) -> None:
        path = folder / NAME
        self._file = pq.ParquetFile(path) if path.is_file() else None
        self._places: dict[str, tuple[int, int]] = {}
        for number in range(self._file.num_row_groups if self._file else 0):
            groups = self._file.read_row_group(number, ["group"])["group"].to_pylist()
            self._places |= {group: (number, row) for row, group in enumerate(groups)}

    def __getitem__(self, group: str) -> Original | None:
        """The original of a case, None where the dataset has none."""
        if self._file is None or group not in self._places:
            return None
        number, row = self._places[group]
        found = self._file.read_row_group(number, ["placement", "mask"]).slice(row, 1).to_pylist()[0]
        told = json.loads(found["placement"])
        channels = told.pop("channels")
        placement = Placement(**{name: tuple(values) for name, values in told.items()})
        return Original(placement, unpacked(found["mask"], (channels, *placement.shape)))
