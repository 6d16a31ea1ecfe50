"""Sliding-window inference of a volume: ours against a plain restatement of the published loop, in turns.

    python benchmarks/sliding_window.py                        # 160 x 256 x 256, size tiny on a CPU, base on a GPU
    python benchmarks/sliding_window.py --size base --mirror   # as published, mirrored in all 8 ways

The published loop (MedCoSS, Ye et al., CVPR 2024) takes one window at a time, moves each result to the host, weights it
there by the Gaussian and adds it up there. Both sides take the same windows (64 x 192 x 192, half of one covered by
the next) of the same untrained segmenter of one class, whose threshold lies at the median, so that the mask is not
trivial: masks have to be equal, the exit code is 1 when they are not, or the ratio is below `--least`.
With `--mirror` it also tells what mirroring costs against none.

Seconds are by the clock; on a busy machine the CPU seconds of the process say more. Peak memory is what the sides take
beside weights and volume: on a CPU the growth of the resident set, on a GPU that of the tensors there.
"""

import argparse
import ctypes
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medcoss.evaluation.windows import Sliding, slide
from medcoss.modalities import Kind
from medcoss.models.encoder import Encoder
from medcoss.models.heads import Segmenter
from medcoss.preprocess.windows import gaussian_weights
from medcoss.specs.encoder import SIZES
from medcoss.training.precision import pick_device

try:
    from benchmarks._machine import cores
except ImportError:
    from _machine import cores

Floats = NDArray[np.float32]
WINDOW, VOLUME = (64, 192, 192), (160, 256, 256)


def published(model: torch.nn.Module, volume: Floats, window: tuple[int, ...], mirror: bool,
              device: torch.device) -> Floats:  # fmt: skip
    """Probabilities (K, D, H, W) as the published loop gets them, one window after the other, summed on the host."""
    weights, shape = gaussian_weights(window), volume.shape[1:]
    total, count = np.zeros((1, *shape), np.float32), np.zeros(shape, np.float32)
    axes = [axis for n in range(4) for axis in itertools.combinations((2, 3, 4), n)] if mirror else [()]
    starts = [[min(s, n - w) for s in range(0, n - w // 2, w // 2)] for n, w in zip(shape, window, strict=True)]
    for place in itertools.product(*starts):
        box = tuple(slice(start, start + n) for start, n in zip(place, window, strict=True))
        with torch.no_grad():
            image = torch.from_numpy(volume[(slice(None), *box)].copy())[None].to(device)
            found = sum(torch.sigmoid(model(image.flip(flip))).flip(flip) for flip in axes) / len(axes)
        total[(slice(None), *box)] += found[0].cpu().numpy() * weights
        count[box] += weights
    return total / count


def phantom(shape: tuple[int, ...], seed: int = 0) -> Floats:
    """A volume (1, D, H, W) of smooth structures and noise, z-scored."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=[max(n // 16, 2) for n in shape])
    smooth = ndimage.zoom(coarse, [n / m for n, m in zip(shape, coarse.shape, strict=True)], order=1)
    volume = smooth + rng.normal(0, 0.2, shape)
    return ((volume - volume.mean()) / volume.std())[None].astype(np.float32)


def segmenter(size: str, device: torch.device) -> Segmenter:
    """An untrained segmenter of one class."""
    torch.manual_seed(0)
    return Segmenter(Encoder(SIZES[size]), Kind.VOLUME3D, 1).to(device).eval()


def centred(model: Segmenter, volume: Floats, window: tuple[int, ...], device: torch.device) -> None:
    """Shift the model's threshold to the median of one window."""
    box = tuple(slice(n) for n in window)
    with torch.no_grad():
        logits = model(torch.from_numpy(volume[(slice(None), *box)].copy())[None].to(device))
        assert model.out.bias is not None
        model.out.bias -= logits.median()


@dataclass(frozen=True)
class Run:
    """What one side took: seconds by the clock, CPU seconds, bytes at its peak; and its probabilities."""

    seconds: float
    cpu: float
    peak: int
    found: Floats


def measured(work: Callable[[], Floats], device: torch.device) -> Run:
    """Run one side."""
    reset_peak(device)
    before = peak(device)
    began, used = time.perf_counter(), time.process_time()
    found = work()
    return Run(time.perf_counter() - began, time.process_time() - used, peak(device) - before, found)


def reset_peak(device: torch.device) -> None:
    """Let the peak start at what is in use."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        # what an earlier side has left in the heap is not free for the next one
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> int:
    """Bytes at the peak since then: allocated on a GPU, resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def compare(options: argparse.Namespace, device: torch.device) -> bool:
    """Print a row for each turn and side, then the medians; True when masks are equal and the ratio is enough."""
    volume = phantom(tuple(options.volume))
    window = tuple(options.window)
    model = segmenter(options.size, device)
    centred(model, volume, window, device)
    how = Sliding(window, options.batch, mirror=options.mirror)
    sides: dict[str, Callable[[], Floats]] = {
        "published": lambda: published(model, volume, window, options.mirror, device),
        "ours": lambda: slide(model, volume, how, device),
    }
    print("turn  side             s   CPU s  peak MB")
    rows: dict[str, list[Run]] = {name: [] for name in sides}
    for turn in range(options.turns):
        # the order changes, so that neither has the better moments
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            rows[name].append(run := measured(sides[name], device))
            print(f"{turn:>4}  {name:<10}{run.seconds:>8.2f}{run.cpu:>8.2f}{run.peak / 1e6:>9.0f}", flush=True)
    theirs, ours = rows["published"][-1].found, rows["ours"][-1].found
    different = int(((theirs > 0.5) != (ours > 0.5)).sum())
    print(f"{different} of {theirs.size} voxels of the masks differ ({(theirs > 0.5).mean():.0%} are inside); "
          f"probabilities by up to {np.abs(theirs - ours).max():.1g}")  # fmt: skip
    clock, cpu = (
        statistics.median(getattr(a, what) / getattr(b, what) for a, b in zip(*rows.values(), strict=True))
        for what in ("seconds", "cpu")
    )
    print(f"ours is {clock:.2f}x as fast by the clock, {cpu:.2f}x by CPU seconds; peak memory "
          f"{max(r.peak for r in rows['ours']) / 1e6:.0f} MB against "
          f"{max(r.peak for r in rows['published']) / 1e6:.0f} MB")  # fmt: skip
    if options.mirror:
        plain = measured(lambda: slide(model, volume, Sliding(window, options.batch), device), device)
        last = rows["ours"][-1]
        print(f"mirroring takes {last.seconds / plain.seconds:.1f} times the seconds of none, "
              f"{last.cpu / plain.cpu:.1f} times the CPU seconds")  # fmt: skip
    ratio = clock if device.type == "cuda" else cpu
    return bool(different <= options.tolerated * theirs.size and ratio >= options.least)


def main(argv: list[str]) -> int:
    """Run the comparison."""
    device = pick_device()
    gpu = device.type == "cuda"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="base" if gpu else "tiny")
    parser.add_argument("--volume", type=int, nargs=3, default=VOLUME, metavar=("D", "H", "W"))
    parser.add_argument("--window", type=int, nargs=3, default=WINDOW, metavar=("D", "H", "W"))
    parser.add_argument("--batch", type=int, default=8 if gpu else 1, help="our windows at once")
    parser.add_argument("--mirror", action="store_true", help="average over all mirrorings, both sides")
    parser.add_argument("--turns", type=int, default=3 if gpu else 1)
    parser.add_argument("--least", type=float, default=3.0 if gpu else 1.2, help="ratio below which it fails")
    parser.add_argument("--tolerated", type=float, default=1e-3 if gpu else 1e-6,
                        help="share of voxels whose masks may differ: rounding, and 16 bit on a GPU")  # fmt: skip
    options = parser.parse_args(argv)
    where = torch.cuda.get_device_name() if gpu else f"{cores()}, {torch.get_num_threads()} threads"
    print(f"{where}; torch {torch.__version__}; size {options.size}, volume {'x'.join(map(str, options.volume))}, "
          f"window {'x'.join(map(str, options.window))}, mirror {options.mirror}")  # fmt: skip
    return 0 if compare(options, device) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
