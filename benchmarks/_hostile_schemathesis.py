"""Schemathesis over a service: every check and every phase, as `benchmarks/schemathesis.toml` says."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._hostile_platform import Target

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "benchmarks" / "schemathesis.toml"


def failures(target: Target, seed: int, seconds: int | None, *options: str, gateway: bool = False) -> list[str]:
    """What it found: its last words, when it was anything. `seconds` are spent on fuzzing, or one round when None."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "schemathesis.toml"
        config.write_text(f"{CONFIG.read_text()}\n{_known(target)}")
        budget = [] if seconds is None else ["--max-time", str(seconds)]
        url = target.gateway_url if gateway else target.url
        done = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{url}/openapi.json",
                "--checks", "all", "--seed", str(seed), "--no-color", *budget, *options,
            ],
            cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace", check=False,
            env=os.environ | {"HOSTILE_KEY": target.admin, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    if done.returncode == 0:
        return []
    return [done.stdout[-8000:] + done.stderr[-2000:]]


def _known(target: Target) -> str:
    """Real identifiers, for half of what is asked for by identifier: else almost everything is a 404."""
    lines = []
    for name in target.mine.ids:
        values = json.dumps([target.mine.ids[name], target.others.ids[name]])
        lines += [f"[dictionaries.{name}]", f"values = {values}", ""]
    lines.append("[parameters]")
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.5 }}' for name in target.mine.ids]
    return "\n".join(lines)
