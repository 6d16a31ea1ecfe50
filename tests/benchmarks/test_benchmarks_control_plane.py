"""The load benchmark, with a load that is none: nothing is lost, doubled or refused."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_request_stream_and_claim_is_accounted_for() -> None:
    small = "--jobs 600 --per-s 20 --seconds 1 --watchers 12 --workers 2 --claims 30"
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "control_plane.py"),
        *small.split(),
        "--parts",
        "submissions",
        "watchers",
        "claims",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for told in ("submissions: 20", "0 streams with rows lost", "claims: 30", "claimed twice 0"):
        assert told in done.stdout, done.stdout
