"""Memory that has run out is told from other kills."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from services.core.db import Database
from services.worker import process
from services.worker.offer import memory_bytes
from services.worker.oom import oom_kills
from services.worker.supervisor import Supervisor
from tests.worker.work import row, scripted


def test_the_counts_of_both_versions_of_control_groups_are_read(tmp_path: Path) -> None:
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    (root / "pod").mkdir(parents=True)
    (root / "memory" / "pod").mkdir(parents=True)
    own.write_text("0::/pod\n")
    assert oom_kills(root, own) is None
    (root / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert oom_kills(root, own) == 2, "a container sees its own group as the root"
    (root / "pod" / "memory.events").write_text("low 0\noom 3\noom_kill 5\noom_group_kill 1\n")
    assert oom_kills(root, own) == 5
    own.write_text("4:memory:/pod\n0::/\n")
    (root / "memory" / "pod" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 9\n")
    assert oom_kills(root, own) == 9
    assert oom_kills(root, tmp_path / "none") is None


def test_the_limits_of_both_versions_of_control_groups_are_offered(tmp_path: Path) -> None:
    two, one = limits = (tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes")
    total = memory_bytes(limits)
    assert total > 2**20, "the machine's where there is no container"
    one.write_text(f"{2**20}\n")
    assert memory_bytes(limits) == 2**20
    one.write_text(f"{2**63 - 4096}\n")
    assert memory_bytes(limits) == total, "version 1 without a limit"
    two.write_text(f"{2**19}\n")
    assert memory_bytes(limits) == 2**19
    two.write_text("max\n")
    assert memory_bytes(limits) == total


@pytest.mark.parametrize(("counts", "reason"), [(count(), "out_of_memory"), ((3 for _ in count()), "killed")])
def test_a_killed_child_is_out_of_memory_when_the_system_says_so(
    database: Database, supervisor: Supervisor, script: Callable[..., None], monkeypatch: pytest.MonkeyPatch,
    counts: object, reason: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(process, "oom_kills", lambda: next(counts))  # type: ignore[call-overload]
    script("print('a batch of 64', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)")
    job_id = scripted(database, max_attempts=1)
    supervisor.run_next()
    error = row(database, job_id).error
    assert error is not None and error["reason"] == reason
    assert error["log"] == ["debug: a batch of 64"] and error["advice"]


def test_checkpoints_are_told_as_they_are_written(
    database: Database, supervisor: Supervisor, script: Callable[..., None]
) -> None:
    script("send('checkpoint', step=30)\nsend('error', reason='code', detail='it broke')\nsys.exit(1)")
    job_id = scripted(database)
    supervisor.run_next()
    job = row(database, job_id)
    assert (job.state, job.checkpoint_step) == ("queued", 30)
    assert job.error is not None and "from the checkpoint of step 30" in job.error["advice"][-1]
