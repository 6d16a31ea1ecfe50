"""Small folders of goldens with other arguments, from plain formulas that share nothing with our code."""

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEDULE = {"base_lr": 0.00123, "min_lr": 1e-5, "warmup_epochs": 7.5, "epochs": 61.0}
REPORTS = [
    {"impression": "3. Clear lungs.", "findings": "Heart of 12.5 cm. Normal.",
     "sentences": ["clear lungs", "heart of", "5 cm"], "caption": "clear lungs heart of 5 cm"},
    {"impression": "Clear.", "findings": "", "sentences": None, "caption": None},
]  # fmt: skip
FEATURES = {"seed": 4, "N": 300, "D": 9, "true_clusters": 5}


def write_folder(folder: Path, fill: ModuleType, seed: int = 8) -> Path:
    """Learning rates, captions, losses, buffer and intensities; arguments and sizes are not the published ones."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer, arguments = _buffer(fill, centers=0.02, ratio=0.1)
    files: dict[str, dict[str, Any]] = {
        "lr_schedule.npz": SCHEDULE, "buffer.npz": arguments, "losses.npz": {}, "intensity_rules.npz": {}
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "inputs": {}, "files": files}))
    (folder / "captions.json").write_text(json.dumps({"reports": REPORTS}))
    np.savez(folder / "lr_schedule.npz", **_schedule())
    np.savez(folder / "buffer.npz", **buffer)
    np.savez(folder / "losses.npz", **_losses(fill, np.random.default_rng(seed)))
    np.savez(folder / "intensity_rules.npz", **_intensities(fill))
    return folder


def _schedule() -> dict[str, Any]:
    epoch = np.arange(0, 61.5, 1.5)
    base, low, warm, total = (SCHEDULE[k] for k in ("base_lr", "min_lr", "warmup_epochs", "epochs"))
    turn = [math.pi * (e - warm) / (total - warm) for e in epoch.tolist()]
    falling = [low + (base - low) * 0.5 * (1 + math.cos(angle)) for angle in turn]
    rates = np.where(epoch < warm, base * epoch / warm, falling)
    return {"epoch": epoch, "lr": rates, **{name: np.float64(value) for name, value in SCHEDULE.items()}}


def _losses(fill: ModuleType, rng: np.random.Generator) -> dict[str, Any]:
    logits = rng.normal(size=(2, 3, 4, 9)).astype(np.float32)
    targets = {"plain": (rng.random(logits.shape) > 0.5).astype(np.float32)}
    targets["one_out"] = targets["plain"].copy()
    targets["one_out"][1, 2] = -1
    targets["all_out"] = np.full_like(logits, -1)
    records = fill.pack("logits_2d", logits)
    for case, target in targets.items():
        records |= fill.pack(f"target_2d_{case}", target)
        for end, kind in (("", np.float32), ("_f64", np.float64)):
            for name, value in zip(("dice", "bce"), _both(logits, target), strict=True):
                records |= fill.pack(f"{name}_2d_{case}{end}", kind(value))
    return records


def _both(logits: NDArray[np.float32], target: NDArray[np.float32]) -> tuple[float, float]:
    """Dice loss and cross-entropy, pair by pair; NaN when all are left out."""
    dice, bce = [], []
    for x, t in zip(logits.astype(float).reshape(6, -1), target.astype(float).reshape(6, -1), strict=True):
        if t[0] == -1:
            continue
        p = 1 / (1 + np.exp(-x))
        dice.append(1 - 2 * (p * t).sum() / (p.sum() + t.sum() + 1))
        bce.append(-(t * np.log(p) + (1 - t) * np.log(1 - p)).mean())
    return (float(np.mean(dice)), float(np.mean(bce))) if dice else (math.nan, math.nan)


def _buffer(fill: ModuleType, centers: float, ratio: float) -> tuple[dict[str, Any], dict[str, Any]]:
    count, dim = FEATURES["N"], FEATURES["D"]
    x = fill.make_input("features", FEATURES["seed"], batch=count, channels=dim, length=FEATURES["true_clusters"])
    clusters = int(count * centers)
    quota = int(count * ratio // clusters)
    middle = x[:clusters]
    labels = ((x[:, None] - middle) ** 2).sum(-1).argmin(1).astype(np.int32)
    distances = np.linalg.norm(x - middle[labels], axis=1)
    selected: list[int] = []
    for cluster in range(clusters):
        members = [i for i in range(count) if labels[i] == cluster]
        selected += sorted(members, key=lambda i: (distances[i], i))[:quota]
    arrays = {"labels": labels, "centers": middle, "distances": distances.astype(np.float32),
              "selected": np.array(selected, np.int32), "selected_cluster": labels[selected]}  # fmt: skip
    case = {
        "num_center": centers, "buffer_ratio": ratio, "num_clusters": clusters, "per_cluster": quota,
        "selected": len(selected), "cluster_sizes": np.bincount(labels, minlength=clusters).tolist(),
        "inertia_random_state0_n_init1": float((distances**2).sum()),
    }  # fmt: skip
    table = {"150": {"num_clusters": 3, "per_cluster": 5}, "40": {"num_clusters": 0, "per_cluster": None}}
    told = {"features": FEATURES | {"sha256": fill.sha256(x)}, "cases": {"other": case},
            "size_table_num_center_0.02_ratio_0.1": table}  # fmt: skip
    return {"features_check": x[:7]} | {f"other_{name}": array for name, array in arrays.items()}, told


def _intensities(fill: ModuleType) -> dict[str, Any]:
    hu = np.linspace(-1500, 900, 77)
    labels = np.array([[0, 2], [1, 1]])
    place = np.arange(20) - 10
    row = np.exp(-0.5 * (place / 5) ** 2)
    return (
        fill.pack("hu", hu)
        | fill.pack("ricord", (np.minimum(np.maximum(hu, -1024), 325) - 158.58) / 324.7)
        | fill.pack("mots", np.minimum(np.maximum(hu, -325), 325) / 325)
        | fill.pack("mots_label_in", labels)
        | fill.pack("mots_label_out", np.stack([labels > 0, labels == 2]).astype(np.float32))
        | fill.pack("gaussian_2d_20", np.outer(row, row).astype(np.float32))
    )
