"""A short seed of the chaos benchmark: faults on a whole platform, and everything is right afterwards."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
REPOSITORY = Path(__file__).resolve().parents[2]


def test_six_faults_break_nothing(tmp_path: Path) -> None:
    command = [
        sys.executable, str(REPOSITORY / "benchmarks" / "chaos.py"), "--quick", "--seed", "4", "--faults", "6",
        "--workers", "2", "--users", "2", "--out", str(tmp_path / "chaos"),
    ]  # fmt: skip
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=850)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "6 faults" in ended.stdout
    assert "violations: 0" in ended.stdout
