"""Checkpoints in the object store: the manifest last, the newest whole one first, a zombie's never."""

import tempfile
from pathlib import Path

import pytest

from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.worker.checkpoints import KEPT, S3Checkpoints

JOB = "job_1"


class Recording(ObjectStore):
    """A real store that remembers in which order it was written."""

    written: list[str]

    def put_file(self, key: str, path: Path, content_type: str = "") -> None:
        self.written.append(key)
        super().put_file(key, path)

    def put_bytes(self, key: str, data: bytes, content_type: str = "") -> None:
        self.written.append(key)
        super().put_bytes(key, data)


@pytest.fixture
def store(settings: Settings) -> Recording:
    made = Recording(settings)
    made.written = []
    return made


def save(store: ObjectStore, folder: Path, step: int, fence: int = 1) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_text(f"weights of {step} under {fence}")
    (folder / "optimizer.pt").write_text("momenta")
    S3Checkpoints(store, JOB, fence).save(step, folder)


def latest(store: ObjectStore, folder: Path, fence: int = 1) -> tuple[int | None, str | None]:
    """The step of the newest checkpoint and what its weights are."""
    with tempfile.TemporaryDirectory(dir=folder) as target:
        step = S3Checkpoints(store, JOB, fence).latest(Path(target))
        found = {path.name: path.read_text() for path in Path(target).iterdir()}
    assert set(found) == (set() if step is None else {"model.safetensors", "optimizer.pt"})
    return step, found.get("model.safetensors")


def test_nothing_to_go_on_from(store: Recording, tmp_path: Path) -> None:
    assert latest(store, tmp_path) == (None, None)


def test_a_job_that_does_another_one_again_begins_with_its_checkpoint(store: Recording, tmp_path: Path) -> None:
    def found(folder: str, *before: str) -> int | None:
        (tmp_path / folder).mkdir()
        return S3Checkpoints(store, "job_again", 1, before=before).latest(tmp_path / folder)

    save(store, tmp_path / "c", 5, fence=3)
    assert found("alone") is None
    assert found("again", "job_between", JOB) == 5
    S3Checkpoints(store, "job_again", 1, before=[JOB]).save(2, tmp_path / "c")
    assert found("own", JOB) == 2, "its own, whatever step that is of"
    assert latest(store, tmp_path, 3)[0] == 5, "that of the other one stays"


def test_the_manifest_comes_last(store: Recording, tmp_path: Path) -> None:
    save(store, tmp_path / "c", 5)
    assert store.written[-1].endswith("000000005.000001/manifest.json")
    assert len(store.written) == 3
    assert latest(store, tmp_path) == (5, "weights of 5 under 1")


def test_two_are_kept(store: Recording, tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        save(store, tmp_path / "c", step)
    folders = {key.split("/")[3] for key in store.list_keys(f"jobs/{JOB}/checkpoints/")}
    assert folders == {"000000015.000001", "000000020.000001"}
    assert len(folders) == KEPT


@pytest.mark.parametrize("damage", ["weights", "missing file", "no manifest", "broken manifest"])
def test_a_damaged_one_is_passed_over(store: Recording, tmp_path: Path, damage: str) -> None:
    save(store, tmp_path / "c", 5)
    (tmp_path / "c" / "another.pt").write_text("of the newer one alone")
    save(store, tmp_path / "c", 10)
    prefix = f"jobs/{JOB}/checkpoints/000000010.000001"
    if damage == "weights":
        store.put_bytes(f"{prefix}/model.safetensors", b"weights of 99 under 1")
    elif damage == "broken manifest":
        store.put_bytes(f"{prefix}/manifest.json", b'{"step": 10, "fence"')
    else:
        name = "optimizer.pt" if damage == "missing file" else "manifest.json"
        store._client.remove_object(store.bucket, f"{prefix}/{name}")
    assert latest(store, tmp_path) == (5, "weights of 5 under 1"), "and nothing of the damaged one is mixed in"


def test_what_killed_attempts_left_unfinished_is_cleared(store: Recording, tmp_path: Path) -> None:
    save(store, tmp_path / "c", 5)
    store.put_bytes(f"jobs/{JOB}/checkpoints/000000010.000001/model.safetensors", b"half")
    save(store, tmp_path / "c", 7, fence=2)
    folders = {key.split("/")[3] for key in store.list_keys(f"jobs/{JOB}/checkpoints/")}
    assert folders == {"000000005.000001", "000000007.000002"}


def test_a_zombie_comes_never_first_and_removes_nothing(store: Recording, tmp_path: Path) -> None:
    save(store, tmp_path / "c", 50, fence=1)
    save(store, tmp_path / "c", 60, fence=2)
    save(store, tmp_path / "c", 70, fence=1)
    save(store, tmp_path / "c", 80, fence=1)
    assert latest(store, tmp_path, fence=3) == (60, "weights of 60 under 2")
    assert latest(store, tmp_path, fence=1) == (80, "weights of 80 under 1"), "a zombie does not see its successor"


def test_jobs_do_not_see_each_other(store: Recording, tmp_path: Path) -> None:
    save(store, tmp_path / "c", 5)
    target = tmp_path / "resumed"
    target.mkdir()
    assert S3Checkpoints(store, "job_10", 1).latest(target) is None
