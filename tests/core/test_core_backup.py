"""A backup holds every row and every object, and comes back on either database."""

import gzip
import json
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from medcoss.run import sha256_file
from services.core import attempts, jobs
from services.core.backup import restore as restoring
from services.core.backup import tables
from services.core.backup.backup import backup
from services.core.backup.files import HEADER, OBJECTS, BackupError, Header, read_lines
from services.core.backup.objects import Found
from services.core.backup.restore import FENCES, restore
from services.core.db import Database, _config, revisions
from services.core.garbage import runs
from services.core.ids import new_id
from services.core.lifecycle import State
from services.core.scope import EVERYTHING
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import (
    DEFAULT_PROJECT,
    AuditEntry,
    Base,
    GcRun,
    Job,
    JobEvent,
    JobMetric,
    Project,
    ServedName,
    Webhook,
)
from services.core.tables.base import now
from services.worker.checkpoints import S3Checkpoints
from tests.core.databases import ENGINES, execute, postgres_server, postgres_sibling
from tests.core.filled import fill
from tests.core.owned import dataset, model, started
from tests.core.steps import claimed, events, state, submitted, swept


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return ObjectStore(settings)


@pytest.fixture
def other_store(make_settings: Callable[..., Settings]) -> ObjectStore:
    """A bucket that is not there yet."""
    return ObjectStore(make_settings())


@pytest.fixture
def postgres() -> Iterator[str]:
    """An empty PostgreSQL database."""
    name = new_id("test")
    execute(postgres_server(), f"CREATE DATABASE {name}")
    yield postgres_sibling(postgres_server(), name)
    execute(postgres_server(), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database to restore into."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'target.db'}"
    return str(request.getfixturevalue("postgres"))


def taken(database: Database, store: ObjectStore, target: Path, copied: bool = True) -> tuple[Header, Found]:
    return backup(database, store, target, copied=copied, say=lambda _: None)


def restored(url: str, store: ObjectStore, folder: Path, *, replace: bool = False,
             triton: Path | None = None) -> tuple[Header, Found]:  # fmt: skip
    return restore(url, store, folder, replace=replace, triton_folder=triton, say=lambda _: None)


def rows(folder: Path) -> dict[str, list[Any]]:
    return {path.name.split(".")[0]: list(read_lines(path)) for path in sorted((folder / "tables").iterdir())}


@pytest.fixture
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come back as they were."""
    monkeypatch.setattr(restoring, "_settle", lambda *_: None)


def test_from_sqlite_to_postgresql_and_back_nothing_changes(
    database: Database, store: ObjectStore, other_store: ObjectStore, postgres: str, tmp_path: Path, unsettled: None,
    open_database: Callable[[str], Database],
) -> None:  # fmt: skip
    fill(database, store, tmp_path)
    with database.session() as session:
        last = session.scalars(select(func.max(JobEvent.seq))).one()
        session.execute(text("DELETE FROM job_events WHERE seq = :last"), {"last": last})
    header, found = taken(database, store, tmp_path / "first")
    assert found.wrong == 0 and found.objects == 2 + 1 + 1 + 1 + 1 + 1 + 2, (
        "datasets, model, evaluation, index, served, artifact, checkpoint"
    )
    assert all(table.lines for table in header.tables.values()), "no table is forgotten"
    assert header.tables["job_events"].counter == ("seq", last), "numbers of deleted rows are not given again"

    _, back = restored(postgres, other_store, tmp_path / "first")
    assert (back.objects, back.stored, back.wrong) == (9, 9, 0)
    taken(open_database(postgres), other_store, tmp_path / "second")
    file = f"sqlite:///{tmp_path / 'again.db'}"
    restored(file, other_store, tmp_path / "second")
    taken(open_database(file), other_store, tmp_path / "third")
    first, second, third = (rows(tmp_path / name) for name in ("first", "second", "third"))
    assert first.keys() == set(Base.metadata.tables)
    for table, found_rows in first.items():
        assert [_values(r) for r in second[table]] == [_values(r) for r in found_rows], table
        assert third[table] == second[table], table
    assert sorted(read_lines(tmp_path / "first" / OBJECTS), key=str) == sorted(
        read_lines(tmp_path / "third" / OBJECTS), key=str
    )
    for url in (postgres, file):
        with open_database(url).session() as session:
            session.add(JobEvent(job_id=session.scalars(select(Job.id)).first(), attempt=0, type="t", data={}))
            session.add(JobMetric(job_id=session.scalars(select(Job.id)).first(), attempt=0, step=0, values={}))
            session.flush()
            assert session.scalars(select(func.max(JobEvent.seq))).one() == last + 1


def _values(row: list[Any]) -> list[Any]:
    """JSON may be written with other spaces."""
    return [json.loads(v) if isinstance(v, str) and v[:1] in ("{", "[") else v for v in row]


def test_a_restored_platform_goes_on_with_its_jobs_and_no_old_attempt_does(
    database: Database, store: ObjectStore, other_store: ObjectStore, target: str, tmp_path: Path,
    open_database: Callable[[str], Database],
) -> None:  # fmt: skip
    ids = fill(database, store, tmp_path)
    taken(database, store, tmp_path / "backup")
    other_store.ensure_bucket()
    other_store.put_bytes("triton/chest.5/1/model.onnx", b"served after the backup")
    header, _ = restored(target, other_store, tmp_path / "backup", triton=tmp_path / "repository")
    new = open_database(target)
    assert (tmp_path / "repository" / "chest.2" / "1" / "model.onnx").read_bytes() == b"onnx"
    with new.session() as session:
        assert attempts.lock(session, ids["running"], 1) is None, "an attempt from before holds nothing"
        assert session.get_one(ServedName, "chest").last_version == 5, "no version number is given twice"
        assert runs.take(session, now()) is None, "nothing is collected that nobody has asked for now"
        assert session.scalars(select(GcRun.state)).one() == "cancelled"
        last = session.scalars(select(AuditEntry).order_by(AuditEntry.seq.desc())).first()
        assert last is not None and last.method == "RESTORE" and header.revision in str(last.detail)
    assert set(swept(new, now() + timedelta(seconds=1))) >= {ids["running"], ids["queued"]}
    assert events(new, ids["running"])[-2:] == ["attempt_failed", "queued"]
    claim = claimed(new, ids["running"])
    assert claim is not None and claim.fence == 1 + FENCES + 1 and claimed(new, ids["running"]) is None
    (tmp_path / "work").mkdir()
    assert S3Checkpoints(other_store, claim.job_id, claim.fence).latest(tmp_path / "work") == 7
    assert (tmp_path / "work" / "model.safetensors").read_bytes() == b"weights"
    with new.session() as session:
        assert attempts.succeed(session, claim.job_id, claim.fence, {})
    assert state(new, claim.job_id) is State.SUCCEEDED


def test_a_copy_that_is_restored_paused_starts_and_sends_nothing(
    database: Database, store: ObjectStore, other_store: ObjectStore, target: str, tmp_path: Path,
    open_database: Callable[[str], Database],
) -> None:  # fmt: skip
    ids = fill(database, store, tmp_path)
    with database.session() as session:
        session.get_one(Webhook, "whk_1").active = True
    taken(database, store, tmp_path / "backup")
    said: list[str] = []
    restore(target, other_store, tmp_path / "backup", replace=False, triton_folder=None, say=said.append, paused=True)
    new = open_database(target)
    assert any("jobs that had not ended are paused, 1 webhooks are switched off" in line for line in said)
    assert swept(new, now() + timedelta(days=1)) == [] and claimed(new, ids["queued"]) is None
    for name in ("running", "queued"):
        assert state(new, ids[name]) is State.PAUSED and events(new, ids[name])[-1] == "paused"
    with new.session() as session:
        hook = session.get_one(Webhook, "whk_1")
        assert not hook.active and "restored" in str(hook.disabled_reason)
        jobs.request_resume(session, EVERYTHING, ids["running"])
    claim = claimed(new, ids["running"])
    assert claim is not None and claim.attempt == 1, "it goes on when it is told; the attempt of then does not count"


def test_only_the_owner_reads_a_backup_and_half_a_backup_is_none(
    database: Database, store: ObjectStore, tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    dataset(database, store, "ds_1", "a")
    target = tmp_path / "backup"
    away = ObjectStore(make_settings(s3_bucket="missing-bucket"))
    with pytest.raises(BackupError, match="object store"):
        taken(database, away, target)
    assert list(tmp_path.glob("*backup*")) == [], "nothing half done is left"
    _, found = taken(database, store, target)
    assert found.wrong == 0
    for path in (target, *target.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    with pytest.raises(BackupError, match="there already"):
        taken(database, store, target)
    assert {p.name for p in target.iterdir()} == {HEADER, "tables", OBJECTS, "objects"}


def damage(folder: Path, how: str) -> None:
    jobs = folder / "tables" / "datasets.jsonl.gz"
    header = json.loads((folder / HEADER).read_text())
    if how == "a byte":
        content = bytearray(jobs.read_bytes())
        content[-9] ^= 1
        jobs.write_bytes(content)
    elif how == "a row":
        jobs.write_bytes(gzip.compress(b"".join(gzip.decompress(jobs.read_bytes()).splitlines(True)[:-1])))
    elif how == "a file":
        jobs.unlink()
    elif how == "objects":
        (folder / OBJECTS).write_bytes(b"")
    elif how == "key":
        (folder / OBJECTS).write_bytes(gzip.compress(b'{"key":"../a","size":1,"sha256":"","owner":"x"}'))
        header["objects"] = {"lines": 1, "sha256": sha256_file(folder / OBJECTS)}
        (folder / HEADER).write_text(json.dumps(header))
    elif how == "header":
        (folder / HEADER).write_text("{")
    elif how == "field":
        del header["revision"]
        (folder / HEADER).write_text(json.dumps(header))
    elif how == "format":
        (folder / HEADER).write_text(json.dumps(header | {"format": 2}))
    else:
        (folder / HEADER).write_text(json.dumps(header | {"revision": "9999", "version": "7.0"}))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("a byte", "datasets.jsonl.gz has other content"), ("a row", "datasets.jsonl.gz has other content"),
        ("a file", "datasets.jsonl.gz is missing"), ("objects", "objects.jsonl.gz has other content"),
        ("key", "names what no row can own"), ("header", "damaged"),
        ("field", "revision: Field required"), ("format", "format 2"),
        ("revision", "revision 9999 .medcoss 7.0.*knows up to"),
    ],
)  # fmt: skip
def test_a_damaged_backup_is_refused_before_anything_changes(
    database: Database, store: ObjectStore, tmp_path: Path, how: str, said: str
) -> None:
    dataset(database, store, "ds_1", "a")
    taken(database, store, tmp_path / "backup")
    damage(tmp_path / "backup", how)
    new = tmp_path / "new.db"
    with pytest.raises(BackupError, match=said):
        restored(f"sqlite:///{new}", store, tmp_path / "backup")
    assert not new.exists() or how == "key"
    with pytest.raises(BackupError, match="is no backup"):
        restored(f"sqlite:///{new}", store, tmp_path)


def test_a_database_in_use_is_not_overwritten_unless_told(
    database: Database, store: ObjectStore, tmp_path: Path
) -> None:
    dataset(database, store, "ds_1", "a")
    taken(database, store, tmp_path / "backup")
    dataset(database, store, "ds_later", "a")
    with pytest.raises(BackupError, match=r"in use \(rows in .*datasets.*--replace"):
        restored(database.url, store, tmp_path / "backup")
    with database.session() as session:
        session.add(AuditEntry(method="POST", route="/", path="/", request_id="r", status=200, outcome="done"))
    restored(database.url, store, tmp_path / "backup", replace=True)
    assert rows_of(database, "datasets") == ["ds_1"]
    other = f"sqlite:///{tmp_path / 'other.db'}"
    execute(other, "CREATE TABLE something (else_ TEXT)")
    with pytest.raises(BackupError, match="something else"):
        restored(other, store, tmp_path / "backup", replace=True)


def rows_of(database: Database, table: str) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(text(f"SELECT id FROM {table} ORDER BY id")))


def test_missing_and_damaged_objects_are_named(
    database: Database, store: ObjectStore, tmp_path: Path, open_database: Callable[[str], Database]
) -> None:
    dataset(database, store, "ds_1", "gone", "cut", "good")
    model(database, store, "mdl_1")
    taken(database, store, tmp_path / "listed", copied=False)
    store.remove(["datasets/ds_1/raw/gone"])
    store.put_bytes("datasets/ds_1/raw/cut", b"xyz")
    store.put_bytes("models/mdl_1/model.safetensors", b"y")
    _, found = taken(database, store, tmp_path / "copied")
    assert (found.objects, found.wrong) == (1, 3), "a backup tells what it could not take"
    new = f"sqlite:///{tmp_path / 'new.db'}"
    _, found = restored(new, store, tmp_path / "listed")
    assert found.objects == 4 and sorted(found.examples) == [
        "datasets/ds_1/raw/cut (dataset ds_1): has 3 bytes, recorded are 1",
        "datasets/ds_1/raw/gone (dataset ds_1): is missing",
        "models/mdl_1/model.safetensors (model mdl_1): has other content than was recorded (its SHA-256 differs)",
    ]
    assert rows_of(open_database(new), "datasets") == ["ds_1"], "rows are back all the same"


def without(path: Path, table: dict[str, Any], column: str) -> None:
    """Take a column out of a table of a backup."""
    place = [name for name, _ in table["columns"]].index(column)
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    lines = [json.dumps(row[:place] + row[place + 1 :]) + "\n" for row in rows]
    path.write_bytes(gzip.compress("".join(lines).encode()))
    del table["columns"][place]
    table["sha256"] = sha256_file(path)


def test_a_backup_of_an_older_version_is_brought_up_to_date(
    database: Database, target: str, store: ObjectStore, tmp_path: Path, open_database: Callable[[str], Database],
) -> None:  # fmt: skip
    """As if it had been made before the garbage collector's tables, that of files in parts, the projects' salts,
    child jobs, evaluations, deployments that load or have failed, pipelines, gates of aliases, indexes, erasures, and
    jobs on several machines.
    """
    dataset(database, store, "ds_1", "a")
    taken(database, store, tmp_path / "backup")
    document = json.loads((tmp_path / "backup" / HEADER).read_text())
    for table in ("gc_runs", "gc_findings", "upload_sessions", "evaluations", "evaluation_files", "indexes",
                  "index_files", "pipelines", "pipeline_steps", "erasures", "erasure_marks"):  # fmt: skip
        del document["tables"][table]
    of_deployments = [("deployments", column) for column in ("error", "ready_at", "activated_at")]
    of_gates = [("aliases", "gate"), ("promotions", "override"), ("promotions", "report_id")]
    of_jobs = [("jobs", column) for column in ("parent_id", "children", "continues", "nodes")]
    for table, column in (("projects", "patient_salt"), ("workers", "nodes"), *of_jobs, *of_deployments, *of_gates):
        without(tmp_path / "backup" / "tables" / f"{table}.jsonl.gz", document["tables"][table], column)
    document["revision"] = "0014"
    (tmp_path / "backup" / HEADER).write_text(json.dumps(document))
    restored(target, store, tmp_path / "backup")
    new = open_database(target)
    assert rows_of(new, "datasets") == ["ds_1"] and started(new)


def test_a_database_of_another_revision_is_not_backed_up(
    database: Database, store: ObjectStore, tmp_path: Path
) -> None:
    from alembic import command

    command.downgrade(_config(database.url), "0014")
    with pytest.raises(BackupError, match=f"revision 0014, this version of medcoss needs {revisions()[0]}"):
        taken(database, store, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_failed_restore_leaves_the_database_as_it_was(
    database: Database, target: str, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    open_database: Callable[[str], Database],
) -> None:  # fmt: skip
    dataset(database, store, "ds_1", "a")
    taken(database, store, tmp_path / "backup")
    restored(target, store, tmp_path / "backup")
    with open_database(target).session() as session:
        session.add(Project(id="prj_kept", name="kept"))

    def fails(*_: object) -> None:
        raise BackupError("the power has gone")

    monkeypatch.setattr("services.core.backup.tables.count", fails)
    with pytest.raises(BackupError, match="power"):
        restored(target, store, tmp_path / "backup", replace=True)
    assert rows_of(open_database(target), "projects") == [DEFAULT_PROJECT, "prj_kept"]


@pytest.mark.parametrize("database_url", ENGINES, indirect=True)
def test_a_backup_is_of_one_moment(database: Database, store: ObjectStore, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    before = submitted(database)
    dump = tables._dump

    def dump_while_others_write(*arguments: Any) -> Any:
        submitted(database)
        return dump(*arguments)

    monkeypatch.setattr(tables, "_dump", dump_while_others_write)
    header, _ = taken(database, store, tmp_path / "backup")
    assert [row[0] for row in rows(tmp_path / "backup")["jobs"]] == [before]
    assert header.tables["job_events"].lines == 1
