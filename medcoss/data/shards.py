"""The shard format: fixed-size samples in blosc2, one sample a chunk, and a Parquet table beside them.

A dataset folder holds `meta.json` (DatasetInfo), `samples.parquet` (one row a sample), `patients.json.gz` if known,
`images.b2nd` (N, C, H, W) uint8 or (N, 1, D, H, W) float32, and `masks.b2nd`
(N, K, H, W) or (N, K, D, H, W) uint8 where there are masks, whose originals `originals.parquet` may hold
(`medcoss.data.originals`). Text has only the table.
"""

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from medcoss.data.frames import FrameReader, FrameWriter, compressed
from medcoss.data.originals import Original, OriginalsReader, OriginalsWriter, Placement
from medcoss.modalities import Kind
from medcoss.run import BadInput
from medcoss.specs.records import PATIENTS, DatasetInfo

# rows that are written to the table at once
ROW_GROUP = 8192


@dataclass(frozen=True)
class Sample:
    """The table row of one sample.

    Samples of one `group` belong to one case, e.g. a volume; `patient` is a keyed hash that stands for the patient.
    `label` is the class index, -1 without one. Tiles of volumes carry their first slice
    `offset`, the number of `slices` of their volume, and the voxel `spacing` in mm
    `(z, y, x)` of the stored grid.
    """

    id: str
    split: str
    source: str
    group: str
    patient: str = ""
    label: int = -1
    text: str = ""
    offset: int = 0
    slices: int = 0
    spacing_z: float = 0.0
    spacing_y: float = 0.0
    spacing_x: float = 0.0

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm, `(z, y, x)`."""
        return (self.spacing_z, self.spacing_y, self.spacing_x)


@dataclass(frozen=True)
class Chunk:
    """An image or a mask of this shape and type as `medcoss.data.frames.compressed` has made it."""

    data: bytes
    shape: Sequence[int]
    dtype: str


_TYPES: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64()}
_SCHEMA = pa.schema([(field.name, _TYPES[field.type]) for field in fields(Sample)])


class ShardWriter:
    """Writes a dataset folder sample by sample; it is complete after `close`. Holds a group of rows at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._rows: list[Sample] = []
        self._counts: Counter[str] = Counter()
        self._labelled: Counter[str] = Counter()
        self._patients: dict[str, set[str]] = {}
        self._table = pq.ParquetWriter(root / "samples.parquet", _SCHEMA)
        self._arrays: dict[str, FrameWriter] = {}
        self._originals: OriginalsWriter | None = None

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, sample: Sample, image: NDArray[Any] | None = None, mask: NDArray[np.uint8] | None = None) -> None:
        """Append one sample: its row, its image as stored, its mask (K, ...) if it has one."""
        arrays = ((name, array) for name, array in (("images", image), ("masks", mask)) if array is not None)
        self.add_compressed(sample, {n: Chunk(compressed(a), a.shape, a.dtype.name) for n, a in arrays})

    def add_compressed(self, sample: Sample, chunks: dict[str, "Chunk"]) -> None:
        """Append one sample whose `images` and `masks` are compressed already."""
        for name, chunk in chunks.items():
            if name not in self._arrays:
                path = self.root / f"{name}.b2nd"
                self._arrays[name] = FrameWriter(path, tuple(chunk.shape), np.dtype(chunk.dtype))
            self._arrays[name].append(chunk.data)
        self._counts[sample.split] += 1
        self._labelled[sample.split] += sample.label >= 0
        if sample.patient:
            self._patients.setdefault(sample.split, set()).add(sample.patient)
        self._rows.append(sample)
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def add_original(self, group: str, placement: Placement, mask: Chunk) -> None:
        """Keep the mask of a case on its own grid, `packed` already."""
        self._originals = self._originals or OriginalsWriter(self.root)
        self._originals.add(group, placement, mask.shape[0], mask.data)

    def split_counts(self) -> dict[str, int]:
        """Number of samples of each split that has any."""
        return {name: self._counts[name] for name in ("train", "val", "test") if self._counts[name]}

    def labelled_counts(self) -> dict[str, int]:
        """Number of samples of each split that have a class."""
        return {name: self._labelled[name] for name in self.split_counts()}

    def close(self, info: DatasetInfo) -> None:
        """Write what is left of the table, the arrays' indices and, last, the description."""
        self._flush()
        self._table.close()
        for array in self._arrays.values():
            array.close()
        if self._originals is not None:
            self._originals.close()
        if self._patients:
            known = json.dumps({split: sorted(found) for split, found in sorted(self._patients.items())})
            # the same content is the same file
            (self.root / PATIENTS).write_bytes(gzip.compress(known.encode(), mtime=0))
        (self.root / "meta.json").write_text(info.model_dump_json(indent=1))

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = {name: [getattr(row, name) for row in self._rows] for name in _SCHEMA.names}
        self._table.write_table(pa.table(columns, _SCHEMA))
        self._rows.clear()


class ShardReader:
    """Reads a dataset folder by index, in the units that models take.

    Raises BadInput when the folder holds no dataset.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if not (root / "meta.json").is_file():
            raise BadInput("this folder holds no prepared dataset (no meta.json); preprocess it first", root.name)
        self.info = DatasetInfo.model_validate_json((root / "meta.json").read_text())
        table = pq.read_table(root / "samples.parquet").to_pylist()
        self.rows = [Sample(**row) for row in table]
        self._images = self._open("images.b2nd")
        self._masks = self._open("masks.b2nd")
        self._originals = OriginalsReader(root)

    def _open(self, name: str) -> FrameReader | None:
        path = self.root / name
        return FrameReader(path) if path.is_file() else None

    def __len__(self) -> int:
        return len(self.rows)

    def indices(self, split: str | None = None) -> NDArray[np.int64]:
        """Positions of the samples of one split, or of all."""
        return np.array([i for i, row in enumerate(self.rows) if split in (None, row.split)], dtype=np.int64)

    def stored_image(self, index: int) -> NDArray[Any]:
        """The image as stored: uint8 (C, H, W) or float32 (1, D, H, W)."""
        return self._images[index]

    def image(self, index: int) -> NDArray[np.float32]:
        """Model input: float32 (3, H, W) in [0, 1], grey repeated, or (1, D, H, W) normalised."""
        return to_model_input(self.stored_image(index), self.info.kind)

    def planes(self, index: int) -> NDArray[np.float32]:
        """Like `image`, with the channels as they are stored: (1, H, W) of a grey image, for `three_channels`."""
        return _scaled(self.stored_image(index), self.info.kind)

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Binary channels (K, H, W) or (K, D, H, W), or None."""
        return None if self._masks is None else self._masks[index]

    def original(self, group: str) -> Original | None:
        """The mask of a case on its own grid, None where the dataset does not hold it."""
        return self._originals[group]

    def label(self, index: int) -> int:
        """Class index, -1 without a label."""
        return self.rows[index].label

    def text(self, index: int) -> str:
        """The cleaned report."""
        return self.rows[index].text

    def row(self, index: int) -> dict[str, Any]:
        """The table row as a dictionary."""
        return asdict(self.rows[index])


def to_model_input(stored: NDArray[Any], kind: Kind) -> NDArray[np.float32]:
    """What the encoder takes for a stored image: three channels in [0, 1] for 2-D, unchanged for volumes."""
    image = _scaled(stored, kind)
    return image if kind is Kind.VOLUME3D else three_channels(image)


def _scaled(stored: NDArray[Any], kind: Kind) -> NDArray[np.float32]:
    if kind is Kind.VOLUME3D:
        return stored.astype(np.float32, copy=False)
    return stored.astype(np.float32) / np.float32(255)


def three_channels(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images (..., C, H, W) with three channels: grey is repeated, colour stays."""
    return np.repeat(images, 3, axis=-3) if images.shape[-3] == 1 else images


def copy_subset(reader: ShardReader, indices: Sequence[int], output: Path, info: DatasetInfo) -> None:
    """Write the samples at `indices`, in that order, as a dataset folder described by `info`."""
    writer = ShardWriter(output)
    for index in indices:
        image = None if info.kind is Kind.TEXT else reader.stored_image(index)
        writer.add(reader.rows[index], image, reader.mask(index))
    writer.close(info)
