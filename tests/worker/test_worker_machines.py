"""Jobs on several machines: a TrainJob whose pods one worker supervises under the lease of the job."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from medcoss.data.shards import ShardReader
from medcoss.run import sha256_file
from services.core import jobs, registry
from services.core.db import Database
from services.core.scope import EVERYTHING
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT
from services.worker.machines import crew
from services.worker.machines.lines import LineReader
from services.worker.machines.orphans import remove_orphans
from services.worker.protocol import LogReport
from services.worker.supervisor import Supervisor
from tests.medcoss.training.small import xrays
from tests.worker.cluster import NAMESPACE, TOKEN, FakeCluster
from tests.worker.scripts import PRELUDE
from tests.worker.test_worker_ranks import REPOSITORY, STAGE, TRAIN, checkpoints, weights
from tests.worker.work import logs, metrics, row, scripted, submitted, working
from tests.worker.work import until as until_within

pytestmark = pytest.mark.timeout(900)
DATASET = STAGE["dataset"]
# children of pods in place of trainings
SCRIPTED = """
from services.worker import process
from tests.worker.scripts import beginning_with
process.BEGIN = beginning_with([sys.executable, "-I", "-c", {script!r}])
"""
STOPPABLE = """
def stop(*_):
    if os.environ["RANK"] == "0":
        send("checkpoint", step=7)
    os._exit(75)
signal.signal(signal.SIGTERM, stop)
send("metrics", step=1, values={"loss": 1.0})
send("log", level="info", message=f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} is ready")
time.sleep(60)
"""
# pods are processes that begin anew, each with its libraries
PATIENCE_S = 240.0
until = partial(until_within, seconds=PATIENCE_S)
READY = {"rank 0 of 4 is ready", "process 4: rank 3 of 4 is ready"}


@pytest.fixture
def cluster(quick: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """A cluster, and an account there."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text(NAMESPACE)
    monkeypatch.setattr("services.worker.machines.cluster.ACCOUNT", tmp_path)
    monkeypatch.setattr(crew, "PARTING_S", 0.5)
    made = FakeCluster(quick.model_copy(update={"cache_dir": tmp_path / "caches"}))
    yield made
    made.close()


@pytest.fixture
def launcher(quick: Settings, cluster: FakeCluster) -> Iterator[Supervisor]:
    """A worker that has jobs run on four machines at most, with two GPUs each as far as it knows."""
    settings = quick.model_copy(update={"machines": 4, "machines_gpus": 2, "machines_api": cluster.url})
    made = Supervisor(settings, threading.Event())
    yield made
    made.database.engine.dispose()


def runs(cluster: FakeCluster, script: str) -> None:
    cluster.before = SCRIPTED.format(script=PRELUDE + script)


def training(database: Database, **options: Any) -> str:
    """A training on two machines with two GPUs each, that is a script."""
    spec = {"dataset": "ds_raw0000000", "max_steps": 1}
    return scripted(database, kind="pretrain", spec=spec, nodes=2, gpus=2, **options)


def test_a_job_runs_on_the_machines_that_it_asks_for(
    launcher: Supervisor, cluster: FakeCluster, tmp_path: Path
) -> None:
    runs(
        cluster,
        f"""
rank, told = os.environ["RANK"], {str(tmp_path)!r} + "/told-"
send("log", level="info", message="meets at " + os.environ["MASTER_ADDR"])
if rank == "0":
    send("progress", done=1, total=2, message="training")
    send("metrics", step=1, values={{"loss": 0.5}})
    for other in "123":
        wait_for(told + other)
    time.sleep(1)
    send("error", reason="data", detail=f"{{job['spec']['dataset']}} on {{os.environ['CUDA_VISIBLE_DEVICES']}}")
    sys.exit(1)
open(told + rank, "w").close()
time.sleep(600)
""",
    )
    database, job_id = launcher.database, training(launcher.database)
    assert launcher.run_next() == job_id
    job, said = row(database, job_id), logs(database, job_id)
    assert job.state == "failed" and job.error is not None and job.error["detail"] == "ds_raw0000000 on 0,1"
    assert {"meets at 127.0.0.1", "process 2: meets at 127.0.0.1", "process 3: meets at 127.0.0.1"} <= set(said)
    assert metrics(database, job_id) == [(1, 1)] and (job.done, job.total) == (1, 2)
    (made,) = cluster.created
    trainer, labels = made["spec"]["trainer"], made["metadata"]["labels"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 2)
    # what the runtime asks for stays; the GPUs come to it
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "2"}
    assert (labels["medcoss/job"], labels["medcoss/fence"]) == (job_id, "1")
    assert not cluster.jobs, "machines are given back"
    assert b"salt" not in json.dumps(made).encode(), "what is confidential is in the object store alone"


def test_other_workers_leave_it_alone_and_it_takes_no_other(launcher: Supervisor, supervisor: Supervisor) -> None:
    database = launcher.database
    here = scripted(database)
    too_many = scripted(database, kind="pretrain", spec={"dataset": "ds_raw0000000", "max_steps": 1}, nodes=5)
    assert launcher.run_next() is None and supervisor.room.free().nodes is None
    assert {row(database, job_id).state for job_id in (here, too_many)} == {"queued"}


ORDERS: dict[str, tuple[str, int]] = {"cancelled": ("cancelled", 1), "paused": ("paused", 0), "drained": ("queued", 0)}


@pytest.mark.parametrize("order", ORDERS)
def test_orders_reach_all_machines_and_wait_for_the_checkpoint(
    launcher: Supervisor, cluster: FakeCluster, order: str
) -> None:
    runs(cluster, STOPPABLE)
    database, job_id = launcher.database, training(launcher.database)
    with working(launcher):
        until(lambda: set(logs(database, job_id)) >= READY)
        (name,) = cluster.jobs
        if order == "drained":
            launcher.shutting_down.set()
        else:
            ask = jobs.request_cancel if order == "cancelled" else jobs.request_pause
            with database.session() as session:
                ask(session, EVERYTHING, job_id)
    job = row(database, job_id)
    assert (job.state, job.attempt, job.checkpoint_step) == (*ORDERS[order], 7)
    assert cluster.removed == [name] and not any(pod.process.poll() is None for pod in cluster.pods[name])


def test_a_machine_that_is_drained_sends_the_job_back_to_the_queue(launcher: Supervisor, cluster: FakeCluster) -> None:
    runs(
        cluster,
        STOPPABLE.replace(
            "time.sleep(60)",
            """
if os.environ["RANK"] in "01":
    # they notice at the next step that another was asked to stop
    while not os.path.exists(job["work"] + "/never"):
        time.sleep(0.5); os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)""",
        ),
    )
    database, job_id = launcher.database, training(launcher.database)
    with working(launcher):
        until(lambda: set(logs(database, job_id)) >= READY)
        (name,) = cluster.jobs
        cluster.drain(name, 1)
    job = row(database, job_id)
    assert (job.state, job.attempt, job.error) == ("queued", 0, None), "it costs no attempt"


def test_a_lost_machine_costs_an_attempt_and_no_pause(launcher: Supervisor, cluster: FakeCluster) -> None:
    # the others wait for it in vain, for hours
    runs(
        cluster, STOPPABLE.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, lambda *_: 0)")
    )
    database, job_id = launcher.database, training(launcher.database)
    with working(launcher):
        until(lambda: set(logs(database, job_id)) >= READY)
        (first,) = cluster.jobs
        cluster.lose(first, 1)
    job = row(database, job_id)
    assert (job.state, job.attempt, job.not_before) == ("queued", 1, None) and job.error is not None
    assert job.error["reason"] == "lost_worker"
    assert job.error["detail"] == "machine 2 of 2 was lost: its pod has gone without a word"
    with working(launcher):
        until(lambda: sum("rank 0 of 4 is ready" in line for line in logs(database, job_id)) == 2)
        (second,) = cluster.jobs
        with database.session() as session:
            jobs.request_cancel(session, EVERYTHING, job_id)
    assert second != first and second.endswith("-2")


def test_an_api_server_that_is_away_ends_nothing(launcher: Supervisor, cluster: FakeCluster) -> None:
    """Neither before the TrainJob is there nor later; and of logs that break off nothing is lost or told twice."""
    runs(
        cluster,
        STOPPABLE.replace(
            "time.sleep(60)",
            """
for step in range(2, 60):
    send("metrics", step=step, values={"loss": 1.0}); time.sleep(0.1)
send("log", level="info", message="all is told"); time.sleep(60)""",
        ),
    )
    cluster.log_lines, cluster.away = 5, True
    database, job_id = launcher.database, training(launcher.database)
    with working(launcher):
        until(lambda: any("cannot be asked" in line for line in logs(database, job_id)))
        cluster.away = False
        until(lambda: cluster.jobs)
        # more than the lines of a second: a log that is read on is told from the beginning of one
        cluster.log_lines = 60
        until(lambda: any("rank 0 of 4" in line for line in logs(database, job_id)))
        cluster.away = True
        until(lambda: sum("cannot be asked" in line for line in logs(database, job_id)) == 2)
        cluster.away = False
        # each of the four processes
        until(lambda: sum("all is told" in line for line in logs(database, job_id)) == 4)
        with database.session() as session:
            jobs.request_cancel(session, EVERYTHING, job_id)
    told = [step for _, step in metrics(database, job_id)]
    assert sorted(told) == sorted([*range(1, 60)] * 4) and row(database, job_id).attempt == 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda c: c.runtimes.clear(), 'trainingruntimes.trainer.kubeflow.org "medcoss" not found'),
        (lambda c: setattr(c, "refuses", "exceeded quota: gpus"), "exceeded quota: gpus"),
    ],
    ids=["no runtime", "no quota"],
)
def test_what_the_cluster_refuses_is_told(
    launcher: Supervisor, cluster: FakeCluster, spoil: Callable[[FakeCluster], None], said: str
) -> None:
    spoil(cluster)
    job_id = training(launcher.database, max_attempts=1)
    launcher.run_next()
    job = row(launcher.database, job_id)
    assert job.state == "failed" and job.error is not None
    assert job.error["detail"].startswith(f"the cluster has refused the TrainJob: {said}")


def test_a_process_that_is_killed_is_named_with_its_machine(launcher: Supervisor, cluster: FakeCluster) -> None:
    runs(
        cluster,
        """
if os.environ["RANK"] == "3":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.2); sys.exit(76)
""",
    )
    job_id = training(launcher.database, max_attempts=1)
    launcher.run_next()
    job = row(launcher.database, job_id)
    assert job.error is not None and job.error["reason"] == "killed"
    assert job.error["detail"] == "a process was ended by signal 9 (process 4 of 4, on machine 2 of 2)"


def test_train_jobs_that_nobody_supervises_are_removed(launcher: Supervisor, cluster: FakeCluster) -> None:
    runs(cluster, STOPPABLE)
    database, job_id = launcher.database, training(launcher.database)
    assert launcher.cluster is not None
    with working(launcher):
        until(lambda: cluster.jobs)
        (mine,) = cluster.jobs
        lost = json.loads(json.dumps(cluster.jobs[mine]))
        lost["metadata"]["name"], lost["metadata"]["labels"]["medcoss/fence"] = "medcoss-lost-0", "0"
        cluster.jobs["medcoss-lost-0"] = lost
        assert remove_orphans(launcher.cluster, launcher.settings, database) == ["medcoss-lost-0"]
        with database.session() as session:
            jobs.request_cancel(session, EVERYTHING, job_id)
    assert cluster.removed == ["medcoss-lost-0", mine]


def test_lines_of_a_log_are_read_once() -> None:
    reader = LineReader(2)
    report = 'medcoss-report {"n": %d, "rank": 2, "report": "{}"}'
    first = f"2026-01-05T08:00:00.1Z {report % 1}"
    assert reader.read(first, 0) is not None and reader.read(first, 0) is None
    assert reader.since == "2026-01-05T08:00:00Z"
    printed = reader.read("2026-01-05T08:00:00.12Z Traceback", 0)
    assert printed is not None and printed.entry == LogReport(level="debug", message="Traceback") and printed.rank == 2
    assert reader.read("2026-01-05T08:00:00.12Z Traceback", 0) is None
    assert reader.read(f"2026-01-05T08:00:02Z {report % 4}", 0) is not None and reader.missed == 2


def test_a_lost_machine_is_replaced_and_the_weights_are_those_of_a_training_left_alone(
    world: Settings, world_database: Database, cluster: FakeCluster, tmp_path: Path
) -> None:
    folder = xrays(tmp_path / "data" / "xrays")
    files = ObjectStore(world).upload_dir(f"datasets/{DATASET}/shards", folder)
    with world_database.session() as session:
        registry.register_dataset(
            session, DATASET, name="small", info=ShardReader(folder).info, prefix=f"datasets/{DATASET}/shards",
            files=files, parents=[], job_id=None, project_id=DEFAULT_PROJECT,
        )  # fmt: skip
    cluster.settings = world
    launcher = Supervisor(world.model_copy(update={"machines": 2, "machines_api": cluster.url}), threading.Event())
    job_id = submitted(world_database, "pretrain", STAGE, nodes=2)
    with working(launcher):
        until(lambda: checkpoints(world, job_id), what="a checkpoint")
        cluster.lose(next(iter(cluster.jobs)), 1)
    assert row(world_database, job_id).error["reason"] == "lost_worker"

    library = subprocess.Popen(
        [sys.executable, "-c", TRAIN, json.dumps(STAGE), str(folder), str(tmp_path)], cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip
    launcher.run_next()
    launcher.database.engine.dispose()
    assert library.wait() == 0
    said = logs(world_database, job_id)
    assert row(world_database, job_id).state == "succeeded", said
    assert sum("resumed from the checkpoint" in line for line in said) == 1
    assert weights(world_database, job_id) == sha256_file(tmp_path / "made" / "model" / "model.safetensors")
