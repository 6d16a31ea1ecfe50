"""The garbage collector over a store of many objects: time, and memory that does not grow with it.

    python benchmarks/garbage.py                             # 1,000,000 objects of 2,000 datasets
    python benchmarks/garbage.py --objects 100000

Rows are real (SQLite); the listing is made up as it is read, so that what is measured is the collector and not a store.
Every thousandth object is nobody's.
"""

import argparse
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import insert

from services.core.db import Database, migrate
from services.core.garbage import runs
from services.core.garbage.collect import Collection
from services.core.garbage.runs import Asked
from services.core.multipart import UnfinishedUpload
from services.core.storage import PAGE, StoredObject
from services.core.tables import DEFAULT_PROJECT, Dataset, DatasetFile
from services.core.tables.base import now

DATASETS = 2000


class Listing:
    """A store of which only the listing is asked."""

    def __init__(self, files: int) -> None:
        self.files, self.old = files, now() - timedelta(days=30)

    def pages(self, prefix: str = "") -> Iterator[list[StoredObject]]:
        """Files of all datasets, and a stray one after every thousandth."""
        page: list[StoredObject] = []
        for number in range(DATASETS * self.files):
            dataset, file = divmod(number, self.files)
            folder = f"datasets/ds_{dataset:05d}/raw"
            page.append(StoredObject(f"{folder}/{file:06d}.png", 1, self.old))
            if number % 1000 == 0:
                page.append(StoredObject(f"{folder}/{file:06d}.stray", 1, self.old))
            if len(page) >= PAGE:
                yield page
                page = []
        if page:
            yield page

    @property
    def multipart(self) -> "Listing":
        """The same."""
        return self

    def unfinished(self, prefix: str = "") -> Iterator[list[UnfinishedUpload]]:
        """None."""
        return iter(())


def fill(database: Database, files: int) -> None:
    """Rows of all datasets and their files."""
    with database.session() as session:
        for dataset in range(DATASETS):
            name = f"ds_{dataset:05d}"
            session.execute(
                insert(Dataset),
                [{"id": name, "name": name, "role": "raw", "state": "ready", "prefix": f"datasets/{name}/raw",
                  "file_count": files, "total_bytes": files, "project_id": DEFAULT_PROJECT}],
            )  # fmt: skip
            rows = [
                {"dataset_id": name, "path": f"{file:06d}.png", "size": 1, "sha256": "0" * 64} for file in range(files)
            ]
            session.execute(insert(DatasetFile), rows)


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=1_000_000)
    files = parser.parse_args().objects // DATASETS
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/medcoss.db"
        migrate(url)
        database = Database(url)
        fill(database, files)
        with database.session() as session:
            runs.start(session, Asked(True, 3600, None, 1.0), "benchmark")
        with database.session() as session:
            run = runs.take(session, now())
        assert run is not None
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work = Collection(database, Listing(files), run, lambda _: None)  # type: ignore[arg-type]
        began = time.perf_counter()
        work.carry_out()
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {verdict: counts["objects"] for verdict, counts in work.report.items() if counts["objects"]}
    print(f"{work.listed:,} objects in {seconds:.1f} s ({work.listed / seconds:,.0f}/s): {found}")
    print(f"peak memory {after / 1024:.0f} MiB, {(after - before) / 1024:.0f} MiB more than before")


if __name__ == "__main__":
    main()
