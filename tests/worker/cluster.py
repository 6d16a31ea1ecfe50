"""A Kubernetes API server with Kubeflow Trainer, as far as workers ask it: pods are processes of this machine.

TrainJobs are checked against the models of Kubeflow's own API package. What a pod's log holds, when a pod gets SIGTERM
and when it is gone is as in a cluster.
"""

import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob

from services.core.settings import Settings
from services.embedded.servers import free_port
from services.worker.process import environment

NAMESPACE, TOKEN = "clinic", "a-token"
REPOSITORY = Path(__file__).resolve().parents[2]
NODE = "import sys; from services.worker.machines.node import main\n{before}\nsys.exit(main())"
RUNTIME: dict[str, Any] = {
    "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainingRuntime", "metadata": {"name": "medcoss"},
    "spec": {
        "mlPolicy": {"numNodes": 2, "torch": {}},
        "template": {"spec": {"replicatedJobs": [{
            "name": "node",
            "template": {
                "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
                "spec": {"template": {"spec": {"containers": [{
                    "name": "node", "image": "medcoss/worker",
                    "resources": {"requests": {"cpu": "4"}, "limits": {"cpu": "8", "memory": "64Gi"}},
                }]}}},
            },
        }]}},
    },
}  # fmt: skip


@dataclass
class FakePod:
    """A pod: a process, and the lines that it has printed with their times."""

    name: str
    index: int
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)
    read: bool = False

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            moment = datetime.now(UTC)
            # the API server leaves zeros at the end out
            fraction = f"{moment.microsecond:06d}000".rstrip("0") or "0"
            self.lines.append(f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}Z {line.rstrip()}")
        self.process.wait()
        self.read = True

    def shown(self) -> dict[str, Any]:
        """As the API server describes it."""
        code = self.process.returncode if self.read else None
        state: dict[str, Any] = {"running": {}}
        if code is not None:
            state = {"terminated": {"exitCode": code if code >= 0 else 128 - code, "reason": "Error"}}
        return {
            "metadata": {"name": self.name, "uid": f"uid-{self.name}",
                         "labels": {"batch.kubernetes.io/job-completion-index": str(self.index)}},
            "status": {"phase": "Running" if code is None else "Succeeded" if code == 0 else "Failed",
                       "containerStatuses": [{"name": "node", "state": state}]},
        }  # fmt: skip


class FakeCluster:
    """The server; `before` is Python that its pods run first, `settings` are those of their containers."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.before = settings, "pass"
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, list[FakePod]] = {}
        self.created: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.runtimes = {"medcoss": RUNTIME}
        # asked in vain, and logs that break off
        self.away = False
        self.log_lines = 10_000
        self.refuses = ""
        self.port = free_port()
        server = uvicorn.Server(uvicorn.Config(self._app(), "127.0.0.1", self.port, log_level="error"))
        self._server, self._thread = server, threading.Thread(target=server.run, daemon=True)
        self._thread.start()
        while not server.started:
            time.sleep(0.01)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End the server and all pods."""
        for pods in self.pods.values():
            for pod in pods:
                pod.process.kill()
                pod.process.wait()
        self._server.should_exit = True
        self._thread.join(10)

    def lose(self, name: str, index: int) -> None:
        """A machine goes, and its pod with it."""
        pod = next(one for one in self.pods[name] if one.index == index)
        self.pods[name].remove(pod)
        pod.process.kill()

    def drain(self, name: str, index: int) -> None:
        """A machine is drained: its pod gets SIGTERM."""
        next(one for one in self.pods[name] if one.index == index).process.send_signal(signal.SIGTERM)

    def _app(self) -> FastAPI:
        app = FastAPI()
        trainer = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}"
        core = f"/api/v1/namespaces/{NAMESPACE}/pods"

        @app.middleware("http")
        async def guarded(request: Request, call_next: Any) -> Response:
            if self.away:
                return _status(503, "the server is not able to handle the request")
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                return _status(401, "Unauthorized")
            return await call_next(request)

        @app.get(trainer + "/trainingruntimes/{name}")
        def runtime(name: str) -> Response:
            found = self.runtimes.get(name)
            if found is None:
                return _status(404, f'trainingruntimes.trainer.kubeflow.org "{name}" not found')
            return JSONResponse(found)

        @app.post(trainer + "/trainjobs")
        def create(body: dict[str, Any]) -> Response:
            if self.refuses:
                return _status(403, self.refuses)
            check_train_job(body)
            name = body["metadata"]["name"]
            if name in self.jobs:
                return _status(409, f'trainjobs.trainer.kubeflow.org "{name}" already exists')
            self.jobs[name] = body
            self.created.append(body)
            self.pods[name] = self._start(name, body)
            return JSONResponse(body, 201)

        @app.get(trainer + "/trainjobs")
        def train_jobs(selector: Annotated[str, Query(alias="labelSelector")]) -> Response:
            wanted = dict(part.split("=") for part in selector.split(","))
            found = [job for job in self.jobs.values() if wanted.items() <= job["metadata"]["labels"].items()]
            return JSONResponse({"items": found})

        @app.get(trainer + "/trainjobs/{name}")
        def train_job(name: str) -> Response:
            found = self.jobs.get(name)
            return JSONResponse(found) if found else _status(404, f'"{name}" not found')

        @app.delete(trainer + "/trainjobs/{name}")
        def remove(name: str) -> Response:
            if self.jobs.pop(name, None) is None:
                return _status(404, f'"{name}" not found')
            self.removed.append(name)
            for pod in self.pods.get(name, []):
                if pod.process.poll() is None:
                    pod.process.send_signal(signal.SIGTERM)
            return JSONResponse({"kind": "Status", "status": "Success"})

        @app.get(core)
        def pods(selector: Annotated[str, Query(alias="labelSelector")]) -> Response:
            name = selector.removeprefix("jobset.sigs.k8s.io/jobset-name=")
            # those of a TrainJob that is gone go as they end
            there = [pod for pod in self.pods.get(name, []) if name in self.jobs or not pod.read]
            return JSONResponse({"items": [pod.shown() for pod in there]})

        @app.delete(core + "/{name}")
        def end(name: str) -> Response:
            for pod in self._all():
                if pod.name == name:
                    pod.process.kill()
            return JSONResponse({})

        @app.get(core + "/{name}/log")
        def log(name: str, container: str, since: Annotated[str, Query(alias="sinceTime")] = "") -> Response:
            pod = next((one for one in self._all() if one.name == name), None)
            if pod is None or container != "node":
                return _status(404, f'pods "{name}" not found')
            return StreamingResponse(self._log(pod, since.rstrip("Z")), media_type="text/plain")

        return app

    def _all(self) -> list[FakePod]:
        return [pod for pods in self.pods.values() for pod in pods]

    def _log(self, pod: FakePod, since: str) -> Iterator[str]:
        place = sent = 0
        while sent < self.log_lines:
            over = pod.read
            for line in pod.lines[place:]:
                place += 1
                # a whole second at a time, as the API server does it
                if line[:19] >= since:
                    sent += 1
                    yield line + "\n"
                if sent >= self.log_lines:
                    return
            if over:
                return
            time.sleep(0.02)

    def _start(self, name: str, body: dict[str, Any]) -> list[FakePod]:
        trainer, port = body["spec"]["trainer"], free_port()
        own = self.settings.model_copy(update={"machines": None})
        variables = environment(own) | {one["name"]: one["value"] for one in trainer["env"]}
        variables |= {"PYTHONPATH": str(REPOSITORY), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        made = []
        for index in range(trainer["numNodes"]):
            place = {
                "PET_NNODES": str(trainer["numNodes"]), "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
                "PET_NODE_RANK": str(index), "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port),
                "MEDCOSS_CACHE_DIR": str(own.cache_dir / f"{name}-{index}"),
            }  # fmt: skip
            process = subprocess.Popen(
                [sys.executable, "-c", NODE.format(before=self.before)], env=variables | place, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=REPOSITORY,
            )  # fmt: skip
            made.append(FakePod(f"{name}-node-0-{index}-{uuid.uuid4().hex[:5]}", index, process))
        return made


def check_train_job(body: dict[str, Any]) -> None:
    """It must be what the API has: nothing that it does not know, nothing of another type; and named as it must be."""
    known = TrainerV1alpha1TrainJob.from_dict(body)
    assert known is not None and known.to_dict() == body
    name = body["metadata"]["name"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) and len(f"{name}-node-0-63") <= 63
    for value in body["metadata"]["labels"].values():
        assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", value) and len(value) <= 63


def _status(code: int, message: str) -> Response:
    return JSONResponse({"kind": "Status", "status": "Failure", "code": code, "message": message}, code)
