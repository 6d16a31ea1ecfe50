"""The ablation of rehearsal: none, random, k-means, k-means with mixup, and joint training, with several seeds.

    python benchmarks/ablation.py [--data FOLDER] [--out FOLDER] [--seeds 3] [--arm NAME ...] [--steps 400] [--smoke]

Five stages, report -> X-ray -> CT -> MR -> pathology, on real data (MEDCOSS_TEST_DATA or ../shared/data), every arm
with the same number of optimizer steps. What is done is kept in the output folder and not done again: a run that was
ended goes on with the same command, inside of a stage from its last checkpoint. Prints the table. Start it with
OMP_WAIT_POLICY=PASSIVE.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

if __package__:
    from benchmarks._ablation_arms import ARMS, MODALITIES, Plan, Result, prepare, run_seed, smaller
    from benchmarks.forgetting import machine
else:
    from _ablation_arms import ARMS, MODALITIES, Plan, Result, prepare, run_seed, smaller
    from forgetting import machine

REPOSITORY = Path(__file__).resolve().parent.parent
COLUMNS = {
    "average forgetting": "average_forgetting", "backward transfer": "backward_transfer",
    "X-ray probe, balanced accuracy": "accuracy/xray",
    **{f"{name} loss": f"loss/{name}" for name in MODALITIES},
}  # fmt: skip


def table(results: list[Result], arms: list[str]) -> str:
    """Mean ± standard deviation over the seeds, as Markdown; forgetting is a share of the loss right after learning."""
    rows = [("arm", *COLUMNS)]
    rows += [
        (arm, *(_spread([r[arm].get(key) for r in results], arm, key) for key in COLUMNS.values())) for arm in arms
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _spread(values: list[float | None], arm: str, key: str) -> str:
    known = [v for v in values if v is not None]
    # one stage has nothing to forget
    if not known or (ARMS[arm].joint and key in ("average_forgetting", "backward_transfer")):
        return "-"
    deviation = f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else ""
    return f"{np.mean(known):.3f}{deviation}"


def main(argv: list[str] | None = None) -> int:
    """Run what is not done yet and print the table."""
    given = _arguments(argv)
    plan = smaller(Plan()) if given.smoke else replace(Plan(), steps=given.steps)
    out: Path = given.out / "smoke" if given.smoke else given.out
    out.mkdir(parents=True, exist_ok=True)
    kept, recorded = json.loads(json.dumps(asdict(plan))), out / "plan.json"
    if recorded.is_file() and json.loads(recorded.read_text()) != kept:
        sys.exit(f"{recorded} is of other settings; give another --out folder, or remove this one")
    recorded.write_text(json.dumps(kept, indent=1))

    def say(line: str) -> None:
        print(line, flush=True)

    say(f"{machine()}\nsettings: {kept}")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    data = prepare(plan, given.data, out / "data", say)
    arms, began = given.arm or list(ARMS), time.monotonic()
    results = [run_seed(plan, seed, data, out / f"seed-{seed}", arms, say) for seed in range(given.seeds)]
    say(f"{(time.monotonic() - began) / 60:.1f} min\n\n{table(results, arms)}")
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("MEDCOSS_TEST_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder with reports, xray, ct, mr, path")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "ablation", help="where results are kept")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, 0 upwards")
    parser.add_argument("--steps", type=int, default=Plan().steps, help="optimizer steps of each stage")
    parser.add_argument("--arm", action="append", choices=list(ARMS), help="only this row; repeatable")
    parser.add_argument("--smoke", action="store_true", help="a few steps on small samples: does all of it run?")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
