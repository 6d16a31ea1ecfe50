"""What a child tells of its errors, and what becomes of it when its supervisor is gone."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from minio.error import ServerError
from urllib3.exceptions import MaxRetryError

from medcoss.run import BadInput
from services.core.cache import NoRoom
from services.core.db import Database
from services.core.settings import Settings
from services.core.storage import DamagedFile
from services.worker.child import error_report, place_of
from services.worker.context import WorkerRun
from services.worker.errors import TritonRefused
from services.worker.process import environment
from services.worker.protocol import ChildJob, LogReport, ReportWriter
from tests.worker.scripts import PRELUDE
from tests.worker.work import logs, row, scripted, until

SUPERVISE = """
import sys, threading
from services.core.settings import Settings
from services.worker import process
from services.worker.supervisor import Supervisor
from tests.worker.scripts import beginning_with
process.BEGIN = beginning_with([sys.executable, "-c", sys.argv[1]])
Supervisor(Settings(), threading.Event()).run_next()
"""


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


ERRORS: dict[str, tuple[Exception, str, str]] = {
    "input": (BadInput("this is text", "a.png"), "data", "this is text"),
    "memory": (MemoryError(), "out_of_memory", "smaller batch_size"),
    "GPU memory": (OutOfMemoryError("CUDA out of memory"), "out_of_memory", "smaller batch_size"),
    "damaged": (DamagedFile("a.png: the stored file is missing"), "storage", "a.png"),
    "cache": (NoRoom("ds_1 has 5 bytes"), "storage", "ds_1"),
    "store away": (ServerError("x", 502), "storage", "object store does not answer"),
    "no connection": (MaxRetryError(None, "/", None), "storage", "object store does not answer"),  # type: ignore[arg-type]
    "disk": (OSError(errno.ENOSPC, "No space left", "/srv/x"), "storage", "disk is full"),
    "triton": (TritonRefused("Triton cannot load the model: /srv/models/m/1/model.onnx"), "serving", "model.onnx"),
    "bug": (KeyError("/srv/secret"), "code", "KeyError"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_to_do_and_show_no_inside(name: str) -> None:
    error, reason, said = ERRORS[name]
    report = error_report(error)
    assert report.reason == reason
    assert said in report.detail
    assert "/srv" not in report.detail and "Traceback" not in report.detail
    assert report.where == ("a.png" if reason == "data" else "")


def test_the_log_of_the_job_says_where_it_broke_without_paths() -> None:
    try:
        Path("/srv/data/none.npz").read_bytes()
    except OSError as error:
        line = place_of(error)
    assert line.startswith("FileNotFoundError at pathlib.py:")
    assert "none.npz" in line and "/srv" not in line


def test_without_a_supervisor_the_work_is_to_stop(settings: Settings) -> None:
    read_end, write_end = os.pipe()
    writer = ReportWriter(write_end)
    job = ChildJob(job_id="job_1", kind="pretrain", name="n", spec={}, attempt=1, fence=1, inputs={}, work="")
    run = WorkerRun(job, settings, writer, threading.Event())
    run.log("begun")
    assert not run.should_stop()
    os.close(read_end)
    run.log("nobody hears it")
    writer.send(LogReport(level="info", message="nor this"))
    assert run.should_stop(), "so that it writes a checkpoint and ends"


def test_numbers_that_are_not_finite_are_said_in_words(settings: Settings) -> None:
    read_end, write_end = os.pipe()
    job = ChildJob(job_id="job_1", kind="pretrain", name="n", spec={}, attempt=1, fence=1, inputs={}, work="")
    run = WorkerRun(job, settings, ReportWriter(write_end), threading.Event())
    run.metrics(3, {"loss": float("nan"), "lr": 0.5})
    lines = os.read(read_end, 65536).decode().splitlines()
    os.close(read_end)
    assert '"values": {"lr": 0.5}' in lines[0]
    assert "loss is not finite at step 3" in lines[1]


def test_a_supervisor_that_is_killed_takes_its_job_along(quick: Settings, database: Database, tmp_path: Path) -> None:
    """The child is told, may write its checkpoint, and its folder is cleared by the next worker."""
    child = (
        "from services.core.parent import end_with_parent\nend_with_parent()\n"
        + PRELUDE
        + f"""
def stop(*_):
    open({str(tmp_path / "told")!r}, "w").write(os.environ["TMPDIR"] + str(os.path.isdir(os.environ["TMPDIR"])))
    os._exit(75)
signal.signal(signal.SIGTERM, stop)
send("log", level="info", message=f"pid {{os.getpid()}}")
time.sleep(60)
"""
    )
    job_id = scripted(database)
    worker = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, child],
        env=environment(quick) | {"MEDCOSS_DATABASE_URL": quick.database_url},
    )
    (line,) = until(lambda: [m for m in logs(database, job_id) if m.startswith("pid")])
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    until(lambda: not psutil.pid_exists(int(line.removeprefix("pid "))), 10, "the end of the child")
    assert (tmp_path / "told").read_text().endswith("True"), "its folder was still there"
    assert row(database, job_id).state == "running", "its lease is not over yet"


def test_a_job_that_waits_for_ever_ends_when_its_supervisor_was_killed(
    quick: Settings, database: Database, tmp_path: Path
) -> None:
    """As one of several processes that train together may, in a library that looks at no signal."""
    held = (
        "import fcntl, threading\nfrom services.core.parent import end_for_want_of_parent, end_with_parent\n"
        "end_with_parent()\nasked = threading.Event()\nend_for_want_of_parent(asked, 0.2)\n"
        "signal.signal(signal.SIGTERM, lambda *_: asked.set())\n"
    )
    child = (
        PRELUDE
        + held
        + f"""
send("log", level="info", message=f"pid {{os.getpid()}}")
fcntl.flock(open({str(tmp_path / "taken")!r}, "w"), fcntl.LOCK_EX)
"""
    )
    job_id = scripted(database)
    with (tmp_path / "taken").open("w") as taken:
        fcntl.flock(taken, fcntl.LOCK_EX)
        worker = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, child],
            env=environment(quick) | {"MEDCOSS_DATABASE_URL": quick.database_url},
        )
        (line,) = until(lambda: [m for m in logs(database, job_id) if m.startswith("pid")])
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        until(lambda: not psutil.pid_exists(int(line.removeprefix("pid "))), 10, "the end of the child")
