"""Buffer building from given features, ours against scikit-learn's KMeans, in one run on the same threads.

    python benchmarks/kmeans.py                              # synthetic features, 50,000 x 768, 500 clusters, 3 seeds
    python benchmarks/kmeans.py --images FOLDER              # features of crops of real images
    python benchmarks/kmeans.py --features FILE.npy          # one's own features (N, d)

Each side clusters the features and picks the quota of every cluster. scikit-learn runs with its defaults (greedy
k-means++, one start, Lloyd to its own tolerance); `--n-init 10` gives it the ten starts of older versions. Inertia is
computed in float64 from the centres of each side.

Synthetic features: Gaussian groups, 1.6 times as many as clusters, of Pareto-distributed sizes, unequal spread and a
spectrum that decays as in features of images; groups overlap unless `--spread` is small. Features of images:
random crops (a fifth to all of the shorter side, scaled to 64 x 64) of all images below the folder through an
untrained encoder of size base, a mean over tokens; the real images bring their statistics, not the meaning that a
trained encoder sees.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from medcoss.models.encoder import Encoder, pooled_image
from medcoss.run import LocalRun
from medcoss.specs.encoder import SIZES
from medcoss.training.choosing import refilled, select_nearest
from medcoss.training.clustering import cluster

Floats = NDArray[np.float32]
CROP = 64
QUOTA = 5


def synthetic(samples: int, dim: int, groups: int, spread: tuple[float, float], seed: int = 0) -> Floats:
    """Overlapping groups (samples, dim) of unequal sizes, with an offset that all samples share."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, dim + 1, dtype=np.float32) ** -0.75
    scale /= np.linalg.norm(scale)
    sizes = rng.pareto(1.2, groups) + 0.1
    group = rng.choice(groups, samples, p=sizes / sizes.sum())
    centres = rng.standard_normal((groups, dim), dtype=np.float32) * scale
    widths = rng.uniform(*spread, groups).astype(np.float32)
    values = centres[group] + rng.standard_normal((samples, dim), dtype=np.float32) * scale * widths[group, None]
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0].astype(np.float32)
    return values @ rotation + rng.standard_normal(dim, dtype=np.float32)


def crops(folder: Path, samples: int, seed: int = 0, batch: int = 250) -> Floats:
    """Features (samples, 768) of random crops of the images below `folder`."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".png", ".jpg", ".jpeg"})
    images = [Image.open(path).convert("RGB") for path in paths]
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    encoder = Encoder(SIZES["base"]).eval()
    rows = []
    for start in range(0, samples, batch):
        stack = np.stack([_crop(images[i % len(images)], rng) for i in range(start, min(start + batch, samples))])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            rows.append(pooled_image(encoder, torch.from_numpy(stack)).float().numpy())
    print(f"features of {samples} crops of {len(images)} images")
    return np.concatenate(rows)


def _crop(image: Image.Image, rng: np.random.Generator) -> Floats:
    side = int(min(image.size) * rng.uniform(0.2, 1))
    left, top = (int(rng.integers(0, n - side + 1)) for n in image.size)
    small = image.resize((CROP, CROP), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    return np.asarray(small, np.float32).transpose(2, 0, 1) / 255


def inertia(values: Floats, centres: NDArray[np.floating]) -> float:
    """Sum of the squared distances to the nearest centre, in float64."""
    exact, total = centres.astype(np.float64), 0.0
    norms = np.square(exact).sum(axis=1)
    for start in range(0, len(values), 8192):
        rows = values[start : start + 8192].astype(np.float64)
        total += float((np.square(rows).sum(axis=1) + (norms - 2 * rows @ exact.T).min(axis=1)).sum())
    return total


def theirs(values: Floats, clusters: int, seed: int, n_init: int | str) -> NDArray[np.floating]:
    """scikit-learn and the published selection; the centres."""
    found = KMeans(clusters, random_state=seed, n_init=n_init).fit(values)
    select_nearest(values, found.labels_, found.cluster_centers_, QUOTA)
    return found.cluster_centers_


def ours(values: Floats, clusters: int, seed: int) -> NDArray[np.floating]:
    """What build_buffer does with the features; the centres, of values shifted in place."""
    with tempfile.TemporaryDirectory() as folder:
        found = cluster(values, clusters, seed, LocalRun(Path(folder)))
    chosen = refilled(found.assignment, found.distance, clusters, QUOTA)
    assert len(np.unique(chosen)) == clusters * QUOTA
    return found.centres


def timed(work: Callable[[], NDArray[np.floating]], values: Floats) -> tuple[float, float, float]:
    """Seconds, CPU seconds, and the inertia of the centres on `values`."""
    began, used = time.perf_counter(), time.process_time()
    centres = work()
    return time.perf_counter() - began, time.process_time() - used, inertia(values, centres)


def compare(values: Floats, clusters: int, seeds: int, n_init: int | str) -> None:
    """Print a row for each seed, and the medians. CPU seconds tell how busy the machine was with other work."""
    print("      scikit-learn              ours                   ratio             inertia")
    print("seed       s     CPU s       s     CPU s      s   CPU s      theirs         ours   ours / theirs - 1")
    rows = []
    for seed in range(seeds):
        mine = values.copy()
        fast, fast_cpu, fast_inertia = timed(partial(ours, mine, clusters, seed), mine)
        slow, slow_cpu, slow_inertia = timed(partial(theirs, values, clusters, seed, n_init), values)
        rows.append((slow, fast, slow / fast, slow_cpu / fast_cpu, fast_inertia / slow_inertia - 1))
        print(f"{seed:>4}{slow:>8.2f}{slow_cpu:>10.2f}{fast:>8.2f}{fast_cpu:>10.2f}{rows[-1][2]:>7.1f}{rows[-1][3]:>8.1f}"
              f"{slow_inertia:>12.6g}{fast_inertia:>13.6g}{rows[-1][4]:>+20.2%}", flush=True)  # fmt: skip
    slow, fast, ratio, cpu_ratio, more = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"median {slow:.2f} s against {fast:.2f} s: {ratio:.1f}x as fast ({cpu_ratio:.1f}x by CPU seconds), inertia "
          f"{more:+.2%} (worst {max(row[4] for row in rows):+.2%})\n")  # fmt: skip


def hardware(threads: int) -> str:
    """Processor, cores, threads used, versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return (f"{cpu}, {os.cpu_count()} cores, {threads} threads; python {platform.python_version()}, numpy "
            f"{np.__version__}, scikit-learn {sklearn.__version__}, faiss {version('faiss-cpu')}, torch "
            f"{torch.__version__}")  # fmt: skip


def main(argv: list[str]) -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--clusters", type=int, default=500)
    parser.add_argument("--spread", type=float, nargs=2, default=(0.4, 1.2), help="width of a group against the whole")
    parser.add_argument("--images", type=Path, help="folder of images whose crops are embedded")
    parser.add_argument("--features", type=Path, help="float32 features (N, d) as .npy")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--n-init", type=int, help="starts of scikit-learn; by default its own default")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    print(hardware(options.threads))
    if options.features:
        values = np.ascontiguousarray(np.load(options.features), dtype=np.float32)
    elif options.images:
        values = crops(options.images, options.samples)
    else:
        values = synthetic(options.samples, options.dim, options.clusters * 8 // 5, tuple(options.spread))
    print(f"{len(values)} x {values.shape[1]}, {options.clusters} clusters, quota {QUOTA}")
    with threadpool_limits(options.threads):
        compare(values, options.clusters, options.seeds, options.n_init or "auto")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
