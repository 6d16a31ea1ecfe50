"""Kills a stage of pre-training at random steps, goes on, and compares the weights with those of a run left alone.

    python -m tests.medcoss.training.kill_resume --times 20 --ranks 2
    python -m tests.medcoss.training.kill_resume --times 1 --ranks 2 --then 1

The stage learns volumes and rehearses X-rays and reports. Every run is a process of its own (one a rank, over
gloo) that ends by SIGKILL. With `--then` the run goes on with another number of ranks; its weights have to be near
those of one process, not the same: drop path, whose random numbers belong to a rank, is off for this.
"""
# ruff: noqa: T201

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from medcoss.data.shards import ShardReader
from medcoss.run import LocalRun
from medcoss.specs.training import PretrainSpec
from medcoss.training.pretrain import pretrain
from tests.medcoss.export.small_models import write_model
from tests.medcoss.training.forked import Process, as_ranks, forked
from tests.medcoss.training.small import DATASET, MODEL, reports, volumes, xrays

STEPS, AT_ONCE, NEAR = 12, 5, 1e-4
SPEC = PretrainSpec(
    dataset=DATASET, init_model=MODEL, rehearsal=(DATASET, DATASET), epochs=100, max_steps=STEPS, batch_size=4,
    base_lr=0.1, drop_path=0.3, checkpoint_every=2, log_every=3, reconstructions=0,
)  # fmt: skip


class Observed(LocalRun):
    """A run that tells its parent of every step."""

    teller: int = -1

    def should_stop(self) -> bool:
        """Never; the loop asks once a step."""
        os.write(self.teller, b".")
        return False


def prepare(folder: Path) -> None:
    """Datasets of all three kinds of input and an encoder that knows two of them."""
    volumes(folder / "mr")
    xrays(folder / "xrays")
    data = reports(folder / "reports")
    model = write_model(folder / "first" / "model", "encoder", ["xray", "report"])
    words = sorted({word for row in ShardReader(data).rows for word in row.text.split()})
    lines = (model / "vocab.txt").read_text().splitlines()
    lines[5 : 5 + len(words)] = words
    (model / "vocab.txt").write_text("\n".join(lines) + "\n")


def stage(folder: Path, name: str, ranks: int, spec: PretrainSpec) -> list[Process]:
    """Begin the stage `name`, or go on with it, in one process a rank."""

    def work(teller: int) -> object:
        context = Observed(folder / f"run-{name}")
        context.teller = teller
        return pretrain(spec, folder / "mr", folder / "first" / "model", [folder / "xrays", folder / "reports"],
                        folder / name / "model", context)  # fmt: skip

    return as_ranks(ranks, work)


def finished(processes: list[Process]) -> None:
    """Wait for a run that is left alone."""
    codes = [process.end() for process in processes]
    if any(codes):
        raise SystemExit(f"a run that nobody killed ended with {codes}")


def killed(processes: list[Process], rng: random.Random, steps: int) -> bool:
    """Kill a run after so many steps of one of its ranks; False when it ended before."""
    victim = rng.choice(processes)
    victim.hear(steps)
    for process in [victim, *(p for p in processes if p is not victim)]:
        os.kill(process.pid, signal.SIGKILL)
    return -signal.SIGKILL in [process.end() for process in processes]


def weights(folder: Path, name: str) -> Path:
    """The weights of a finished stage."""
    return folder / name / "model" / "model.safetensors"


def apart(one: Path, other: Path) -> float:
    """The largest difference between two files of weights."""
    first, second = load_file(one), load_file(other)
    return max(float(np.abs(first[name] - second[name]).max()) for name in first.keys() & second.keys())


def same_bits(folder: Path, times: int, ranks: int, rng: random.Random) -> bool:
    """Kill stages up to four times each, `times` times in all; True when each ends with the expected bits."""
    finished(stage(folder, "alone", ranks, SPEC))
    kills, stages, other = 0, 0, 0
    while kills < times:
        name = f"killed-{stages}"
        for _ in range(min(rng.randint(1, 4), times - kills)):
            kills += killed(stage(folder, name, ranks, SPEC), rng, rng.randint(1, AT_ONCE))
        finished(stage(folder, name, ranks, SPEC))
        stages += 1
        other += weights(folder, name).read_bytes() != weights(folder, "alone").read_bytes()
    print(f"{kills} kills of {stages} stages on {ranks} ranks, {other} with other weights")
    return not other


def near(folder: Path, ranks: int, then: int, rng: random.Random) -> bool:
    """Kill a stage on `ranks`, go on with `then`; True when it ends near a stage on one rank."""
    spec = SPEC.model_copy(update={"drop_path": 0.0})
    finished(stage(folder, "alone", 1, spec))
    # the eighth step's checkpoint begins when the sixth's is whole
    if not killed(stage(folder, "changed", ranks, spec), rng, 9):
        raise SystemExit("the run was too quick to be killed")
    if not list((folder / "run-changed" / "checkpoints").glob("*/manifest.json")):
        raise SystemExit("the killed run has left no checkpoint")
    finished(stage(folder, "changed", then, spec))
    difference = apart(weights(folder, "alone"), weights(folder, "changed"))
    moved = apart(weights(folder, "alone"), folder / "first" / "model" / "model.safetensors")
    print(f"{ranks} ranks, then {then}: weights {difference:.1e} apart after a way of {moved:.1e}")
    return difference < NEAR


def main() -> None:
    """Run what is asked; exits with 1 when weights are not as they should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--then", type=int)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        finished([forked(lambda _: prepare(folder))])
        if asked.then is None:
            right = same_bits(folder, asked.times, asked.ranks, rng)
        else:
            right = near(folder, asked.ranks, asked.then, rng)
    print(f"seed {asked.seed}, {time.monotonic() - began:.0f} s")
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
