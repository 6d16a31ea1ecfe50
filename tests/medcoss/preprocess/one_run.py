"""One run of the odd recipe in a process of its own: `python -m tests.medcoss.preprocess.one_run RAW OUT PART_BYTES`.

Prints a dot with every progress, and at the end the peak of its memory and of its children's, in MB.
"""
# ruff: noqa: T201

import resource
import sys
from pathlib import Path

from medcoss.preprocess.engine import parts
from medcoss.preprocess.run import preprocess
from medcoss.run import LocalRun
from tests.medcoss.preprocess.odd_recipe import options


class Observed(LocalRun):
    """A run that tells how it goes."""

    def progress(self, done: int, total: int, message: str = "") -> None:
        """A dot."""
        print(".", end="", flush=True)


def main(raw: Path, out: Path, part_bytes: int) -> None:
    """Run, with parts of so many bytes."""
    parts.PART_BYTES = part_bytes
    info = preprocess(options(), raw, out / "made" / "dataset", Observed(out / "run"), processes=2)
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"\n{info.samples} {peaks[0]:.1f} {peaks[1]:.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
