"""`medcoss datasets`: data on standard output, the rest on standard error, nothing half done."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medcoss.client import Client
from tests.cli.conftest import Done, start
from tests.medcoss.client.control_plane import MAX_FILE_BYTES, VIEWER_KEY, ControlPlane


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "scans"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.png").write_bytes(b"first")
    (root / "b.png").write_bytes(b"second")
    return root


def test_from_upload_to_delete(medcoss: Callable[..., Done], folder: Path, tmp_path: Path) -> None:
    uploaded = medcoss("datasets", "upload", folder, "--name", "life", "--modality", "xray", "--json")
    dataset = uploaded.json
    assert "uploaded 2 files" in uploaded.err
    assert medcoss("datasets", "show", dataset["id"], "--json").json == dataset
    assert dataset["id"] in [d["id"] for d in medcoss("datasets", "list", "--modality", "xray", "--json").json]
    files = medcoss("datasets", "files", dataset["id"], "--json").json
    assert [file["path"] for file in files] == ["b.png", "sub/a.png"]
    target = tmp_path / "copy"
    assert medcoss("datasets", "download", dataset["id"], target, "--json").json == {"folder": str(target)}
    assert (target / "sub" / "a.png").read_bytes() == b"first"
    assert medcoss("datasets", "delete", dataset["id"]).code == 0
    gone = medcoss("datasets", "show", dataset["id"])
    assert (gone.code, gone.out) == (1, "")
    assert dataset["id"] in gone.err


def test_the_id_alone_is_printed_for_scripts(medcoss: Callable[..., Done], folder: Path, client: Client) -> None:
    done = medcoss("datasets", "upload", folder, "--name", "script")
    assert client.datasets.get(done.out.strip()).name == "script"


def test_problems_are_sentences(medcoss: Callable[..., Done], folder: Path, tmp_path: Path) -> None:
    wrong = medcoss("datasets", "upload", folder, "--name", "x", "--modality", "xrey")
    assert (wrong.code, wrong.out) == (1, "")
    assert "error: Invalid input (422)" in wrong.err
    assert "/modality: unknown modality 'xrey'" in wrong.err
    assert "request req_" in wrong.err

    (tmp_path / "nothing").mkdir()
    assert "is empty" in medcoss("datasets", "upload", tmp_path / "nothing", "--name", "x").err
    missing = medcoss("datasets", "upload", tmp_path / "missing", "--name", "x")
    assert (missing.code, "missing does not exist" in missing.err) == (1, True)

    (folder / "large.nii").open("wb").truncate(MAX_FILE_BYTES + 1)
    large = medcoss("datasets", "upload", folder, "--name", "x")
    assert (large.code, "large.nii has 64 MiB" in large.err) == (1, True)

    forbidden = medcoss("datasets", "upload", folder, "--name", "x", "--key", VIEWER_KEY)
    assert "needs operator" in forbidden.err
    for done in (wrong, missing, large, forbidden):
        assert "Traceback" not in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_upload_leaves_nothing_behind(
    plane: ControlPlane, client: Client, folder: Path, number: signal.Signals
) -> None:
    (folder / "big.bin").write_bytes(bytes(20_000_000))
    plane.s3_relay.open.clear()
    before = plane.s3_relay.connections
    process = start("datasets", "upload", folder, "--name", "stopped")
    try:
        deadline = time.monotonic() + 20
        while plane.s3_relay.connections == before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [d.state for d in client.datasets.list() if d.name == "stopped"] == ["uploading"]
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        plane.s3_relay.open.set()
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "stopped" not in [d.name for d in client.datasets.list()]


def test_a_killed_upload_goes_on_with_what_is_there(
    plane: ControlPlane, medcoss: Callable[..., Done], client: Client, folder: Path, tmp_path: Path
) -> None:
    part, relay = 5 * 2**20, plane.s3_relay
    content = os.urandom(4 * part + 100)
    (folder / "slide.tar").write_bytes(content)
    command = ("datasets", "upload", folder, "--name", "killed", "--part-mib", 5, "--threads", 1)
    relay.limit = relay.carried + 2 * part + part // 2
    process = start(*command)
    try:
        deadline = time.monotonic() + 60
        while relay.carried <= relay.limit and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() is None, "it tries again and again"
    finally:
        process.kill()
        process.communicate(timeout=20)
        relay.limit = None
    (dataset,) = client.datasets.list(name="killed")
    (upload,) = client.uploads.list(dataset.id)
    assert (dataset.state, upload.state) == ("uploading", "open")
    assert [stored.number for stored in client.uploads.parts(upload)] == [1, 2]

    (listed,) = medcoss("datasets", "uploads", dataset.id, "--json").json
    assert (listed["id"], listed["path"], listed["part_count"]) == (upload.id, "slide.tar", 5)

    before = relay.carried
    done = medcoss(*command)
    assert (done.code, done.out.strip()) == (0, dataset.id)
    assert 2 * part < relay.carried - before < 2 * part + part // 2, "only the parts that were missing"
    copy = client.datasets.download(dataset.id, tmp_path / "copy")
    assert (copy / "slide.tar").read_bytes() == content
    assert "completed" in medcoss("datasets", "abort", dataset.id, upload.id).err
    assert (copy / "b.png").read_bytes() == b"second"


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_and_keep_identifiers_whole(
    medcoss: Callable[..., Done], raw: str, environment: pytest.MonkeyPatch, columns: int
) -> None:
    environment.setenv("COLUMNS", str(columns))
    listed = medcoss("datasets", "list").out
    assert raw in listed
    assert max(len(line) for line in listed.splitlines()) <= columns
    assert ("created" in listed) == (columns == 120)
