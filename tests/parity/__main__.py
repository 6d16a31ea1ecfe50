"""Numbers of the published model against ours: `python -m tests.parity FOLDER`."""

import argparse
import os
import sys
import time
from pathlib import Path

# before numpy or torch are imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tests.parity.goldens import default_folder
from tests.parity.report import HEADER, Report
from tests.parity.run import run


def main(arguments: list[str] | None = None) -> int:
    """Print one line an array and a summary; returns 1 when something failed or was not understood."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=default_folder(), help="folder of goldens")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="file names to check, e.g. 'seg2d_*'")
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    report = Report(_say)
    _say(HEADER)
    run(chosen.folder, report, chosen.only or ("*",), progress=_say)
    for line in report.summary():
        _say(line)
    _say(f"{time.monotonic() - began:.0f} s, " + ("all pass" if report.ok else "NOT all pass"))
    return 0 if report.ok else 1


def _say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
