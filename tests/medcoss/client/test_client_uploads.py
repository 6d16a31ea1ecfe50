"""Large files go in parts: what breaks goes on, what is damaged on the way is sent again."""

import os
from pathlib import Path

import pytest

from medcoss.client import Client, FileChanged, TransferFailed, TransferProgress, sending
from tests.medcoss.client.control_plane import ControlPlane

MIB = 2**20
PART = 5 * MIB
PARTS = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of three parts, two small ones."""
    root = tmp_path / "slides"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "slide 1#.tar").write_bytes(os.urandom(2 * PART + 1000))
    (root / "a.txt").write_bytes(os.urandom(200_000))
    (root / "empty").write_bytes(b"")
    return root


@pytest.fixture(autouse=True)
def a_sound_relay(plane: ControlPlane) -> None:
    plane.s3_relay.drops = plane.s3_relay.damages = 0


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def unfinished(client: Client, name: str) -> list[str]:
    return [dataset.id for dataset in client.datasets.list(name=name) if dataset.state == "uploading"]


def test_files_large_and_small_come_back_as_they_were(client: Client, folder: Path, tmp_path: Path) -> None:
    seen: list[TransferProgress] = []
    dataset = client.datasets.upload(folder, name="parts", part_bytes=PART, progress=seen.append)
    assert content(client.datasets.download(dataset.id, tmp_path / "copy")) == content(folder)
    (upload,) = client.uploads.list(dataset.id)
    assert (upload.path, upload.state, upload.part_count) == ("sub/slide 1#.tar", "completed", PARTS)
    last = [s for s in seen if s.stage == "uploading"][-1]
    assert (last.done, last.files_done, last.files, last.resumed) == (last.total, 3, 3, 0)


def test_what_is_damaged_on_the_way_is_refused_and_sent_again(
    plane: ControlPlane, client: Client, folder: Path, tmp_path: Path
) -> None:
    plane.s3_relay.damages = 3
    dataset = client.datasets.upload(folder, name="damaged", part_bytes=PART, threads=1)
    assert plane.s3_relay.damages == 0
    assert content(client.datasets.download(dataset.id, tmp_path / "copy")) == content(folder)


def test_a_broken_connection_keeps_what_has_arrived(
    plane: ControlPlane, client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PATIENCE_S", (0.01,))
    client.datasets.upload(folder / "a.txt", name="broken")

    def break_down(progress: TransferProgress) -> None:
        if progress.stage == "uploading" and progress.file.startswith("sub/"):
            plane.s3_relay.drops = 1_000

    with pytest.raises(TransferFailed, match=r"slide 1#\.tar, part \d") as caught:
        client.datasets.upload(folder, name="broken", part_bytes=PART, progress=break_down, threads=1)
    (kept,) = unfinished(client, "broken")
    assert any(kept in note and "do the same again" in note for note in caught.value.__notes__)
    plane.s3_relay.drops = 0
    seen: list[TransferProgress] = []
    dataset = client.datasets.upload(folder, name="broken", part_bytes=PART, progress=seen.append)
    assert (dataset.id, dataset.state) == (kept, "ready")
    # the small file, and the part whose answers were lost
    assert seen[-1].resumed == 200_000 + PART


def test_giving_up_keeps_parts_but_not_of_a_file_that_changes(client: Client, folder: Path) -> None:
    def give_up(progress: TransferProgress) -> None:
        if progress.stage == "uploading" and progress.done > 200_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        client.datasets.upload(folder, name="stopped", part_bytes=PART, progress=give_up)
    (kept,) = unfinished(client, "stopped")
    assert kept in caught.value.__notes__[0]

    def change(progress: TransferProgress) -> None:
        if progress.stage == "uploading" and progress.file.startswith("sub/"):
            (folder / "sub" / "slide 1#.tar").write_bytes(b"other")

    with pytest.raises(FileChanged, match=r"slide 1#\.tar changed"):
        client.datasets.upload(folder, name="stopped", part_bytes=PART, progress=change)
    assert unfinished(client, "stopped") == [], "it was gone on with, and is no longer what was announced"
    assert client.datasets.upload(folder, name="stopped", part_bytes=PART).id != kept


def test_parts_by_hand(client: Client) -> None:
    made = client.datasets.register("by-hand", files=[{"path": "a", "size": 1, "sha256": "0" * 64}]).dataset
    upload = client.uploads.start(made.id, "b", size=3)
    assert client.uploads.get(made.id, upload.id) == upload and list(client.uploads.parts(upload)) == []
    client.uploads.abort(made.id, upload.id)
    assert list(client.uploads.list(made.id)) == []
    client.datasets.delete(made.id)
