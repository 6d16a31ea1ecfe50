"""What rows say is stored and is not, or has another size: looked for owner by owner, where the numbers differ."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Select, func, select

from services.core.checkpoints import MANIFEST, Manifest, folders, prefix_of
from services.core.db import Database
from services.core.garbage.verdicts import Verdict
from services.core.lifecycle import TERMINAL, State
from services.core.ownership import NAMED, Named, place_of
from services.core.served_names import triton_name
from services.core.storage import ObjectStore
from services.core.tables import Deployment, Job

PORTION = 1000
EXAMPLES = 5
AT_ONCE = 8


@dataclass
class Lack:
    """What an owner lacks in one way; `bytes` are those that its rows say."""

    owner: str
    owner_name: str
    prefix: str
    objects: int = 0
    bytes: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, key: str, size: int) -> None:
        """One more object."""
        self.objects += 1
        self.bytes += size
        if len(self.examples) < EXAMPLES:
            self.examples.append(key)


def missing(database: Database, store: ObjectStore, stored: Mapping[tuple[str, str], int],
            go_on: Callable[[], None]) -> Iterator[tuple[Verdict, Lack]]:  # fmt: skip
    """What is missing or of a wrong size; `stored` says how many objects of each owner were seen to be right.

    `go_on` is called between portions and ends it by an exception.
    """
    for noun, named in NAMED.items():
        for owner, name in _differing(database, named, {key[1]: n for key, n in stored.items() if key[0] == noun}):
            yield from _of_owner(database, store, named, owner, name, go_on)
    yield from _deployments(database, store, stored)
    yield from _checkpoints(database, store, go_on)


def _differing(database: Database, named: Named, stored: Mapping[str, int]) -> list[tuple[str, str]]:
    """The owners that have other numbers of objects than were seen."""
    counts = named.rows.with_only_columns(named.owner, named.owner_name, func.count())
    counts = counts.group_by(named.owner, named.owner_name)
    with database.snapshot() as session:
        rows = session.execute(counts.execution_options(yield_per=PORTION))
        return [(owner, name) for owner, name, count in rows if stored.get(owner, 0) != count]


def _of_owner(database: Database, store: ObjectStore, named: Named, owner: str, name: str,
              go_on: Callable[[], None]) -> Iterator[tuple[Verdict, Lack]]:  # fmt: skip
    mine = named.rows.where(named.owner == owner).order_by(named.order)
    found: dict[Verdict, Lack] = {}
    after: Any = None
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while rows := _portion(database, mine if after is None else mine.where(named.order > after)):
            after = rows[-1].place
            sizes = list(pool.map(store.size, [row.key for row in rows]))
            wrong = {row.key: size for row, size in zip(rows, sizes, strict=True) if size != row.size}
            if wrong:
                # a row that has gone meanwhile has taken its object with it
                for row in _portion(database, mine.where(named.order.in_([r.place for r in rows if r.key in wrong]))):
                    if row.key in wrong and wrong[row.key] != row.size:
                        verdict = Verdict.MISSING if wrong[row.key] is None else Verdict.WRONG_SIZE
                        lack = found.setdefault(verdict, Lack(owner, name, place_of(row.key)))
                        lack.add(row.key, row.size)
            go_on()
    yield from found.items()


def _portion(database: Database, statement: Select[Any]) -> list[Any]:
    with database.reading() as session:
        return list(session.execute(statement.limit(PORTION)))


def _deployments(database: Database, store: ObjectStore,
                 stored: Mapping[tuple[str, str], int]) -> Iterator[tuple[Verdict, Lack]]:  # fmt: skip
    """Served versions of which nothing is stored: no row names their files."""
    with database.reading() as session:
        rows = session.execute(
            select(Deployment.id, Deployment.name, Deployment.version).where(Deployment.ready_at.is_not(None))
        ).all()
    for row_id, name, version in rows:
        prefix = f"triton/{triton_name(name, version)}/"
        if ("deployment", row_id) in stored or next(store.pages(prefix), None):
            continue
        with database.reading() as session:
            there = session.get(Deployment, row_id) is not None
        if there:
            yield Verdict.MISSING, Lack(row_id, name, prefix, 1, 0, [prefix])


_WAITS = (Job.state.not_in([*TERMINAL, State.RUNNING]), Job.checkpoint_step.is_not(None))


def _checkpoints(database: Database, store: ObjectStore, go_on: Callable[[], None]) -> Iterator[tuple[Verdict, Lack]]:
    """Checkpoints that paused and queued jobs want to go on from."""
    with database.reading() as session:
        jobs = session.execute(select(Job.id, Job.name, Job.fence).where(*_WAITS)).all()
    for job_id, name, fence in jobs:
        wrong = list(_of_checkpoint(store, job_id, name))
        go_on()
        with database.reading() as session:
            same = session.scalars(select(Job.id).where(Job.id == job_id, Job.fence == fence, *_WAITS)).first()
        if same is not None:
            yield from wrong


def _of_checkpoint(store: ObjectStore, job_id: str, name: str) -> Iterator[tuple[Verdict, Lack]]:
    sizes = store.sizes(f"{prefix_of(job_id)}/")
    newest = next((folder for folder, whole in folders(sizes) if whole), None)
    if newest is None:
        prefix = f"{prefix_of(job_id)}/"
        yield Verdict.MISSING, Lack(job_id, name, prefix, 1, 0, [prefix])
        return
    try:
        manifest = Manifest.model_validate_json(store.get_bytes(newest + MANIFEST))
    except FileNotFoundError:
        return
    except ValidationError:
        size = sizes[newest + MANIFEST]
        yield Verdict.WRONG_SIZE, Lack(job_id, name, newest, 1, size, [newest + MANIFEST])
        return
    lacks = {verdict: Lack(job_id, name, newest) for verdict in (Verdict.MISSING, Verdict.WRONG_SIZE)}
    for file in manifest.files:
        if (size := sizes.get(newest + file.path, -1)) != file.size:
            lacks[Verdict.MISSING if size < 0 else Verdict.WRONG_SIZE].add(newest + file.path, file.size)
    yield from ((verdict, lack) for verdict, lack in lacks.items() if lack.objects)
