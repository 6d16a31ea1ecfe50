"""Uploads arrive whole or leave nothing behind."""

import hashlib
import os
from datetime import timedelta
from pathlib import Path

import pytest

from medcoss.client import ApiError, Client, DamagedFile, FileChanged, TransferFailed, TransferProgress
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT, Dataset
from services.core.tables.base import now
from tests.medcoss.client.control_plane import MAX_FILE_BYTES, VIEWER_KEY, ControlPlane


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of several sizes, one empty, one name that has to be escaped, and hidden ones."""
    root = tmp_path / "scans"
    (root / "train" / "a class").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("hidden")
    (root / ".DS_Store").write_text("hidden")
    (root / "train" / "a class" / "ä+1 %20.png").write_bytes(b"one")
    (root / "big.bin").write_bytes(os.urandom(3_000_000))
    (root / "empty.txt").write_bytes(b"")
    return root


def visible(folder: Path) -> dict[str, bytes]:
    paths = [p for p in folder.rglob("*") if p.is_file()]
    names = {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}
    return {name: data for name, data in names.items() if not any(part.startswith(".") for part in Path(name).parts)}


def names(client: Client) -> list[str]:
    return [dataset.name for dataset in client.datasets.list()]


def test_a_folder_comes_back_as_it_was(client: Client, folder: Path, tmp_path: Path) -> None:
    seen: list[TransferProgress] = []
    dataset = client.datasets.upload(
        folder, name="whole", modality="xray", description="three files", progress=seen.append
    )
    assert (dataset.state, dataset.role, dataset.file_count) == ("ready", "raw", 3)
    assert client.datasets.get(dataset.id) == dataset
    total = sum(len(data) for data in visible(folder).values())
    for stage in ("hashing", "uploading"):
        assert [s.done for s in seen if s.stage == stage][-1] == total == seen[-1].total

    copy = client.datasets.download(dataset.id, tmp_path / "copy")
    assert visible(copy) == visible(folder)
    recorded = {file.path: file.sha256 for file in client.datasets.files(dataset.id)}
    assert recorded == {name: hashlib.sha256(data).hexdigest() for name, data in visible(folder).items()}


def test_one_file_is_a_dataset(client: Client, folder: Path) -> None:
    dataset = client.datasets.upload(folder / "big.bin", name="single")
    assert [file.path for file in client.datasets.files(dataset.id)] == ["big.bin"]


def test_links_are_followed_but_not_forever(client: Client, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "scans").symlink_to(folder)
    (tmp_path / "linked" / "again").symlink_to(tmp_path / "linked")
    (tmp_path / "linked" / "file.bin").symlink_to(folder / "big.bin")
    dataset = client.datasets.upload(tmp_path / "linked", name="linked")
    assert {file.path for file in client.datasets.files(dataset.id)} >= {"file.bin", "scans/big.bin"}
    assert dataset.file_count == 4


@pytest.mark.parametrize("content", [[], [".hidden"]])
def test_an_empty_folder_is_refused(client: Client, tmp_path: Path, content: list[str]) -> None:
    for name in content:
        (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match="empty"):
        client.datasets.upload(tmp_path, name="nothing")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        client.datasets.upload(tmp_path / "missing", name="nothing")
    assert "nothing" not in names(client)


def test_what_is_wrong_is_said_before_anything_is_read(client: Client, folder: Path) -> None:
    seen: list[TransferProgress] = []
    with pytest.raises(ApiError, match="xray") as caught:
        client.datasets.upload(folder, name="not a name", modality="xrey", progress=seen.append)
    assert caught.value.status == 422
    assert sorted(e.pointer for e in caught.value.errors) == ["/modality", "/name"]
    assert not seen


def test_a_large_file_is_refused_before_anything_is_read(client: Client, tmp_path: Path) -> None:
    seen: list[TransferProgress] = []
    (tmp_path / "small.nii").write_bytes(b"x")
    with (tmp_path / "scan.nii").open("wb") as handle:
        handle.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ApiError, match=r"scan\.nii has 64 MiB; the limit") as caught:
        client.datasets.upload(tmp_path, name="huge", progress=seen.append)
    assert caught.value.status == 413
    assert [e.pointer for e in caught.value.errors] == ["/files/0/size"]
    assert not seen
    assert "huge" not in names(client)


def test_a_viewer_may_not_upload(plane: ControlPlane, folder: Path) -> None:
    with Client(plane.url, VIEWER_KEY) as viewer, pytest.raises(ApiError, match="operator") as caught:
        viewer.datasets.upload(folder, name="forbidden")
    assert caught.value.status == 403


def test_lost_connections_to_the_object_store_are_tried_again(
    plane: ControlPlane, client: Client, folder: Path, tmp_path: Path
) -> None:
    plane.s3_relay.drops = 2
    before = plane.s3_relay.dropped
    seen: list[TransferProgress] = []
    dataset = client.datasets.upload(folder, name="flaky", progress=seen.append)
    assert plane.s3_relay.dropped == before + 2
    assert seen[-1].done == seen[-1].total
    plane.s3_relay.drops = 1
    assert visible(client.datasets.download(dataset.id, tmp_path / "copy")) == visible(folder)


def test_a_file_that_changes_leaves_nothing_behind(client: Client, folder: Path) -> None:
    def change(progress: TransferProgress) -> None:
        if progress.stage == "uploading" and progress.file == "big.bin":
            (folder / "big.bin").write_bytes(b"other")

    with pytest.raises(FileChanged, match=r"big\.bin changed"):
        client.datasets.upload(folder, name="changing", progress=change)
    assert "changing" not in names(client)


@pytest.mark.parametrize("reason", [KeyboardInterrupt, RuntimeError])
def test_giving_up_leaves_nothing_behind(client: Client, folder: Path, reason: type[BaseException]) -> None:
    def give_up(progress: TransferProgress) -> None:
        if progress.stage == "uploading":
            raise reason

    with pytest.raises(reason):
        client.datasets.upload(folder, name="given-up", progress=give_up)
    assert "given-up" not in names(client)


def test_an_incomplete_dataset_names_what_is_missing(client: Client) -> None:
    registered = client.datasets.register("gap", files=[{"path": "a.png", "size": 1, "sha256": "0" * 64}])
    assert [upload.path for upload in registered.uploads] == ["a.png"]
    with pytest.raises(ApiError, match=r"a\.png has not arrived") as caught:
        client.datasets.complete(registered.dataset.id)
    assert caught.value.status == 409
    client.datasets.delete(registered.dataset.id)
    with pytest.raises(ApiError, match=registered.dataset.id) as gone:
        client.datasets.get(registered.dataset.id)
    assert gone.value.status == 404


def test_damage_in_the_store_is_seen(client: Client, plane: ControlPlane, folder: Path, tmp_path: Path) -> None:
    dataset = client.datasets.upload(folder, name="damaged")
    ObjectStore(plane.settings).put_bytes(f"datasets/{dataset.id}/raw/big.bin", b"x" * 3_000_000)
    with pytest.raises(DamagedFile, match=r"big\.bin"):
        client.datasets.download(dataset.id, tmp_path / "copy")
    assert not list((tmp_path / "copy").rglob("*.part"))
    ObjectStore(plane.settings).remove_prefix(f"datasets/{dataset.id}/raw/")
    with pytest.raises(TransferFailed, match="404"):
        client.datasets.download(dataset.id, tmp_path / "copy2")


def test_a_second_download_fetches_only_what_is_missing(client: Client, folder: Path, tmp_path: Path) -> None:
    dataset = client.datasets.upload(folder, name="twice")
    copy = client.datasets.download(dataset.id, tmp_path / "copy")
    kept = (copy / "big.bin").stat().st_ino
    (copy / "empty.txt").unlink()
    client.datasets.download(dataset.id, copy)
    assert (copy / "big.bin").stat().st_ino == kept
    assert visible(copy) == visible(folder)


def test_lists_go_over_all_pages_and_filter(client: Client, plane: ControlPlane) -> None:
    made = [f"ds_{number:021x}" for number in range(203)]
    with plane.database.session() as session:
        for number, name in enumerate(made):
            session.add(
                Dataset(
                    id=name, name="page", description="", role="raw", state="ready", modality="ct", prefix=name,
                    file_count=0, total_bytes=0, parents=[], created_at=now() + timedelta(seconds=number),
                    project_id=DEFAULT_PROJECT,
                )
            )  # fmt: skip
    assert [dataset.id for dataset in client.datasets.list(modality="ct")] == made[::-1]
    assert next(client.datasets.list(modality="ct")).id == made[-1]
    assert not list(client.datasets.list(role="buffer"))
