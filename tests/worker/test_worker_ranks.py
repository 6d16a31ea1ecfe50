"""Jobs of several processes, one a GPU: they get GPUs of their own, train as the library does, and end together.

Two ranks on CPUs over gloo stand for two on GPUs: the workers here are told that they have some.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select, text

from medcoss.data.shards import ShardReader
from medcoss.run import sha256_file
from services.core import jobs, registry
from services.core.db import Database
from services.core.scope import EVERYTHING
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.sweep import sweep
from services.core.tables import DEFAULT_PROJECT, JobEvent, Model, ModelFile
from services.core.tables.base import now
from services.worker.supervisor import Supervisor
from tests.medcoss.training.small import xrays
from tests.worker.work import children_of, logs, metrics, row, scripted, submitted, until, working

Script = Callable[..., None]
REPOSITORY = Path(__file__).resolve().parents[2]
DATASET = "ds_00000000"
STAGE = {"dataset": DATASET, "size": "tiny", "epochs": 1000, "max_steps": 24, "batch_size": 4, "base_lr": 1e-2,
         "warmup_epochs": 1, "checkpoint_every": 6, "log_every": 1, "reconstructions": 0}  # fmt: skip
# the same stage by the library alone, on two ranks that have been forked
TRAIN = """
import sys
from pathlib import Path
from medcoss.run import LocalRun
from medcoss.specs import PretrainSpec
from medcoss.training.pretrain import pretrain
from tests.medcoss.training.forked import as_ranks
spec, data, out = PretrainSpec.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
ranks = as_ranks(2, lambda _: pretrain(spec, data, None, [], out / "made" / "model", LocalRun(out)))
sys.exit(any([rank.end() for rank in ranks]))
"""


@pytest.fixture
def four_gpus(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """A worker that has four GPUs, as far as it knows."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5,6,7")
    made = Supervisor(quick, threading.Event())
    yield made
    made.database.engine.dispose()


@pytest.fixture
def two_gpus(four_gpus: Supervisor, quick: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """A worker whose children part from each other sooner."""
    monkeypatch.setattr("services.worker.team.PARTING_S", 0.3)
    made = Supervisor(quick.model_copy(update={"worker_gpus": 2}), threading.Event())
    yield made
    made.database.engine.dispose()


def is_over(pid: int) -> bool:
    """True when a process has ended, whether or not it was asked how."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def training(database: Database, gpus: int = 2, **options: Any) -> str:
    """A training that is a script."""
    spec = {"dataset": "ds_raw0000000", "max_steps": 1}
    return scripted(database, kind="pretrain", spec=spec, gpus=gpus, **options)


def given(database: Database, job_id: str) -> list[str] | None:
    """The GPUs that the job's event `running` names."""
    with database.reading() as session:
        query = select(JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.type == "running")
        return session.scalars(query).one().get("gpus")


def test_jobs_side_by_side_get_gpus_of_their_own(four_gpus: Supervisor, script: Script, tmp_path: Path) -> None:
    script(f"""
send("log", level="info", message=os.environ.get("RANK", "alone") + " sees " + os.environ["CUDA_VISIBLE_DEVICES"])
wait_for({str(tmp_path / "go")!r})
""")
    database = four_gpus.database
    first, second = training(database, max_attempts=1), scripted(database, gpus=2, max_attempts=1)
    takes_any, needs_none = scripted(database), scripted(database, gpus=0, max_attempts=1)
    with ExitStack() as stack:
        for job_id in (first, second, needs_none):
            stack.enter_context(working(four_gpus))
            until(lambda job_id=job_id: logs(database, job_id), what="a first line")
        assert four_gpus.run_next() is None, "what takes what is there waits until some is there"
        assert row(database, takes_any).state == "queued"
        (tmp_path / "go").touch()
    assert [given(database, job_id) for job_id in (first, second, needs_none)] == [["3", "GPU-5"], ["6", "7"], None]
    said = set(logs(database, first))
    assert {"0 sees 3,GPU-5", "process 2: 1 sees 3,GPU-5"} <= said, "a training has one process a GPU"
    assert "alone sees 6,7" in logs(database, second), "other work has one process for all"
    assert "alone sees " in logs(database, needs_none)
    four_gpus.run_next()
    assert given(database, takes_any) == ["3"]


def test_memory_is_shared_out_too(quick: Settings, script: Script, tmp_path: Path) -> None:
    script(f"wait_for({str(tmp_path / 'go')!r})")
    worker = Supervisor(quick.model_copy(update={"worker_memory_bytes": 100}), threading.Event())
    database = worker.database
    job_id, _ = scripted(database, max_attempts=1), scripted(database)
    with database.session() as session:
        session.execute(text("UPDATE jobs SET memory_bytes = 60"))
    with working(worker):
        until(lambda: row(database, job_id).state == "running")
        assert worker.room.free().memory_bytes == 40
        assert worker.run_next() is None, "the other one would need more than that"
        (tmp_path / "go").touch()
    assert worker.room.free().memory_bytes == 100
    database.engine.dispose()


# what the first and the second process do, and what the job's owner is told
ENDS: dict[str, tuple[str, str, str, str]] = {
    "the second is killed, the first loses it": (
        "time.sleep(0.1); sys.exit(76)", "os.kill(os.getpid(), signal.SIGKILL)",
        "killed", "process 2 of 2 on GPU GPU-5 was ended by SIGKILL",
    ),
    "the second runs out of memory, both hang": (
        "time.sleep(60)", "send('error', reason='out_of_memory', detail='memory ran out'); time.sleep(60)",
        "out_of_memory", "memory ran out (process 2 of 2 on GPU GPU-5)",
    ),
    "the first crashes, the second hangs": (
        "os.kill(os.getpid(), signal.SIGSEGV)", "time.sleep(60)",
        "killed", "process 1 of 2 on GPU 3 was ended by SIGSEGV",
    ),
    "both meet the same wrong input": (
        "send('error', reason='data', detail='lr: not finite'); sys.exit(1)",
        "send('error', reason='data', detail='lr: not finite'); sys.exit(1)", "data", "lr: not finite",
    ),
    "both lose each other": ("sys.exit(76)", "sys.exit(76)", "code", "its processes have lost each other"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_the_process_that_fails_first_is_the_reason(two_gpus: Supervisor, script: Script, name: str) -> None:
    first, second, reason, said = ENDS[name]
    script(f"""
print("last words of", os.environ["RANK"], flush=True)
if os.environ["RANK"] == "0":
    {first}
else:
    {second}
""")
    job_id = training(two_gpus.database, max_attempts=1)
    two_gpus.run_next()
    job = row(two_gpus.database, job_id)
    assert job.state == "failed" and job.error is not None
    assert job.error["reason"] == reason
    assert said in job.error["detail"] and job.error["detail"].count("process") == (reason != "data")
    assert {"debug: last words of 0", "debug: process 2: last words of 1"} <= set(job.error["log"])
    assert not children_of(job_id)


def test_the_main_process_may_take_its_time_to_store_what_all_have_made(two_gpus: Supervisor, script: Script) -> None:
    script("""
if os.environ["RANK"] == "0":
    signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1.5), send("checkpoint", step=7), os._exit(75)))
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(75))
send("log", level="info", message="ready")
time.sleep(60)
""")
    database, job_id = two_gpus.database, training(two_gpus.database)
    with working(two_gpus):
        until(lambda: {"ready", "process 2: ready"} <= set(logs(database, job_id)))
        with database.session() as session:
            jobs.request_pause(session, EVERYTHING, job_id)
    job = row(database, job_id)
    assert (job.state, job.checkpoint_step, job.attempt) == ("paused", 7, 0), "longer than the others are waited for"


def test_a_lost_lease_ends_all_processes_and_what_they_have_started(two_gpus: Supervisor, script: Script) -> None:
    script("""
other = subprocess.Popen(["sleep", "60"])
send("log", level="info", message=f"pid {other.pid}")
time.sleep(60)
""")
    database, job_id = two_gpus.database, training(two_gpus.database)
    with working(two_gpus):
        lines = until(lambda: [line for line in logs(database, job_id) if "pid" in line][1:] and logs(database, job_id))
        ranks = list(children_of(job_id).values())
        with database.session() as session:
            session.execute(text("UPDATE jobs SET lease_until = :past"), {"past": now().replace(year=2020)})
            sweep(session, now())
    assert len(ranks) == 2 and not any(process.is_running() for process in ranks)
    for pid in (int(line.split()[-1]) for line in lines):
        until(lambda pid=pid: is_over(pid), 10, "the end of what it has started")


@pytest.fixture(scope="module")
def prepared(world: Settings, world_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset, in a folder and on the platform."""
    folder = xrays(tmp_path_factory.mktemp("data") / "xrays")
    files = ObjectStore(world).upload_dir(f"datasets/{DATASET}/shards", folder)
    with world_database.session() as session:
        registry.register_dataset(
            session, DATASET, name="small", info=ShardReader(folder).info, prefix=f"datasets/{DATASET}/shards",
            files=files, parents=[], job_id=None, project_id=DEFAULT_PROJECT,
        )  # fmt: skip
    return folder


@pytest.fixture
def trainer(world: Settings, prepared: Path) -> Iterator[Supervisor]:
    """A worker that runs two ranks on its CPUs."""
    made = Supervisor(world.model_copy(update={"worker_gpus": 2}), threading.Event())
    yield made
    made.database.engine.dispose()


def checkpoints(settings: Settings, job_id: str) -> list[str]:
    """`<step>.<fence>` of every whole checkpoint, sorted."""
    keys = ObjectStore(settings).list_keys(f"jobs/{job_id}/checkpoints/")
    return sorted(key.split("/")[3] for key in keys if key.endswith("manifest.json"))


def weights(database: Database, job_id: str) -> str:
    """The hash of the weights that a job has made."""
    with database.reading() as session:
        made = select(Model.id).where(Model.job_id == job_id)
        query = select(ModelFile.sha256).where(
            ModelFile.model_id.in_(made), ModelFile.path == "model.safetensors"
        )  # fmt: skip
        return session.scalars(query).one()


def test_a_killed_process_ends_all_and_the_next_attempt_has_the_weights_of_two_ranks_left_alone(
    trainer: Supervisor, prepared: Path, tmp_path: Path
) -> None:
    database, settings = trainer.database, trainer.settings
    job_id = submitted(database, "pretrain", STAGE, gpus=2)
    with working(trainer):
        until(lambda: checkpoints(settings, job_id), what="a checkpoint")
        assert sorted(children_of(job_id)) == [0, 1]
        children_of(job_id)[1].kill()
    job = row(database, job_id)
    assert (job.state, job.attempt) == ("queued", 1) and job.error is not None and not children_of(job_id)
    assert job.error["reason"] == "killed"
    assert job.error["detail"] == "process 2 of 2 on GPU 1 was ended by SIGKILL"

    library = subprocess.Popen(
        [sys.executable, "-c", TRAIN, json.dumps(STAGE), str(prepared), str(tmp_path)], cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip
    trainer.run_next()
    assert library.wait() == 0
    said = logs(database, job_id)
    assert row(database, job_id).state == "succeeded", said
    assert sum("resumed from the checkpoint" in line for line in said) == 1
    assert sum("on 2 x cpu" in line for line in said) == 2
    assert "the job was given the GPUs 0,1, but PyTorch finds none: it trains on CPUs" in said
    assert weights(database, job_id) == sha256_file(tmp_path / "made" / "model" / "model.safetensors")
    assert not children_of(job_id)


def test_a_pause_leaves_one_checkpoint_of_the_step_that_all_have_agreed_on(trainer: Supervisor) -> None:
    database = trainer.database
    spec = {"task": "classification", "dataset": DATASET, "size": "tiny", "epochs": 10_000, "batch_size": 4,
            "log_every": 1}  # fmt: skip
    job_id = submitted(database, "finetune", spec, gpus=2)
    with working(trainer):
        until(lambda: (row(database, job_id).done or 0) >= 3, what="the first steps")
        ranks = children_of(job_id)
        with database.session() as session:
            jobs.request_pause(session, EVERYTHING, job_id)
    job = row(database, job_id)
    assert (job.state, job.attempt, job.error) == ("paused", 0, None)
    assert checkpoints(trainer.settings, job_id) == [f"{metrics(database, job_id)[-1][1]:09d}.000001"]
    assert sorted(ranks) == [0, 1] and not any(process.is_running() for process in ranks.values())
