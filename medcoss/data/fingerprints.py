"""What the inputs of a run hold, as hashes: a run goes on only with the very inputs that it began with."""

import hashlib
from pathlib import Path

from medcoss.run import sha256_file

# the files that an input is made of; a folder of another kind has none, and no fingerprint
_FILES = {
    "dataset": ("meta.json", "samples.parquet", "images.b2nd", "masks.b2nd"),
    "model": ("config.json", "model.safetensors", "vocab.txt"),
}
_PARTS, _PART = 64, 2**20
# file of a folder that was derived from an input, which tells the fingerprint of that
ORIGIN = "origin.sha256"


def fingerprint(path: Path) -> str | None:
    """SHA-256 of a file, or over the files of a dataset's or model's folder, wherever it lies; None for another folder.

    Of images and masks of more than 64 MiB the size and 64 pieces of 1 MiB count, the first and the last (which holds
    the places of all samples) among them: a hundred gigabytes take no longer than a model.
    """
    if path.is_file():
        return sha256_file(path)
    if (path / ORIGIN).is_file():
        return (path / ORIGIN).read_text()
    for first, *others in _FILES.values():
        if (path / first).is_file():
            there = [path / name for name in (first, *others) if (path / name).is_file()]
            parts = [f"{file.name} {_pieces(file) if file.suffix == '.b2nd' else sha256_file(file)}" for file in there]
            return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return None


def _pieces(path: Path) -> str:
    size = path.stat().st_size
    if size <= _PARTS * _PART:
        return sha256_file(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as handle:
        for number in range(_PARTS):
            handle.seek((size - _PART) * number // (_PARTS - 1))
            digest.update(handle.read(_PART))
    return digest.hexdigest()


def fingerprints(**inputs: Path | None) -> dict[str, str]:
    """The fingerprints of those inputs that are given and have one, by their names."""
    found = {name: fingerprint(path) for name, path in inputs.items() if path is not None}
    return {name: value for name, value in found.items() if value is not None}
