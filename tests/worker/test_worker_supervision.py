"""The supervisor with real processes that behave badly."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select, text

from services.core.db import Database
from services.core.jobs import request_cancel
from services.core.scheduling import Ring
from services.core.scope import EVERYTHING
from services.core.settings import Settings
from services.core.sweep import sweep
from services.core.tables import Dataset, DatasetFile, JobArtifact, JobEvent, Leftover
from services.core.tables.base import now
from services.worker.process import without_folders
from services.worker.supervisor import Supervisor
from tests.core.databases import engines
from tests.worker.scripts import RESULT, beginning_with
from tests.worker.work import child_of, events, folder_of, logs, row, scripted, until, working

Script = Callable[..., None]


def cancel(database: Database, job_id: str) -> None:
    with database.session() as session:
        request_cancel(session, EVERYTHING, job_id)


def made(database: Database) -> list[Dataset]:
    with database.reading() as session:
        return list(session.scalars(select(Dataset).where(Dataset.role != "raw")))


@engines
def test_what_a_job_makes_is_registered(supervisor: Supervisor, script: Script) -> None:
    script(
        """
for done in range(1, 5):
    send("progress", done=done, total=8, message=f"step {done}")
    time.sleep(0.15)
send("log", level="info", message="all is well")
send("log", level="unheard-of", message="all is odd")
send("metrics", step=4, values={"loss": 0.5})
send("event", event="stopped_learning", modality="xray", values={"step": 4})
send("artifact", name="a.png", key=f"jobs/{job['job_id']}/artifacts/000001/a.png", content_type="image/png", size=3)
"""
        + RESULT
    )
    job_id = scripted(supervisor.database)
    assert supervisor.run_next() == job_id
    job = row(supervisor.database, job_id)
    assert (job.state, job.attempt, job.done, job.total) == ("succeeded", 1, 8, 8)
    (dataset,) = made(supervisor.database)
    assert job.result == {"outputs": {"dataset": dataset.id}, "metrics": {"samples": 1.0}}
    assert (dataset.job_id, dataset.name, dataset.file_count) == (job_id, "made", 1)
    assert events(supervisor.database, job_id) == ["queued", "running", "stopped_learning", "succeeded"]
    assert {"all is well", "all is odd"} <= set(logs(supervisor.database, job_id))
    with supervisor.database.reading() as session:
        assert session.scalars(select(JobArtifact.name)).all() == ["a.png"]
        left = set(session.scalars(select(Leftover.prefix)))
        assert left == {f"jobs/{job_id}/artifacts/", f"jobs/{job_id}/checkpoints/"}, "what it has made is kept"
    assert supervisor.run_next() is None, "nothing is left to do"


def test_progress_tells_the_time_to_go(supervisor: Supervisor, script: Script, tmp_path: Path) -> None:
    script(f"""
for done in range(1, 11):
    send("progress", done=done, total=110, message="training")
    time.sleep(0.1)
wait_for({str(tmp_path / "go")!r})
""")
    job_id = scripted(supervisor.database)
    with working(supervisor):
        until(lambda: row(supervisor.database, job_id).done == 10)
        eta = row(supervisor.database, job_id).eta_s
        (tmp_path / "go").touch()
    assert eta is not None and 5 < eta < 60, "a hundred steps of a tenth of a second"


ENDS: dict[str, tuple[str, str, str]] = {
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "killed", "ended by SIGKILL"),
    "crashed": ("os.kill(os.getpid(), signal.SIGSEGV)", "killed", "ended by SIGSEGV"),
    "exit code": ("sys.exit(3)", "code", "exit code 3 and no result"),
    "no result": ("pass", "code", "exit code 0 and no result"),
    "cut off": ("pipe.write('{\"type\": \"res'); pipe.flush(); os._exit(1)", "code", "exit code 1"),
    "memory": ("send('error', reason='out_of_memory', detail='it ran out'); sys.exit(1)", "out_of_memory", "ran out"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_bad_ends_are_tried_again(supervisor: Supervisor, script: Script, name: str) -> None:
    body, reason, said = ENDS[name]
    script("send('log', level='info', message='begun')\n" + body)
    job_id = scripted(supervisor.database, max_attempts=2)
    for attempt, state in ((1, "queued"), (2, "failed")):
        supervisor.run_next()
        job = row(supervisor.database, job_id)
        assert (job.state, job.attempt) == (state, attempt)
        assert job.error is not None and job.error["reason"] == reason
        assert said in job.error["detail"]
    assert logs(supervisor.database, job_id).count("begun") == 2, "what it had said before is kept"
    assert made(supervisor.database) == []


def test_a_report_that_is_cut_off_is_noted_and_the_rest_counts(supervisor: Supervisor, script: Script) -> None:
    script('pipe.write(\'{"type": "metr\\n[1]\\n\\xff\\n{"type":"metrics","step":-1,"values":{}}\\n\')\n' + RESULT)
    job_id = scripted(supervisor.database)
    supervisor.run_next()
    assert row(supervisor.database, job_id).state == "succeeded"
    assert logs(supervisor.database, job_id).count("a report of the job could not be read") == 4


@engines
def test_anything_may_be_printed(supervisor: Supervisor, script: Script) -> None:
    script(
        r"""
os.write(1, b"nul \0 byte\n\xff\xfe no utf-8\n" + b"x" * 20000 + b"\n\n")
os.write(2, b"  File \"/srv/secret/place/loop.py\", line 3\n")
send("log", level="info", message="zero \0 byte")
send("progress", done=1, total=2, message="a\0b")
"""
        + RESULT
    )
    job_id = scripted(supervisor.database)
    supervisor.run_next()
    assert row(supervisor.database, job_id).state == "succeeded"
    lines = logs(supervisor.database, job_id)
    assert "nul  byte" in lines and "zero  byte" in lines
    assert max(map(len, lines)) == 8000
    assert '  File "loop.py", line 3' in lines


def test_folders_are_cut_from_paths() -> None:
    assert without_folders("see /usr/lib/python3/x.py:3 and /a/b-c/d+e.so") == "see x.py:3 and d+e.so"
    assert without_folders("loss 1/2, 3 / 4, a/b.png, http://h/x") == "loss 1/2, 3 / 4, a/b.png, http://h/x"


def test_a_job_that_closes_its_pipe_is_still_watched(supervisor: Supervisor, script: Script, tmp_path: Path) -> None:
    script(f"pipe.close(); os.close(1); os.close(2)\nwait_for({str(tmp_path / 'go')!r})")
    job_id = scripted(supervisor.database)
    with working(supervisor):
        until(lambda: child_of(job_id))
        first = until(lambda: row(supervisor.database, job_id).lease_until)
        assert until(lambda: (lease := row(supervisor.database, job_id).lease_until) and lease > first)
        (tmp_path / "go").touch()
    assert "no result" in str(row(supervisor.database, job_id).error)


@pytest.mark.parametrize("own_session", [False, True])
def test_what_a_job_has_started_does_not_hold_its_end_up(
    supervisor: Supervisor, script: Script, own_session: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.worker.process.LAST_WORDS_S", 0.5)
    script(
        f"""
other = subprocess.Popen(["sleep", "60"], pass_fds=[pipe.fileno()], start_new_session={own_session})
send("log", level="info", message=f"pid {{other.pid}}")
"""
        + RESULT
    )
    job_id = scripted(supervisor.database)
    began = time.monotonic()
    supervisor.run_next()
    assert time.monotonic() - began < 10
    assert row(supervisor.database, job_id).state == "succeeded"
    (pid,) = (int(line.removeprefix("pid ")) for line in logs(supervisor.database, job_id) if line.startswith("pid"))
    if own_session:
        psutil.Process(pid).kill()
    else:
        until(lambda: not psutil.pid_exists(pid), 10, "the end of the job's own process")


def test_a_job_that_never_reads_does_not_block_its_worker(
    supervisor: Supervisor, script: Script, shutting_down: threading.Event
) -> None:
    script("import time; time.sleep(60)", prelude="")
    job_id = scripted(supervisor.database)
    with supervisor.database.session() as session:
        session.add_all(
            DatasetFile(dataset_id="ds_raw0000000", path=f"{'x' * 100}{n}", size=1, sha256="0" * 64)
            for n in range(2000)
        )
    with working(supervisor):
        until(lambda: child_of(job_id))
        first = row(supervisor.database, job_id).lease_until
        assert first is not None
        assert until(lambda: (lease := row(supervisor.database, job_id).lease_until) and lease > first)
        shutting_down.set()
    assert row(supervisor.database, job_id).state == "queued"


STOPS = {
    "listens": "signal.signal(signal.SIGTERM, lambda *_: os._exit(75))",
    "not yet listening": "pass",
    "late": "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), os._exit(75)))",
}


@pytest.mark.parametrize("how", STOPS)
@pytest.mark.parametrize("order", ["cancel", "pause", "shutdown"])
def test_orders_to_stop(
    supervisor: Supervisor, script: Script, shutting_down: threading.Event, how: str, order: str
) -> None:
    script(f"{STOPS[how]}\nsend('log', level='info', message='ready')\ntime.sleep(60)")
    job_id = scripted(supervisor.database, max_attempts=1)
    with working(supervisor):
        until(lambda: "ready" in logs(supervisor.database, job_id))
        began = time.monotonic()
        if order == "shutdown":
            shutting_down.set()
        else:
            with supervisor.database.session() as session:
                session.execute(text("UPDATE jobs SET stop_order = :order"), {"order": order})
    assert time.monotonic() - began < 5
    job = row(supervisor.database, job_id)
    assert job.state == {"cancel": "cancelled", "pause": "paused", "shutdown": "queued"}[order]
    assert job.attempt == (1 if order == "cancel" else 0), "the attempt is not counted when the job goes on later"
    # a typed reason for whoever cancelled; what goes on later has none
    assert (job.error or {}).get("reason") == ("cancelled" if order == "cancel" else None)
    assert child_of(job_id) is None


def test_an_order_that_comes_before_the_process_can_listen(supervisor: Supervisor, database: Database) -> None:
    """A real child, told to stop while Python starts: SIGTERM ends it, and that is no failure."""
    job_id = scripted(database, max_attempts=1)
    with working(supervisor):
        until(lambda: row(database, job_id).state == "running")
        cancel(database, job_id)
    assert row(database, job_id).state == "cancelled"
    with database.reading() as session:
        failed = select(JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.type == "attempt_failed")
        reasons = [data["problem"]["reason"] for data in session.scalars(failed)]
    # on a busy machine the order comes when the job, whose dataset has no files, has failed by itself
    assert reasons in ([], ["data"]), "the death by SIGTERM is none"


def test_who_does_not_stop_is_killed_when_its_grace_is_over(quick: Settings, script: Script) -> None:
    impatient = Supervisor(quick.model_copy(update={"stop_grace_s": 0.5}), threading.Event())
    script("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsend('log', level='info', message='ready')\ntime.sleep(60)")
    job_id = scripted(impatient.database)
    with working(impatient):
        until(lambda: "ready" in logs(impatient.database, job_id))
        cancel(impatient.database, job_id)
    assert row(impatient.database, job_id).state == "cancelled"
    assert child_of(job_id) is None
    impatient.database.engine.dispose()


def test_a_stop_that_the_system_has_ordered_is_no_failure(supervisor: Supervisor, script: Script) -> None:
    script("sys.exit(75)")
    job_id = scripted(supervisor.database, max_attempts=1)
    supervisor.run_next()
    job = row(supervisor.database, job_id)
    assert (job.state, job.attempt, job.error) == ("queued", 0, None)


def test_a_result_counts_even_if_the_process_was_told_to_stop(supervisor: Supervisor, script: Script) -> None:
    script(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsend('log', level='info', message='ready')\n"
        + "while not os.path.exists(os.environ['TMPDIR'] + '/go'): time.sleep(0.01)\n"
        + RESULT
    )
    job_id = scripted(supervisor.database)
    with working(supervisor):
        until(lambda: "ready" in logs(supervisor.database, job_id))
        cancel(supervisor.database, job_id)
        child = child_of(job_id)
        assert child is not None
        folder = folder_of(child)
        assert folder is not None
        (folder / "go").touch()
    assert row(supervisor.database, job_id).state == "succeeded"


@engines
def test_a_lost_lease_ends_the_process_and_publishes_nothing(
    supervisor: Supervisor, script: Script, database: Database
) -> None:
    """The successor has begun; what the first says afterwards is not heard."""
    script("send('log', level='info', message='ready')\ntime.sleep(60)\n" + RESULT)
    job_id = scripted(database)
    with working(supervisor):
        until(lambda: "ready" in logs(database, job_id))
        child = child_of(job_id)
        assert child is not None
        with database.session() as session:
            # a worker that was cut off: its lease is over and the sweeper comes by
            session.execute(text("UPDATE jobs SET lease_until = :past"), {"past": now().replace(year=2020)})
            assert sweep(session, now()) == [Ring(job_id)]
    assert not child.is_running()
    assert made(database) == []
    job = row(database, job_id)
    assert (job.state, job.fence) == ("queued", 1)
    assert events(database, job_id) == ["queued", "running", "attempt_failed", "queued"]
    script(RESULT)
    supervisor.run_next()
    assert (row(database, job_id).state, row(database, job_id).attempt) == ("succeeded", 2)
    assert len(made(database)) == 1


@pytest.mark.parametrize("missing", ["program", "folder"])
def test_a_worker_that_cannot_start_a_process_says_so(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "program":
        monkeypatch.setattr("services.worker.process.BEGIN", beginning_with(["/nonexistent/python"]))
    else:
        supervisor.settings.cache_dir.mkdir()
        (supervisor.settings.cache_dir / "work").write_text("no folder")
    job_id = scripted(supervisor.database)
    supervisor.run_next()
    job = row(supervisor.database, job_id)
    assert job.state == "queued", "not left running until its lease is over"
    assert job.error is not None and "the worker could not run the job" in job.error["detail"]
