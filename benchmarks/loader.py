"""Samples per second of crops (1, 16, 192, 192): our shards against reading `.nii.gz` files, in turns within one run.

    python benchmarks/loader.py                       # tiles of synthetic CT
    python benchmarks/loader.py --volumes FOLDER      # of CT volumes (.nii.gz) in HU below a folder

The crops stand in shards; in one `.nii.gz` file each; and in one `.nii.gz` file for each volume, from which a crop is
cut after the file is read. A file is read with gzip and numpy alone, which is the least that a reader in Python does
(nibabel does that and more; it has a row where it is installed), and with SimpleITK. Rates are samples per second of
CPU time of one process, files in the page cache, so that other work on the machine does not count. All arrays have to
be equal; the exit code is 1 when they are not, or the ratio to the faster library with a file a crop (nibabel where it
is installed, SimpleITK) is below `--least`.
Then, by the clock: the batches of pre-training from the same shards, with augmentation, in one process and in
`--workers`, with the CPU time that a batch takes in all processes; and the rate of our pre-training step of size base
in bf16 on the GPU, if there is one: the loader is to make three times as many samples as the step takes.
"""

import argparse
import gzip
import importlib
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from medcoss.data.shards import Sample, ShardReader, ShardWriter
from medcoss.modalities import Kind
from medcoss.preprocess.tiling import ct_tiles
from medcoss.specs.records import DatasetInfo
from medcoss.training.distributed import Ranks
from medcoss.training.loading import AHEAD, loaded
from medcoss.training.steps import PretrainSteps, Source

try:
    from benchmarks._machine import cores
    from benchmarks.preprocess import synthetic
    from benchmarks.train_step import Ours, our_task, prepared_images
except ImportError:
    from _machine import cores
    from preprocess import synthetic
    from train_step import Ours, our_task, prepared_images

Floats = NDArray[np.float32]
Read = Callable[[Path], Floats]
HEADER = 352
BARE, CROP = "gzip, numpy", ": a file a crop"
AIM = 3


def by_gzip(path: Path) -> Floats:
    """Voxels (D, H, W) of a single-file NIfTI that `written` has made."""
    data = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(data, "<i2", 8, 40)[1:4][::-1]
    return np.frombuffer(data, "<f4", offset=HEADER).reshape(shape)


def by_itk(path: Path) -> Floats:
    """Voxels (D, H, W)."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def readers() -> dict[str, Read]:
    """The ways to read a file, by name."""
    found: dict[str, Read] = {BARE: by_gzip, "SimpleITK": by_itk}
    try:
        nibabel = importlib.import_module("nibabel")
    except ImportError:
        return found
    return found | {"nibabel": lambda path: np.asarray(nibabel.load(path).dataobj).T}


def written(voxels: Floats, path: Path) -> Path:
    """The path, to which voxels (D, H, W) were written as NIfTI."""
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path), useCompression=True)
    return path


class Crops:
    """The same crops in three forms below a folder."""

    def __init__(self, images: list[sitk.Image], folder: Path) -> None:
        self.files: list[Path] = []
        self.volumes: list[tuple[Path, int]] = []
        writer = ShardWriter(folder / "shards")
        for number, image in enumerate(images):
            tiles = ct_tiles(image, published=False)
            # the crops of a volume one after the other: nothing is read that is not a crop
            volume = written(np.concatenate([tile.voxels[0] for tile in tiles]), folder / f"volume{number}.nii.gz")
            for place, tile in enumerate(tiles):
                writer.add(Sample(f"{number}-{place}", "train", "", str(number)), tile.voxels)
                self.files.append(written(tile.voxels[0], folder / f"crop{number}-{place}.nii.gz"))
                self.volumes.append((volume, place * tile.voxels.shape[1]))
        shape = list(tiles[0].voxels.shape)
        writer.close(DatasetInfo(modality="ct", kind=Kind.VOLUME3D, samples=len(writer), splits=writer.split_counts(),
                                 sample_shape=shape, recipe={}))  # fmt: skip
        self.shards, self.depth = ShardReader(folder / "shards"), shape[1]

    def ways(self) -> dict[str, Callable[[int], Floats]]:
        """Every way to a crop (1, D, H, W) by its number."""
        ways: dict[str, Callable[[int], Floats]] = {"our shards": self.shards.image}
        for name, read in readers().items():
            ways[name + CROP] = lambda i, read=read: read(self.files[i])[None]
            ways[f"{name}: a file a volume"] = lambda i, read=read: self._cut(read, i)
        return ways

    def _cut(self, read: Read, index: int) -> Floats:
        path, first = self.volumes[index]
        return read(path)[None, first : first + self.depth]


def rate(work: Callable[[int], Any], count: int, seconds: float) -> float:
    """Samples per second of CPU time of `work` over the numbers below `count`, again and again for about so long."""
    began, done = time.process_time(), 0
    for index in cycle(range(count)):
        work(index)
        done += 1
        if (spent := time.process_time() - began) >= seconds:
            break
    return done / spent


def compare(crops: Crops, seconds: float, turns: int, least: float) -> bool:
    """Print a row for each way; False when crops differ or the ratio to a file a crop is below `least`."""
    ways, count = crops.ways(), len(crops.shards)
    same = all(np.array_equal(way(i), crops.shards.image(i)) for way in ways.values() for i in range(count))
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            speeds[name].append(rate(way, count, seconds))
    ours = statistics.median(speeds["our shards"])
    print(f"{'read by one process':<32}{'samples/s':>10}{'range':>18}{'ours / this':>13}")
    for name, found in speeds.items():
        middle, spread = statistics.median(found), f"{min(found):.1f}-{max(found):.1f}"
        print(f"{name:<32}{middle:>10.1f}{spread:>18}{ours / middle:>13.1f}", flush=True)
    libraries = [name for name in speeds if name.endswith(CROP) and not name.startswith(BARE)]
    ratio = ours / max(statistics.median(speeds[name]) for name in libraries)
    print(f"{'the same crops' if same else 'the crops DIFFER'}; {ratio:.1f} times the faster library with a file a "
          f"crop, at least {least:g} expected")  # fmt: skip
    return same and ratio >= least


def cpu_seconds() -> float:
    """CPU time of this process and of those of its children that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def batch_rate(reader: ShardReader, batch: int, steps: int, workers: int) -> tuple[float, float]:
    """Samples per second of the batches that pre-training takes, augmented, after the first ones have come; and the
    CPU seconds that a batch takes in all processes, their start included.
    """
    # twice what the workers are ahead: what is timed is made in the time
    warm, spent = max(2 * AHEAD * workers, 1), cpu_seconds()
    source = Source(reader, False, np.resize(reader.indices(), max(batch, len(reader))))
    made = PretrainSteps([source], batch_size=batch, epochs=warm + steps, seed=0, text_mask_ratio=0.15, mixup=False,
                         augment=True)  # fmt: skip
    batches = loaded(made, range(warm + steps), workers)
    list(islice(batches, warm))
    began = time.perf_counter()
    count = sum(1 for _ in batches)
    rated = count * batch / (time.perf_counter() - began)
    # the workers end with it
    del batches
    return rated, (cpu_seconds() - spent) / (warm + steps)


def step_rate(batch: int, steps: int, folder: Path) -> float | None:
    """Samples per second of our CT step of size base in bf16 on the GPU; None without one."""
    ranks = Ranks.join()
    if ranks.device.type != "cuda":
        return None
    batches = prepared_images("ct", batch)
    ours = Ours(our_task("ct", batches, folder), ranks, folder, "bf16", False)
    ours.run(batches.turn(0, 2))
    return ours.run(batches.turn(1, steps))["samples_per_s"]


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=Path, help="folder of CT volumes in HU, .nii.gz")
    parser.add_argument("--count", type=int, default=2, help="synthetic volumes")
    parser.add_argument("--slices", type=int, default=30)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one way in one turn")
    parser.add_argument("--turns", type=int, default=3, help="of every way; the median counts")
    parser.add_argument("--least", type=float, default=20.0, help="least ratio to a file a crop")
    parser.add_argument("--batch", type=int, default=16, help="samples of a batch")
    parser.add_argument("--steps", type=int, default=24, help="batches that are made, and steps on a GPU")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes that make batches")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if options.volumes:
        images = [sitk.DICOMOrient(sitk.ReadImage(str(p)), "LPS") for p in sorted(options.volumes.rglob("*.nii.gz"))]
    else:
        images = [synthetic(options.slices, options.side, seed) for seed in range(options.count)]
    with tempfile.TemporaryDirectory() as name:
        crops = Crops(images, Path(name))
        print(f"{cores()}; {len(crops.shards)} crops {tuple(crops.shards.info.sample_shape)} of {len(images)} volumes")
        fits = compare(crops, options.seconds, options.turns, options.least)
        speeds = {}
        for workers in (0, options.workers):
            speeds[workers], cpu = batch_rate(crops.shards, options.batch, options.steps, workers)
            rated = f"{speeds[workers]:.1f} samples/s, {1000 * cpu:.0f} ms of CPU time a batch"
            print(f"batches of {options.batch}, augmented, {workers} workers: {rated}", flush=True)
        taken = step_rate(options.batch, options.steps, Path(name))
    if taken is None:
        print(f"no GPU: the rate of the step is not measured; fed {AIM} times over, it may take at most "
              f"{max(speeds.values()) / AIM:.0f} samples/s here")  # fmt: skip
    else:
        print(f"step of size base in bf16 on {torch.cuda.get_device_name()}: {taken:.1f} samples/s; the loader makes "
              f"{max(speeds.values()) / taken:.2f} times as many, {AIM} expected")  # fmt: skip
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
