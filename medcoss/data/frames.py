"""Reading and writing blosc2 arrays of equal samples, one sample a chunk; written in one pass.

blosc2 rewrites the index of a file with every chunk that is appended to it: for a hundred thousand samples that takes
longer than making them. Here the chunks are written one after the other, and header, index and trailer once at the
end, as blosc2 itself writes them for an empty array of the final shape.
"""

import struct
import tempfile
from array import array
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from medcoss.run import BadInput

# where the fields of the header are that depend on the content, see blosc2's README_CFRAME_FORMAT
_HEADER_SIZE, _FRAME_SIZE, _COMPRESSED = 11, 16, 39
_TRAILER_SIZE = -22
# chunks of zeros are not stored, their place says it; a chunk says it in the last byte of its header
_CHUNK_FLAGS, _ZEROS, _ZEROS_PLACE = 31, 0x10, (1 << 63) + (1 << 56)
_ZSTD: dict[str, Any] = {"codec": blosc2.Codec.ZSTD, "clevel": 5, "nthreads": 1}
# of floats the two leave as much, as most of their digits are noise, and this one is read in half the time
_LZ4HC: dict[str, Any] = {"codec": blosc2.Codec.LZ4HC, "clevel": 9, "nthreads": 1}


def _codec(dtype: np.dtype[Any]) -> dict[str, Any]:
    return _LZ4HC if dtype.kind == "f" else _ZSTD


def compressed(sample: NDArray[Any]) -> bytes:
    """One sample as the chunk of an array with that chunk shape; the same bytes for the same sample."""
    plain = np.ascontiguousarray(sample)
    return bytes(blosc2.compress2(plain, typesize=plain.itemsize, blocksize=plain.nbytes, **_codec(plain.dtype)))


def _layout(shape: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, Any]:
    return {"chunks": (1, *shape), "blocks": (1, *shape), "cparams": blosc2.CParams(**_codec(dtype))}


class FrameReader:
    """The samples of a blosc2 file (N, *shape), one sample a chunk; the file is mapped, not copied.

    Raises BadInput when a sample is damaged or the file holds other chunks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._array = blosc2.open(str(path), mode="r", mmap_mode="r")
        if self._array.chunks != (1, *self._array.shape[1:]):
            raise BadInput(f"chunks of {self._array.chunks}; expected one sample a chunk", path.name)

    def __getitem__(self, index: int) -> NDArray[Any]:
        """One sample, decompressed once into an array that is the caller's own; counts from the end below 0."""
        count = self._array.shape[0]
        if not -count <= index < count:
            raise IndexError(f"sample {index} of {count}")
        sample: NDArray[Any] = np.empty(self._array.shape[1:], self._array.dtype)
        try:
            self._array.schunk.decompress_chunk(int(index % count), dst=sample)
        except RuntimeError as error:
            raise BadInput(f"sample {index} is damaged; preprocess the dataset again", self.path.name) from error
        return sample


class FrameWriter:
    """A blosc2 file (N, *shape) that grows by compressed samples; it can be read after `close`."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype
        self._header, _ = self._ends(1)
        self._offsets = array("Q")
        self._size = 0
        self._file = path.open("wb")
        self._file.write(self._header)

    def append(self, chunk: bytes) -> None:
        """Add what `compressed` has made of a sample of this shape and type."""
        if chunk[_CHUNK_FLAGS] & 0x70 == _ZEROS:
            self._offsets.append(_ZEROS_PLACE)
            return
        self._offsets.append(self._size)
        self._file.write(chunk)
        self._size += len(chunk)

    def close(self) -> None:
        """Write index and header."""
        header, trailer = self._ends(len(self._offsets))
        index = blosc2.compress2(np.frombuffer(self._offsets, np.uint64), typesize=8, clevel=1, nthreads=1)
        with self._file as file:
            file.write(index)
            file.write(trailer)
            whole = bytearray(header)
            struct.pack_into(">q", whole, _FRAME_SIZE, file.tell())
            struct.pack_into(">q", whole, _COMPRESSED, self._size)
            file.seek(0)
            file.write(whole)

    def _ends(self, samples: int) -> tuple[bytes, bytes]:
        """Header and trailer of an array of so many samples; the header's length does not depend on their number."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "empty.b2nd"
            layout = _layout(self.shape, self.dtype)
            blosc2.empty((samples, *self.shape), self.dtype, urlpath=str(path), mode="w", **layout)
            frame = path.read_bytes()
        (header,) = struct.unpack_from(">i", frame, _HEADER_SIZE)
        (trailer,) = struct.unpack_from(">I", frame, len(frame) + _TRAILER_SIZE)
        return frame[:header], frame[-trailer:]
