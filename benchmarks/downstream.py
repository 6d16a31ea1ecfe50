"""Fine-tuning on the real data: left atria in MR, and three classes of chest X-rays from a pre-trained encoder or none.

    python benchmarks/downstream.py [--minutes 60] [--size small] [--part atrium|xrays] [--published]

atrium: the 18 training volumes of train.list; Dice on tiles of the 6 test volumes along the way (the learning curve),
and on the whole volumes at the end. Nothing is chosen by the test volumes: the last weights are kept.

xrays: an encoder is pre-trained on the training images without their classes; then a classifier is fine-tuned from it
and another from scratch, with the same settings, for each of three seeds, and scored on the validation images.

Steps are counted by the pace of a short trial, so that training takes about --minutes. They are kept in the output
folder, as is all that is finished: the same command goes on where it was stopped. Start it with
OMP_WAIT_POLICY=PASSIVE, on real data (MEDCOSS_TEST_DATA or ../shared/data).
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medcoss import finetune, prepare, pretrain
from medcoss.evaluation.evaluate import evaluate
from medcoss.run import LocalRun
from medcoss.specs import EvaluateSpec

if __package__:
    from benchmarks._machine import cores
else:
    from _machine import cores

REPOSITORY = Path(__file__).resolve().parent.parent
SEEDS = (0, 10, 100)
TRIAL_STEPS = 6
# of the time: left atria, pre-training on X-rays, the six classifiers together
SHARES = {"atrium": 0.4, "encoder": 0.25, "classifiers": 0.35}
POINTS = 10
# what a few hours of a CPU can bear; --published takes the samples and settings of the presets instead
SMALL_ATRIUM = {"task": "segmentation", "batch_size": 4, "lr": 1e-3}
SMALL_XRAYS = {"task": "classification", "batch_size": 16, "lr": 3e-4}
PRETRAIN = {"batch_size": 32, "base_lr": 1e-3, "drop_path": 0.0, "reconstructions": 0, "picture_every": 10_000}


@dataclass(frozen=True)
class Work:
    """Where everything is, the size of the model, the minutes for all training and whether presets are followed."""

    data: Path
    out: Path
    size: str
    minutes: float
    published: bool

    def steps(self, name: str, minutes: float, trial: Callable[[Path], Any]) -> int:
        """The optimizer steps that fit into the time, by the pace of `trial`, counted once and kept as `name`."""
        kept = self.out / "steps.json"
        known: dict[str, int] = json.loads(kept.read_text()) if kept.is_file() else {}
        if name not in known:
            folder = self.out / f"trial-{name}"
            shutil.rmtree(folder, ignore_errors=True)
            trial(folder)
            paces = [row["steps_per_s"] for row in rows(folder) if "steps_per_s" in row]
            shutil.rmtree(folder)
            known[name] = max(int(60 * minutes * float(np.median(paces))), TRIAL_STEPS)
            kept.write_text(json.dumps(known, indent=1))
        return known[name]


def rows(folder: Path) -> list[dict[str, float]]:
    """The numbers that a run has reported, in order."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def atrium(work: Work) -> str:
    """Train on the 18 volumes and score the 6; the learning curve and the scores as Markdown."""
    raw = work.out / "atrium-raw"
    if not raw.is_dir():
        shutil.copytree(work.data / "la_mr", raw, copy_function=os.symlink)
        # what is scored along the way has to be the split val
        (raw / "test.list").rename(raw / "val.list")
    tile = {"size": (64, 192, 192), "stride": 32} if work.published else {"size": (16, 96, 96), "stride": 8}
    prepare(raw, work.out / "atrium-data", "la_seg", resume=True, quiet=True, **tile)
    how = {"preset": "la"} if work.published else SMALL_ATRIUM

    def train(name: str, epochs: int, per_epoch: int, **more: Any) -> Path:
        folder = work.out / name
        finetune(work.out / "atrium-data", folder, size=work.size, keep="last", epochs=epochs, resume=True,
                 steps_per_epoch=per_epoch, **(how | more))  # fmt: skip
        return folder

    steps = work.steps(
        "atrium", work.minutes * SHARES["atrium"],
        lambda folder: train(folder.name, 1, TRIAL_STEPS, log_every=1, validate_every=10_000),
    )  # fmt: skip
    epochs = min(POINTS, steps)
    folder = train("atrium", epochs, steps // epochs)
    found = score(folder, work.out / "atrium-data", "val")
    curve = [(row["step"], row["val/dice"]) for row in rows(folder) if "val/dice" in row]
    points = [("step", "Dice, tiles of the test volumes"), *((f"{s:.0f}", f"{d:.3f}") for s, d in dict(curve).items())]
    named = {"dice": "Dice", "hd95_mm": "HD95, mm", "assd_mm": "ASSD, mm"}
    told = [("measure", "whole test volumes, mean", "95 % interval")]
    for key, title in named.items():
        low, high = found["intervals"].get(key, (float("nan"),) * 2)
        told.append((title, f"{found['metrics'].get(key, float('nan')):.3f}", f"{low:.3f} to {high:.3f}"))
    return f"left atrium, {steps} steps of size {work.size}\n\n{markdown(points)}\n\n{markdown(told)}"


def xrays(work: Work) -> str:
    """Three seeds from a pre-trained encoder and from scratch; the scores as Markdown."""
    pixels = (224, 224) if work.published else (128, 128)
    data, encoder = work.out / "xrays-data", work.out / "encoder"
    prepare(work.data / "xray", data, "chestxr", size=pixels, resume=True, quiet=True)
    minutes = work.minutes * SHARES["encoder"]

    def stage(folder: Path, steps: int, **more: Any) -> None:
        pretrain(data, folder, size=work.size, epochs=10_000, max_steps=steps, resume=True, **(PRETRAIN | more))

    stage(encoder, work.steps("encoder", minutes, lambda folder: stage(folder, TRIAL_STEPS, log_every=1)))
    how = {"preset": "chestxr"} if work.published else SMALL_XRAYS

    def train(folder: Path, steps: int, start: Path | None, **more: Any) -> None:
        finetune(data, folder, size=work.size, init_model=start, keep="last", epochs=10_000, max_steps=steps,
                 validate_every=10_000, resume=True, **(how | more))  # fmt: skip

    minutes = work.minutes * SHARES["classifiers"] / (2 * len(SEEDS))
    steps = work.steps("classifier", minutes, lambda folder: train(folder, TRIAL_STEPS, encoder, log_every=1))
    found: dict[str, list[dict[str, float]]] = {}
    for name, start in (("pre-trained", encoder), ("from scratch", None)):
        for seed in SEEDS:
            folder = work.out / f"{name.replace(' ', '-')}-{seed}"
            train(folder, steps, start, seed=seed)
            found.setdefault(name, []).append(score(folder, data, "val")["metrics"])
    told = [("measure", *found, *(f"{name}, by seed {SEEDS}" for name in found))]
    for key, title in {"f1": "macro F1", "accuracy": "accuracy", "auc": "macro AUC"}.items():
        values = {name: [float(one[key]) for one in each] for name, each in found.items()}
        spread = (f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" for v in values.values())
        told.append((title, *spread, *(" / ".join(f"{x:.3f}" for x in v) for v in values.values())))
    return f"X-rays, {steps} steps a classifier of size {work.size}\n\n{markdown(told)}"


def score(run: Path, data: Path, split: str) -> dict[str, Any]:
    """What `evaluate` says of the model of a finished run, which is kept beside it."""
    folder = run / "scores"
    if not (folder / "evaluation.json").is_file():
        spec = EvaluateSpec(model="mdl_00000000", dataset="ds_00000000", split=split)
        evaluate(spec, run / "model", data / "dataset", folder, LocalRun(run / "scoring"))
    return dict(json.loads((folder / "evaluation.json").read_text()))


def markdown(table: list[tuple[str, ...]]) -> str:
    """A table whose first row is its heading."""
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def main(argv: list[str] | None = None) -> int:
    """Do what is not done yet and print the tables."""
    arguments = _arguments(argv)
    asked = {name: getattr(arguments, name) for name in ("size", "minutes", "published")}
    work = Work(arguments.data.resolve(), arguments.out, **asked)
    work.out.mkdir(parents=True, exist_ok=True)
    recorded = work.out / "plan.json"
    if recorded.is_file() and json.loads(recorded.read_text()) != asked:
        sys.exit(f"{recorded} is of other settings; give another --out folder, or remove this one")
    recorded.write_text(json.dumps(asked, indent=1))
    tables = [part(work) for name, part in PARTS.items() if arguments.part in (None, name)]
    print(cores(), f"settings: {asked}", *tables, sep="\n\n", flush=True)
    return 0


PARTS = {"atrium": atrium, "xrays": xrays}


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("MEDCOSS_TEST_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder with la_mr and xray")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "downstream", help="where results are kept")
    parser.add_argument("--minutes", type=float, default=60, help="of training, for both parts together")
    parser.add_argument("--size", default="small", help="of the models: tiny, small, base or large")
    parser.add_argument("--part", choices=sorted(PARTS), help="one of the parts alone")
    parser.add_argument("--published", action="store_true",
                        help="samples and settings of the presets la and chestxr, for a GPU")  # fmt: skip
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
