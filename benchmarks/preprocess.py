"""CT preprocessing: our steps against a plain restatement of the published ones, volumes per second.

    python benchmarks/preprocess.py                        # synthetic CT, 24 slices of 512 x 512, 0.8 x 0.8 x 2.5 mm
    python benchmarks/preprocess.py --volumes FOLDER       # CT volumes (.nii.gz) in HU below a folder

The restatement is one process: clip, scikit-image's cubic resize to 1 mm, crop, and ITK's linear resize of each tile.
Ours has a process for each core. Both make the same tiles (1, 16, 192, 192), in two conventions: the right one (ours by
default; largest difference allowed 1e-4 of the range of HU / 1024) and the published one (equal to the last digit).
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.transform import resize
from threadpoolctl import threadpool_limits

from medcoss.preprocess.published import ct_tile_slices
from medcoss.preprocess.tiling import ct_tiles

Floats = NDArray[np.float32]
TOLERANCE = 1e-4


def synthetic(slices: int, side: int, seed: int) -> sitk.Image:
    """A CT of soft blobs, bone and noise in air; 0.8 x 0.8 x 2.5 mm, int16."""
    rng = np.random.default_rng(seed)
    soft = gaussian_filter(rng.normal(size=(slices, side, side)).astype(np.float32), (2, 12, 12))
    noise = rng.normal(0, 15, soft.shape).astype(np.float32)
    image = sitk.GetImageFromArray((900 * soft / soft.std() - 200 + noise).clip(-1500, 2500).astype(np.int16))
    image.SetSpacing((0.8, 0.8, 2.5))
    return image


def restated(image: sitk.Image, published: bool) -> list[Floats]:
    """The published steps, plainly; without `published` with their conventions put right."""
    volume = np.clip(sitk.GetArrayFromImage(image), -1024, 1024)
    wanted = [n * round(s, 4) for n, s in zip(volume.shape, image.GetSpacing()[::-1], strict=True)]
    size = [round(wanted[0]), *(int(n) if published else round(n) for n in wanted[1:])]
    grid = resize(volume if published else volume.astype(np.float32), size, order=3, preserve_range=True)
    grid = np.round(grid).astype(volume.dtype) if published else grid
    for axis in (1, 2):
        n = grid.shape[axis]
        if size[1 if published else axis] > 320:
            grid = grid.take(range(int(0.1 * n), int(0.9 * n)), axis)
    return [_resized(grid[a:b], published) for a, b in ct_tile_slices(len(grid))]


def _resized(tile: NDArray[np.number], published: bool) -> Floats:
    image = sitk.GetImageFromArray(tile)
    target = sitk.Image(192, 192, 16, image.GetPixelID())
    ratios = [old / new for old, new in zip(image.GetSize(), target.GetSize(), strict=True)]
    target.SetSpacing(ratios)
    if not published:
        target.SetOrigin([(ratio - 1) / 2 for ratio in ratios])
    found = sitk.Resample(image, target, sitk.Transform(), sitk.sitkLinear, 0.0, image.GetPixelID(), not published)
    array = sitk.GetArrayFromImage(found).astype(np.float32) / 1024
    return (array.swapaxes(1, 2) if published else array)[None]


def ours(image: sitk.Image, published: bool) -> list[Floats]:
    """The same tiles by our steps."""
    return [tile.voxels for tile in ct_tiles(image, published)]


def _one_thread() -> None:
    threadpool_limits(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _timed(images: list[sitk.Image], work: Callable[[sitk.Image], list[Floats]]) -> tuple[float, list[list[Floats]]]:
    began = time.perf_counter()
    found = [work(image) for image in images]
    return time.perf_counter() - began, found


def _count(work: Callable[[sitk.Image], list[Floats]], image: sitk.Image) -> int:
    return len(work(image))


def compare(images: list[sitk.Image], workers: int, repeats: int) -> bool:
    """Print a row for each convention; False when tiles differ by more than they may."""
    fits = True
    print("convention  published steps  ours, 1 process  ours, all  (volumes/s)  ratio: 1 process  all   difference")
    with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
        for published in (False, True):
            work = partial(ours, published=published)
            list(pool.map(partial(_count, work), images[:1] * workers))
            slow, theirs = _timed(images, partial(restated, published=published))
            with threadpool_limits(1):
                fast, mine = min((_timed(images, work) for _ in range(repeats)), key=lambda timed: timed[0])
            many = images * max(2 * workers // len(images), 2)
            began = time.perf_counter()
            list(pool.map(partial(_count, work), many))
            all_cores = (time.perf_counter() - began) * len(images) / len(many)
            off = max(
                (float(np.abs(a - b).max()) for x, y in zip(theirs, mine, strict=True)
                 for a, b in zip(x, y, strict=True)), default=0.0)  # fmt: skip
            fits &= off <= (0 if published else TOLERANCE)
            rate = [len(images) / seconds for seconds in (slow, fast, all_cores)]
            print(f"{'published' if published else 'right':<12}{rate[0]:>15.3f}{rate[1]:>17.3f}{rate[2]:>11.3f}"
                  f"{rate[1] / rate[0]:>32.1f}{rate[2] / rate[0]:>5.1f}{off:>13.1e}", flush=True)  # fmt: skip
    print("the same tiles" if fits else "the tiles DIFFER")
    return fits


def main(argv: list[str]) -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=Path, help="folder of CT volumes in HU, .nii.gz")
    parser.add_argument("--count", type=int, default=2, help="synthetic volumes")
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3, help="turns of ours in one process, the best counts")
    options = parser.parse_args(argv)
    if options.volumes:
        images = [sitk.DICOMOrient(sitk.ReadImage(str(p)), "LPS") for p in sorted(options.volumes.rglob("*.nii.gz"))]
    else:
        images = [synthetic(options.slices, options.side, seed) for seed in range(options.count)]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.workers} processes; numpy "
          f"{np.__version__}, scikit-image {version('scikit-image')}, SimpleITK {version('SimpleITK')}")  # fmt: skip
    print(f"{len(images)} volumes, the first {images[0].GetSize()} of {images[0].GetSpacing()} mm (x, y, z)")
    return 0 if compare(images, options.workers, options.repeats) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
