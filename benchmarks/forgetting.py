"""How much an encoder forgets of earlier modalities: continual stages against plain sequential pre-training.

    python benchmarks/forgetting.py [--data FOLDER] [--out FOLDER] [--seeds 3]

Three stages, report -> X-ray -> MR, on real data (MEDCOSS_TEST_DATA or ../shared/data), in arms of the same number of
optimizer steps of the same batch size; docs/forgetting.md says what each arm and each measure is. A seed that is done
is kept in the output folder and not run again. Start it with OMP_WAIT_POLICY=PASSIVE.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

if __package__:
    from benchmarks._forgetting_arms import PROBED, Data, Plan, Result, prepare, run_seed
else:
    from _forgetting_arms import PROBED, Data, Plan, Result, prepare, run_seed

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Row:
    """A measure of the table: its key, the moment right after its modality's own stage, and the sign of `worse`."""

    title: str
    key: str
    learnt_at: str
    worse: int


ROWS = (
    Row("X-ray linear probe, accuracy", "accuracy", "after xray", -1),
    Row("X-ray linear probe, balanced accuracy", "balanced_accuracy", "after xray", -1),
    Row("X-ray linear probe, AUC", "auc", "after xray", -1),
    Row("X-ray reconstruction loss, head of its stage", "xray_own", "after xray", 1),
    Row("X-ray reconstruction loss, fresh head", "xray_fresh", "after xray", 1),
    Row("report MLM loss, head of its stage", "report_own", "after report", 1),
    Row("report MLM loss, fresh head", "report_fresh", "after report", 1),
)
ARMS = ("continual", "sequential", "scratch", "untrained")


class Progress:
    """Prints lines with the share of a seed's work that is done and the time that is left, by the pace so far."""

    def __init__(self, plan: Plan, seed: int) -> None:
        first, second, third = plan.steps
        self.total = 2 * first + 3 * second + 3 * third + PROBED * plan.probe_steps
        self.seed, self.done, self.began = seed, 0, time.monotonic()

    def __call__(self, message: str, steps: int) -> None:
        """Say `message` after `steps` more steps."""
        self.done += steps
        spent = time.monotonic() - self.began
        left = spent * (self.total - self.done) / max(self.done, 1)
        share = self.done / self.total
        print(f"seed {self.seed} [{share:4.0%}, {spent / 60:.1f} min, {left / 60:.1f} min left] {message}", flush=True)


def table(results: list[Result]) -> str:
    """The measured figures as Markdown: after the last stage, forgotten since a modality's own stage, and by seed."""
    last = [("measure", *ARMS)]
    gone = [("forgotten since its own stage", "continual", "sequential", "sequential - continual", "continual less in")]
    each = [("by seed, after the last stage", *ARMS)]
    for row in ROWS:
        after = {arm: [r["measures"]["after mr"][arm].get(row.key) for r in results] for arm in ARMS}
        last.append((row.title, *(_spread(after[arm]) for arm in ARMS)))
        each.append((row.title, *(_each(after[arm]) for arm in ARMS)))
        lost = {arm: [forgotten(r, row, arm) for r in results] for arm in ARMS[:2]}
        more = [b - a for a, b in zip(lost["continual"], lost["sequential"], strict=True)]
        less = f"{sum(v > 0 for v in more)} of {len(more)} seeds"
        gone.append((row.title, *(_spread(v) for v in (lost["continual"], lost["sequential"], more)), less))
    return "\n\n".join(_markdown(rows) for rows in (last, gone, each))


def forgotten(result: Result, row: Row, arm: str) -> float:
    """By how much a measure got worse from the end of its modality's own stage to the end of the last one."""
    before, after = (result["measures"][moment] for moment in (row.learnt_at, "after mr"))
    return row.worse * (after[arm][row.key] - before.get(arm, before.get("both"))[row.key])


def _spread(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    deviation = f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else ""
    return f"{np.mean(known):.3f}{deviation}"


def _each(values: list[float | None]) -> str:
    return " / ".join("-" if v is None else f"{v:.3f}" for v in values)


def _markdown(rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def machine() -> str:
    """Processor, cores, threads and the versions that decide the figures."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    name = models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "timm", "numpy", "scikit-learn", "tokenizers"))
    cores = len(os.sched_getaffinity(0))
    return (f"{name}, {cores} cores, {torch.get_num_threads()} threads, {device}; "
            f"Python {platform.python_version()}, {packages}")  # fmt: skip


def keep_seed(plan: Plan, folders: dict[str, Path], out: Path, beside: int, seed: int) -> None:
    """Run one seed, `beside` of them at a time, and write `seed-<n>.json` once it is done."""
    torch.set_num_threads(max(len(os.sched_getaffinity(0)) // beside, 1))
    began, say = time.monotonic(), Progress(plan, seed)
    with tempfile.TemporaryDirectory(dir=out) as work:
        found = run_seed(plan, seed, Data.of(folders), Path(work), say)
    partial = out / f"seed-{seed}.partial"
    partial.write_text(json.dumps(found | {"wall_s": time.monotonic() - began, "machine": machine()}, indent=1))
    partial.rename(out / f"seed-{seed}.json")


def main(argv: list[str] | None = None) -> int:
    """Run the seeds that are not done yet and print all figures."""
    arguments = _arguments(argv)
    plan, out = Plan(), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    kept = json.loads(json.dumps(asdict(plan)))
    recorded = out / "plan.json"
    if recorded.is_file() and json.loads(recorded.read_text()) != kept:
        sys.exit(f"{recorded} is of other settings; give another --out folder, or remove this one")
    recorded.write_text(json.dumps(kept, indent=1))
    data = prepare(plan, arguments.data, out / "data")
    print(machine(), f"settings: {kept}", f"held out: {len(data.held_out_reports)} reports, "
          f"{len(data.held_out_xrays)} X-rays", sep="\n", flush=True)  # fmt: skip
    missing = [seed for seed in range(arguments.seeds) if not (out / f"seed-{seed}.json").is_file()]
    began = time.monotonic()
    if len(missing) > 1 and not torch.cuda.is_available():
        # small models use one core well and two badly; the libraries of new processes read their threads from here
        os.environ["OMP_NUM_THREADS"] = str(max(len(os.sched_getaffinity(0)) // len(missing), 1))
        with ProcessPoolExecutor(len(missing), multiprocessing.get_context("spawn")) as pool:
            list(pool.map(partial(keep_seed, plan, data.folders, out, len(missing)), missing))
    else:
        for seed in missing:
            keep_seed(plan, data.folders, out, 1, seed)
    print(f"{len(missing)} seeds in {(time.monotonic() - began) / 60:.1f} min", flush=True)
    results = [json.loads((out / f"seed-{seed}.json").read_text()) for seed in range(arguments.seeds)]
    print("", table(results), "", _times(results), sep="\n")
    return 0


def _times(results: list[Result]) -> str:
    shared = {"continual": "report", "sequential": "report"}
    spent = {
        arm: np.mean([sum(s for name, s in r["seconds"].items() if name.startswith(arm) or name == shared.get(arm))
                      for r in results])
        for arm in ARMS[:3]
    }  # fmt: skip
    training = ", ".join(f"{arm} {seconds:.0f} s" for arm, seconds in spent.items())
    walls = " / ".join(f"{r['wall_s'] / 60:.1f}" for r in results)
    buffers = ", ".join(f"{count} of {name}" for name, count in results[0]["buffers"].items())
    return f"training of one seed, mean: {training}; wall time by seed: {walls} min; samples in the buffers: {buffers}"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("MEDCOSS_TEST_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder with reports, xray, la_mr and brain_mr")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "forgetting", help="where results are kept")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, 0 upwards")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
