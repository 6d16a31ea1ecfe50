"""The peak of memory of one piece of work: `python -m tests.medcoss.preprocess.peak inspect|unpack RAW OUT`.

Prints how much was found, and the peak of its memory and of its children's, in MB.
"""
# ruff: noqa: T201

import resource
import sys
from pathlib import Path

from medcoss.preprocess.archives import opened
from medcoss.preprocess.inspection.run import inspect
from medcoss.preprocess.raw import Raw
from medcoss.run import LocalRun
from medcoss.specs.inspection import InspectOptions
from medcoss.specs.preprocess import ArchiveLimits


def main(what: str, raw: Path, out: Path) -> None:
    """Inspect or unpack a folder."""
    if what == "inspect":
        found = inspect(InspectOptions(pictures=2), raw, out / "inspection", LocalRun(out), processes=2).samples
    else:
        found = sum(1 for _ in Raw(opened(raw, out / "unpacked", ArchiveLimits(), LocalRun(out)).root).files())
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"{found} {peaks[0]:.1f} {peaks[1]:.1f}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
