"""Whatever attempts, uploads, deletions and the sweeper do between any two looks of the garbage collector: nothing that
somebody owns, makes or may still make goes, and in the end all that nobody owns has gone.

Rows are real, the rules of the platform's own functions too; the store is a table in memory, so that objects can be of
any age, and so that others act before each of its answers.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from medcoss.modalities import Kind
from medcoss.specs.records import DatasetInfo, FileEntry
from services.core import attempts, deletion, leftovers
from services.core.attempts import Artifact, Claim
from services.core.db import Database
from services.core.errors import Conflict
from services.core.garbage import runs
from services.core.garbage.collect import Collection
from services.core.garbage.runs import Asked
from services.core.ids import new_id
from services.core.multipart import UnfinishedUpload
from services.core.registry import register_dataset
from services.core.scope import EVERYTHING
from services.core.storage import StoredObject
from services.core.tables import DEFAULT_PROJECT, Dataset, DatasetFile
from services.core.tables.base import now
from tests.core.steps import WRONG_INPUT, running, swept

GRACE = timedelta(hours=1)
INFO = DatasetInfo(modality="xray", kind=Kind.IMAGE2D, samples=1, splits={}, sample_shape=[1, 8, 8], recipe={})


class Bucket:
    """A store in memory; `others` act before it answers."""

    def __init__(self) -> None:
        self.kept: dict[str, datetime] = {}
        self.others: Callable[[], None] = lambda: None
        self.watch: Callable[[list[str]], None] = lambda _: None

    def put(self, key: str, modified: datetime) -> None:
        self.kept[key] = modified

    def pages(self, prefix: str = "") -> Iterator[list[StoredObject]]:
        done: set[str] = set()
        while True:
            self.others()
            keys = [key for key in sorted(self.kept) if key.startswith(prefix) and key not in done][:2]
            if not keys:
                return
            done.update(keys)
            page = [StoredObject(key, 1, self.kept[key]) for key in keys]
            self.others()
            yield page

    def remove(self, keys: Iterable[str]) -> None:
        gone = list(keys)
        self.others()
        self.watch(gone)
        for key in gone:
            self.kept.pop(key, None)

    def remove_some(self, prefix: str, limit: int, kept: frozenset[str] = frozenset()) -> bool:
        for key in [key for key in self.kept if key.startswith(prefix) and key not in kept]:
            del self.kept[key]
        return True

    def size(self, key: str) -> int | None:
        return 1 if key in self.kept else None

    def sizes(self, prefix: str) -> dict[str, int]:
        return {key: 1 for key in self.kept if key.startswith(prefix)}

    def list_keys(self, prefix: str) -> list[str]:
        return list(self.sizes(prefix))

    @property
    def multipart(self) -> "Bucket":
        return self

    def unfinished(self, prefix: str = "") -> Iterator[list[UnfinishedUpload]]:
        return iter(())


@dataclass
class Attempt:
    """An attempt under way, the dataset that it makes, and what it has stored so far."""

    claim: Claim
    dataset_id: str
    stored: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)


class World:
    """What others do, and what must therefore be there: known without asking the rows."""

    def __init__(self, database: Database, bucket: Bucket, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self.database, self.bucket = database, bucket
        self.draw = draw
        self.attempts: list[Attempt] = []
        self.uploads: list[tuple[str, list[str]]] = []
        self.datasets: dict[str, list[str]] = {}
        self.pictures: list[str] = []
        self.young: set[str] = set()
        self.strays = 0
        self.acts = [self.begin, self.store, self.draw_picture, self.succeed, self.fail, self.announce, self.upload,
                     self.complete, self.delete, self.stray, self.sweep]  # fmt: skip

    def act(self) -> None:
        """Nothing, mostly; else something, somewhere."""
        choice = self.draw(st.integers(0, 3 * len(self.acts)))
        if choice < len(self.acts):
            self.acts[choice]()

    def wanted(self) -> set[str]:
        """The objects that somebody owns or makes."""
        made = [key for one in self.attempts for key in one.stored + one.pictures]
        coming = [key for _, keys in self.uploads for key in keys]
        owned = [key for keys in self.datasets.values() for key in keys]
        return {key for key in [*made, *coming, *owned, *self.pictures, *self.young] if key in self.bucket.kept}

    def put(self, key: str) -> None:
        # clocks differ, and servers tell the time at which an upload began: what is new may look old
        self.bucket.put(key, now() + GRACE * self.draw(st.sampled_from([-30, -2, 0])))

    def some(self, among: list[Attempt]) -> Attempt | None:
        return among[self.draw(st.integers(0, len(among) - 1))] if among else None

    def begin(self) -> None:
        claim = running(self.database, max_attempts=1)
        one = Attempt(claim, new_id("ds"))
        with self.database.session() as session:
            leftovers.reserve(session, f"datasets/{one.dataset_id}/", claim.job_id, claim.fence)
        self.attempts.append(one)

    def store(self) -> None:
        if one := self.some(self.attempts):
            one.stored.append(f"datasets/{one.dataset_id}/shards/{len(one.stored)}")
            self.put(one.stored[-1])

    def draw_picture(self) -> None:
        """Its row is written with the next heartbeat, or here at the end of the attempt."""
        if one := self.some(self.attempts):
            one.pictures.append(f"jobs/{one.claim.job_id}/artifacts/000001/{len(one.pictures)}.png")
            self.put(one.pictures[-1])

    def succeed(self) -> None:
        if (one := self.some(self.attempts)) is None:
            return
        files = [FileEntry(path=key.rpartition("/")[2], size=1, sha256="0" * 64) for key in one.stored]
        with self.database.session() as session:
            drawn = [Artifact(key.rpartition("/")[2], key, "image/png", 1) for key in one.pictures]
            attempts.record_rows(session, one.claim.job_id, one.claim.fence, artifacts=drawn)
            assert attempts.succeed(session, one.claim.job_id, one.claim.fence, {}, lambda inner: register_dataset(
                inner, one.dataset_id, name="d", info=INFO, prefix=f"datasets/{one.dataset_id}/shards", files=files,
                parents=[], job_id=one.claim.job_id, project_id=DEFAULT_PROJECT,
            ))  # fmt: skip
        self.attempts.remove(one)
        self.datasets[one.dataset_id] = one.stored
        self.pictures += one.pictures

    def fail(self) -> None:
        if one := self.some(self.attempts):
            with self.database.session() as session:
                assert attempts.fail(session, one.claim.job_id, one.claim.fence, WRONG_INPUT)
            self.attempts.remove(one)

    def announce(self) -> None:
        dataset_id = new_id("ds")
        with self.database.session() as session:
            session.add(
                Dataset(id=dataset_id, name="d", role="raw", state="uploading", prefix=f"datasets/{dataset_id}/raw",
                        expires_at=now() + timedelta(days=1), project_id=DEFAULT_PROJECT, file_count=2,
                        files=[DatasetFile(path=str(n), size=1, sha256="0" * 64) for n in range(2)])
            )  # fmt: skip
        self.uploads.append((dataset_id, []))

    def upload(self) -> None:
        for dataset_id, keys in self.uploads:
            if len(keys) < 2:
                keys.append(f"datasets/{dataset_id}/raw/{len(keys)}")
                self.put(keys[-1])
                return

    def complete(self) -> None:
        for dataset_id, keys in self.uploads:
            if len(keys) == 2:
                with self.database.session() as session:
                    session.get_one(Dataset, dataset_id).state = "ready"
                self.uploads.remove((dataset_id, keys))
                self.datasets[dataset_id] = keys
                return

    def delete(self) -> None:
        for dataset_id in self.datasets:
            try:
                with self.database.session() as session:
                    deletion.delete_dataset(session, EVERYTHING, dataset_id, 3600)
            except Conflict:
                continue
            del self.datasets[dataset_id]
            return

    def stray(self) -> None:
        """What nobody owns, alone or beside what somebody owns; too young to be sure, or old."""
        self.strays += 1
        owner = next(iter(self.datasets), None) if self.draw(st.integers(0, 1)) else None
        key, young = f"datasets/{owner or 'ds_stray'}/{self.strays}/a", self.draw(st.integers(0, 1))
        self.bucket.put(key, now() if young else now() - 2 * GRACE)
        if young:
            self.young.add(key)

    def sweep(self) -> None:
        swept(self.database)
        leftovers.clean(self.database, self.bucket, lambda _: None, 30)  # type: ignore[arg-type]


def collect(database: Database, bucket: Bucket, later: timedelta = timedelta()) -> Collection:
    with database.session() as session:
        runs.start(session, Asked(False, GRACE.total_seconds(), None, 1.0), "ada")
    with database.session() as session:
        run = runs.take(session, now())
    assert run is not None
    work = Collection(database, bucket, run, lambda _: None, now() + later)  # type: ignore[arg-type]
    work.carry_out()
    with database.session() as session:
        assert runs.finish(session, run.id, run.fence, "succeeded")
    return work


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
    phases=[Phase.generate],
)
@given(data=st.data())
def test_no_order_of_events_costs_an_object(sqlite_template: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(sqlite_template, folder)
        database = Database(f"sqlite:///{folder}/{sqlite_template.name}")
        bucket = Bucket()
        world = World(database, bucket, data.draw)
        for act in (
            world.begin,
            world.store,
            world.succeed,
            world.begin,
            world.store,
            world.announce,
            world.upload,
            world.stray,
            world.stray,
        ):
            act()

        def watch(gone: list[str]) -> None:
            assert not world.wanted() & set(gone)

        bucket.others, bucket.watch = world.act, watch
        work = collect(database, bucket)
        bucket.others = lambda: None
        lost = {v: n["objects"] for v, n in work.report.items() if v in {"missing", "wrong_size"} and n["objects"]}
        assert not lost, "what came or went meanwhile is not missing"

        # everybody goes home, and time passes
        while world.attempts:
            world.fail()
        world.uploads, world.young = [], set()
        with database.session() as session:
            session.query(Dataset).filter(Dataset.state == "uploading").update({"expires_at": now() - GRACE})
        swept(database)
        with database.session() as session:
            session.query(leftovers.Leftover).delete()
        collect(database, bucket, later=2 * GRACE)
        owned = {key for keys in world.datasets.values() for key in keys} | set(world.pictures)
        assert set(bucket.kept) == owned
        database.engine.dispose()
