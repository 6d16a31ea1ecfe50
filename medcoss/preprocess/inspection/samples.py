"""Samples that people go through one by one: drawn evenly, each written as a file that a browser reads."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from medcoss.preprocess.inspection.thumbnails import grey_levels, window_of
from medcoss.preprocess.volumes import nifti_bytes
from medcoss.specs.names import has_suffix

# what a browser opens from the store as it was uploaded
READ_BY_BROWSERS = (".png", ".jpg", ".jpeg", ".bmp", ".nii", ".nii.gz", ".txt")
MOST_VOXELS, MOST_PIXELS, MOST_LETTERS = 160, 1024, 20_000
_INT16 = np.iinfo(np.int16)


def needs_a_copy(path: str, stored: Path) -> bool:
    """True for what a browser cannot open: formats that it does not read, and what lies in archives."""
    return not has_suffix(path, READ_BY_BROWSERS) or not (stored / path).is_file()


def evenly(samples: Iterable[tuple[int, tuple[str, str | None]]], count: int, seed: int) -> list[int]:
    """At most `count` of the samples, drawn by the seed, of every (split, class) as many as of the others, if it has
    them; in their order.
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, (split, label) in samples:
        groups[split, label or ""].append(number)
    draw = random.Random(seed)  # noqa: S311 - a draw of samples to look at
    shuffled = [draw.sample(groups[key], len(groups[key])) for key in sorted(groups)]
    turns = (found[turn] for turn in range(max(map(len, shuffled), default=0)) for found in shuffled
             if turn < len(found))  # fmt: skip
    return sorted(number for number, _ in zip(turns, range(count), strict=False))


@dataclass(frozen=True)
class Target:
    """Where a drawn sample goes; each method writes it and gives the fields of its line in `samples.json`."""

    folder: Path
    number: int
    key: str
    source: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def words(self, text: str) -> dict[str, Any]:
        """The words of a report, of a very long one the beginning."""
        cut = f"only the first {MOST_LETTERS:,} of {len(text):,} letters are shown" if len(text) > MOST_LETTERS else ""
        return self._line("text", text=text[:MOST_LETTERS], problem=cut)

    def image(self, image: NDArray[np.uint8], labels: NDArray[Any] | None = None, spacing: Iterable[float] = (),
              problem: str = "") -> dict[str, Any]:  # fmt: skip
        """An image (H, W) or (H, W, 3) with its labels (H, W), as PNG."""
        height, width = image.shape[:2]
        by = -(-max(height, width) // MOST_PIXELS)
        factors = (by, by) + (1,) * (image.ndim - 2)
        shown = np.rint(_means(image, factors)).astype(np.uint8)
        name = self._name(".png")
        Image.fromarray(shown).save(self.folder / name)
        about = {"shape": [height, width], "spacing": [*spacing], "shown": [*shown.shape[:2]], "window": [0.0, 255.0]}
        found = self._line("image", image=name, problem=problem, **about)
        codes = self._codes(labels, found)
        if codes is not None:
            found["mask"] = self._name("_mask.png")
            Image.fromarray(_largest(codes, (by, by))).save(self.folder / found["mask"])
        return found

    def volume(self, volume: NDArray[Any], modality: str, labels: NDArray[Any] | None, spacing: tuple[float, ...],
               problem: str = "") -> dict[str, Any]:  # fmt: skip
        """A volume (z, y, x) towards superior, posterior and left with its labels, as NIfTI; `spacing` in mm, zeros
        when nobody knows it. CT keeps its HU, other values become grey levels of the window.
        """
        known = all(spacing)
        by = tuple(-(-n // MOST_VOXELS) for n in volume.shape)
        sizes = [s * f for s, f in zip(spacing if known else (1.0, 1.0, 1.0), by, strict=True)]
        window = window_of(volume, modality)
        shown = _means(volume, by)
        if modality == "ct" and float(volume.min()) < -200:
            stored = np.clip(np.rint(shown), _INT16.min, _INT16.max).astype(np.int16)
        elif volume.dtype == np.uint8:
            stored, window = np.rint(shown).astype(np.uint8), (0, 255)
        else:
            stored, window = grey_levels(shown, window), (0, 255)
        name = self._name(".nii.gz")
        (self.folder / name).write_bytes(nifti_bytes(_on_grid(stored, sizes)))
        about = {"shape": [*volume.shape], "spacing": [*spacing] if known else [], "shown": [*stored.shape]}
        found = self._line("volume", image=name, window=[*map(float, window or (0, 1))], problem=problem, **about)
        codes = self._codes(labels, found)
        if codes is not None:
            found["mask"] = self._name("_mask.nii.gz")
            (self.folder / found["mask"]).write_bytes(nifti_bytes(_on_grid(_largest(codes, by), sizes)))
        return found

    def _name(self, ending: str) -> str:
        return f"sample_{self.number:03d}{ending}"

    def _line(self, kind: str, **about: Any) -> dict[str, Any]:
        return {"number": self.number, "key": self.key, "source": self.source, "kind": kind} | about

    def _codes(self, labels: NDArray[Any] | None, found: dict[str, Any]) -> NDArray[np.uint8] | None:
        """Labels as bytes, and what they mean; None where they are none."""
        if labels is None:
            return None
        values = np.unique(labels)
        whole = np.array_equal(values, np.rint(values)) and values.min() >= 0
        if not whole or len(values) > 256:
            found["problem"] = "its mask is not shown: it holds fractions, negative numbers or more than 255 labels"
            return None
        if values.max() <= 255:
            found["labels"] = {f"{v:g}": self.names[f"{v:g}"] for v in values.tolist() if f"{v:g}" in self.names}
            return labels.astype(np.uint8)
        above = values[values > 0]
        found["labels"] = {str(code): f"{value:g}" for code, value in enumerate(above.tolist(), 1)}
        return np.where(labels > 0, np.searchsorted(above, labels) + 1, 0).astype(np.uint8)


def _on_grid(array: NDArray[Any], spacing: Iterable[float]) -> sitk.Image:
    made = sitk.GetImageFromArray(array)
    made.SetSpacing([*spacing][::-1])
    return made


def _blocks(array: NDArray[Any], factors: tuple[int, ...]) -> NDArray[Any]:
    """An axis of blocks and one within them for each axis; what fills no block at an end is left out."""
    cut = array[tuple(slice(0, n // f * f) for n, f in zip(array.shape, factors, strict=True))]
    return cut.reshape([size for n, f in zip(cut.shape, factors, strict=True) for size in (n // f, f)])


def _means(array: NDArray[Any], factors: tuple[int, ...]) -> NDArray[Any]:
    if max(factors) == 1:
        return array
    within = tuple(range(1, 2 * array.ndim, 2))
    return np.asarray(_blocks(array, factors).mean(axis=within, dtype=np.float32))


def _largest(labels: NDArray[np.uint8], factors: tuple[int, ...]) -> NDArray[np.uint8]:
    """The largest label of each block: one that is there stays, however small it is."""
    return np.asarray(_blocks(labels, factors).max(axis=tuple(range(1, 2 * labels.ndim, 2))))
