"""The preprocessing rules of nnU-Net's first version, for volumes with label maps, written anew.

Source: Isensee et al., nnU-Net, Nature Methods 18 (2021), methods and supplement. The order is: crop to what is not
zero, take the fingerprint of the training cases (CT), resample, normalise. Arrays and spacings (mm) are (z, y, x).
`published=True` repeats what the released code does otherwise than it should.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medcoss.preprocess.resampling import cubic_matrix, multiplied, resize_linear
from medcoss.run import BadInput

Array = NDArray[np.float32]
Spacing = tuple[float, float, float]
Box = tuple[slice, slice, slice]
LITS_SPACING: Spacing = (1.5, 0.8, 0.8)
# an axis this many times as coarse as the finest one is resampled by itself
ANISOTROPY = 3.0
# a crop that takes away this share says that the background was cut out: only what is not zero is normalised
_MASKED = 0.25
_LOWEST, _HIGHEST = -32768, 32767


def nonzero_mask(volume: NDArray[np.number]) -> NDArray[np.bool_]:
    """Where a volume (z, y, x), or any channel of (C, z, y, x), is not 0; holes are filled."""
    return ndimage.binary_fill_holes((volume != 0).any(axis=0) if volume.ndim == 4 else volume != 0)


def nonzero_box(mask: NDArray[np.bool_]) -> Box:
    """The smallest box around a mask. Raises BadInput when it is empty."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        raise BadInput("the volume is 0 everywhere; expected an image")
    z, y, x = found[0]
    return (z, y, x)


@dataclass(frozen=True)
class Cropped:
    """A volume and its labels within `box`; `mask` is what is not zero, `masked` whether only that is normalised."""

    volume: NDArray[np.number]
    labels: NDArray[np.integer]
    mask: NDArray[np.bool_]
    box: Box
    masked: bool


def crop_to_nonzero(volume: NDArray[np.number], labels: NDArray[np.integer], published: bool = False) -> Cropped:
    """Cut a volume and its labels (z, y, x) to the box of what is not zero.

    Published: labels are -1 where image and label are both nothing.
    """
    mask = nonzero_mask(volume)
    box = nonzero_box(mask)
    inside, cut = mask[box], labels[box]
    if published:
        cut = np.where((cut == 0) & ~inside, -1, cut.astype(np.int16))
    return Cropped(volume[box], cut, inside, box, inside.size < (1 - _MASKED) * volume.size)


@dataclass(frozen=True)
class Fingerprint:
    """Intensities of the foreground of all training cases: what CT is clipped to, and its mean and deviation."""

    low: float
    high: float
    mean: float
    std: float


class Foreground:
    """Gathers the intensities of labelled voxels, case by case, in a histogram of whole HU: its size does not grow.

    For CT, whose values are whole numbers, the fingerprint is exact; fractions are rounded. Counts of several workers
    can be merged.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_HIGHEST - _LOWEST + 1, np.int64)

    def add(self, volume: NDArray[np.number], labels: NDArray[np.integer], published: bool = False) -> None:
        """Count the voxels of a case whose label is above 0. Published: every tenth of them."""
        values = volume[labels > 0][:: 10 if published else 1]
        whole = np.clip(np.rint(values), _LOWEST, _HIGHEST).astype(np.int64) - _LOWEST
        self.counts += np.bincount(whole, minlength=len(self.counts))

    def merge(self, other: "Foreground") -> None:
        """Take over the counts of another worker."""
        self.counts += other.counts

    def fingerprint(self) -> Fingerprint:
        """0.5 and 99.5 percentile, mean and population standard deviation. Raises BadInput without any voxel."""
        total = int(self.counts.sum())
        if not total:
            raise BadInput("no case has a labelled voxel; expected label maps with values above 0")
        values = np.arange(_LOWEST, _HIGHEST + 1, dtype=np.float64)
        mean = float(values @ self.counts) / total
        std = float(np.sqrt(np.square(values - mean) @ self.counts / total))
        ends = np.cumsum(self.counts)
        low, high = (self._percentile(ends, share * (total - 1)) for share in (0.005, 0.995))
        return Fingerprint(low, high, mean, std)

    @staticmethod
    def _percentile(ends: NDArray[np.int64], place: float) -> float:
        """The value at a place in the sorted voxels, between two of them by linear interpolation."""
        below, above = (float(np.searchsorted(ends, n, "right")) + _LOWEST for n in (np.floor(place), np.ceil(place)))
        return below + (above - below) * (place - float(np.floor(place)))


def normalise_ct(volume: NDArray[np.number], of: Fingerprint) -> Array:
    """A CT clipped to the percentiles of the fingerprint, less its mean, over its deviation."""
    return ((np.clip(volume, of.low, of.high) - of.mean) / max(of.std, 1e-8)).astype(np.float32)


def normalise_case(volume: NDArray[np.number], mask: NDArray[np.bool_] | None = None) -> Array:
    """Any other modality, by its own mean and deviation; with a mask those within it, and 0 outside."""
    values = volume.astype(np.float32)
    inside = values if mask is None else values[mask]
    scored = (values - inside.mean()) / max(float(inside.std()), 1e-8)
    return scored if mask is None else np.where(mask, scored, np.float32(0))


def new_shape(shape: tuple[int, ...], spacing: Spacing, target: Spacing) -> tuple[int, int, int]:
    """Voxels of a volume at another spacing, at least one an axis."""
    z, y, x = (max(round(n * s / t), 1) for n, s, t in zip(shape, spacing, target, strict=True))
    return (z, y, x)


def median_spacing(spacings: NDArray[np.floating], shapes: NDArray[np.integer]) -> Spacing:
    """The spacing (z, y, x) that cropped cases of `spacings` and `shapes` (N, 3) are resampled to: their median.

    Of an axis 3 times as coarse as the others in slices 3 times as few, the 10th percentile, not below the others.
    """
    target, size = np.median(spacings, axis=0), np.median(shapes, axis=0)
    coarsest = int(target.argmax())
    others = np.delete(target, coarsest).max()
    if target[coarsest] > ANISOTROPY * others and size[coarsest] * ANISOTROPY < np.delete(size, coarsest).min():
        target[coarsest] = max(np.percentile(spacings[:, coarsest], 10), others)
    z, y, x = (float(mm) for mm in target)
    return (z, y, x)


def coarse_axis(spacing: Spacing, target: Spacing) -> int | None:
    """The axis that is resampled by itself, since it is over 3 times as coarse as another one, before or after.

    None when there is none, and when two axes are equally coarse.
    """
    for one in (spacing, target):
        if max(one) / min(one) > ANISOTROPY:
            coarsest = [axis for axis in range(3) if one[axis] == max(one)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def resample_volume(volume: NDArray[np.number], spacing: Spacing, target: Spacing) -> Array:
    """A volume (z, y, x) at the spacing `target`: cubic; along a coarse axis the nearest slice.

    Not low-passed; values keep to the range of what they are made of (a coarse volume's slice, else the volume).
    """
    size = new_shape(volume.shape, spacing, target)
    if size == volume.shape:
        return volume.astype(np.float32)
    matrices = [cubic_matrix(old, new, "edge", low_pass=False) for old, new in zip(volume.shape, size, strict=True)]
    coarse = coarse_axis(spacing, target)
    over = tuple(axis for axis in range(3) if axis != coarse)
    if coarse is not None:
        matrices[coarse] = np.eye(volume.shape[coarse])
    found = multiplied(volume, matrices)
    np.clip(found, volume.min(axis=over, keepdims=True), volume.max(axis=over, keepdims=True), out=found)
    return found if coarse is None else found.take(_nearest(volume.shape[coarse], size[coarse]), coarse)


def resample_labels(labels: NDArray[np.integer], spacing: Spacing, target: Spacing, published: bool = False
                    ) -> NDArray[np.integer]:  # fmt: skip
    """A label map (z, y, x) at the spacing `target`: each label linear by itself, then the likeliest one.

    Along a coarse axis the nearest slice. Between equals the smaller label wins. Published: the highest label whose
    share is one half or more, 0 where there is none.
    """
    size = new_shape(labels.shape, spacing, target)
    if size == labels.shape:
        return labels.copy()
    coarse = coarse_axis(spacing, target)
    if coarse is not None:
        labels = labels.take(_nearest(labels.shape[coarse], size[coarse]), coarse)
    found = np.zeros(size, labels.dtype)
    best = np.full(size, 0.5 if published else 0.0, np.float32)
    for label in np.unique(labels):
        share = resize_linear(labels == label, size)
        # shares of one half may be off by their last digit
        better = share >= best - 1e-6 if published else share > best + 1e-6
        found[better] = label
        if not published:
            np.maximum(best, share, out=best)
    return found


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    """For each of `new` slices the nearest of `old`, corners aligned to corners."""
    places = np.floor((np.arange(new) + 0.5) * old / new)
    return np.clip(places, 0, old - 1).astype(np.int64)
