"""Real kills at random steps: what was killed and went on ends as if nothing had happened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


def command(*arguments: str) -> None:
    """Run `kill_resume`; a failure shows its output, the seed among it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.medcoss.training.kill_resume", *arguments], cwd=REPOSITORY, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_twenty_kills_leave_every_bit(ranks: str) -> None:
    command("--times", "20", "--ranks", ranks)


@pytest.mark.parametrize(("ranks", "then"), [("2", "1"), ("1", "2")])
def test_another_number_of_ranks_goes_on(ranks: str, then: str) -> None:
    command("--ranks", ranks, "--then", then)
