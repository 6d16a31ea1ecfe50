"""What a child is given: its settings, and a folder of its own."""

import fcntl
import signal
import subprocess
from pathlib import Path
from typing import IO

import pytest

from services.core.settings import Settings
from services.worker.process import environment
from services.worker.workdir import work_folder


def test_jobs_see_the_settings_but_not_what_is_not_theirs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCOSS_BOOTSTRAP_ADMIN_KEY", "mk_admin")
    monkeypatch.setenv("MEDCOSS_DATABASE_URL", "postgresql://user:secret@db/x")
    monkeypatch.setenv("MEDCOSS_TRITON_MODEL_DIR", "/elsewhere")
    monkeypatch.setenv("MEDCOSS_EMBEDDED_DIR", "/family")
    found = environment(settings.model_copy(update={"heartbeat_s": 0.25}))
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    for name in ("MEDCOSS_BOOTSTRAP_ADMIN_KEY", "MEDCOSS_DATABASE_URL", "MEDCOSS_REDIS_URL"):
        assert name not in found
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MEDCOSS_TRITON_MODEL_DIR")
    read = Settings()
    assert (read.heartbeat_s, read.s3_bucket, read.threads) == (0.25, settings.s3_bucket, 1)
    assert read.s3_secret_key.get_secret_value() == settings.s3_secret_key.get_secret_value()
    assert read.triton_model_dir is None
    assert (read.oidc_roles, read.cors_origins) == (settings.oidc_roles, []), "tables and lists, too"
    assert found["MEDCOSS_EMBEDDED_DIR"] == "/family", "by which the platform finds its processes"


def test_work_folders_are_gone_afterwards_also_those_of_the_killed(tmp_path: Path) -> None:
    with work_folder(tmp_path, "job_1") as first:
        (first.path / "large").write_bytes(b"x")
        with work_folder(tmp_path, "job_1") as second:
            assert first.path != second.path
            assert first.path.exists(), "somebody works in it"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "job_2-dead").mkdir()
    (tmp_path / "job_2-dead.lock").touch()
    with work_folder(tmp_path, "job_3"):
        assert not (tmp_path / "job_2-dead").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker that looks for abandoned folders at this moment takes it for one."""
    flock, seen = fcntl.flock, []

    def remove_the_first(handle: IO[str], kind: int) -> None:
        if not seen:
            seen.append(handle.name)
            Path(handle.name).unlink()
        flock(handle, kind)

    monkeypatch.setattr(fcntl, "flock", remove_the_first)
    with work_folder(tmp_path, "job_1") as folder:
        assert seen == [f"{folder.path}.lock"]
        assert Path(seen[0]).exists(), "without it nobody would ever clear the folder of a worker that is killed"
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_process_that_outlives_its_supervisor_stays(tmp_path: Path) -> None:
    with work_folder(tmp_path, "job_1") as folder:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[folder.lock_fd])
        lock = folder.path.with_name(f"{folder.path.name}.lock")
        kept = lock.read_bytes()
        inode = lock.stat().st_ino
        # as after a kill: neither folder nor lock was cleared, the child still has the lock
        saved = lock.with_name("saved")
        saved.hardlink_to(lock)
    saved.rename(lock)
    folder.path.mkdir()
    assert (lock.read_bytes(), lock.stat().st_ino) == (kept, inode)
    with work_folder(tmp_path, "job_2"):
        assert folder.path.exists()
    child.send_signal(signal.SIGKILL)
    child.wait()
    with work_folder(tmp_path, "job_2"):
        assert not folder.path.exists()
