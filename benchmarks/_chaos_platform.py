"""The platform under test: its parts as processes, kept alive as an operator's supervisor would."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from sqlalchemy.engine import make_url

from benchmarks._chaos_relay import Relay
from benchmarks._postgres import Postgres
from services.core.db import Database, migrate
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.embedded.parts import FAMILY, services
from services.embedded.platform import end_family
from services.embedded.process import Process, Server
from services.embedded.servers import LOOPBACK, free_port, free_port_pair, redis_server, s3_server
from services.worker.child import NAME

KEY = "mk_chaos-0123456789abcdef0123456789abcdef"
S3_KEYS = ("chaos", "chaos-secret")
# a dead part is started again after so long, unless its fault says otherwise
REST_S = 0.5


@dataclass(frozen=True)
class Times:
    """Settings of the platform that are times (s): short, so that a fault and its mending fit into seconds."""

    lease_s: float = 6.0
    heartbeat_s: float = 0.5
    sweep_s: float = 1.0
    stop_grace_s: float = 20.0


@dataclass
class Part:
    """One process of the platform. `rest_s` is how long it stays away after its next death."""

    name: str
    process: Process
    rest_s: float = REST_S
    again_at: float | None = None
    expected: bool = False
    before_start: list[Callable[[], None]] = field(default_factory=list)


class Platform:
    """Redis, SeaweedFS, PostgreSQL, control plane, beat and `workers` workers below `out`.

    Redis is met directly, the database and the object store through relays. All calls belong on one thread:
    the parts end with the thread that has started them.
    """

    def __init__(self, out: Path, workers: int, times: Times) -> None:
        self.out, self.times = out.resolve(), times
        self.data = self.out / "data"
        self.deaths: list[str] = []
        self._began = time.monotonic()
        self._postgres = Postgres("chaos")
        direct_url = self._postgres.url
        migrate(direct_url)
        s3_port, redis_port = free_port(), free_port()
        self.database_relay, self.s3_relay = Relay(self._postgres.socket), Relay((LOOPBACK, s3_port))
        self.port = free_port_pair()
        relayed = make_url(direct_url).set(host=LOOPBACK, port=self.database_relay.port, query={"sslmode": "disable"})
        self.env = self._environment(relayed.render_as_string(hide_password=False), redis_port)
        variables = {name.removeprefix("MEDCOSS_").lower(): value for name, value in self.env.items()}
        self.settings = Settings.model_validate(variables)
        # what the harness looks at, past the relays
        direct = {"database_url": direct_url, "s3_endpoint": f"{LOOPBACK}:{s3_port}", "s3_public_endpoint": None}
        self.direct = self.settings.model_copy(update=direct)
        self.database = Database(direct_url)
        self._foundation = [
            redis_server(self.data / "redis", redis_port),
            s3_server(self.data / "s3", s3_port, *S3_KEYS),
        ]
        self._services = self._parts_of(workers)
        self.parts: dict[str, Part] = {}

    def _environment(self, database_url: str, redis_port: int) -> dict[str, str]:
        s3 = f"{LOOPBACK}:{self.s3_relay.port}"
        values = {
            "database_url": database_url, "redis_url": f"redis://{LOOPBACK}:{redis_port}/0", "s3_endpoint": s3,
            "s3_public_endpoint": s3, "s3_access_key": S3_KEYS[0], "s3_secret_key": S3_KEYS[1],
            "bootstrap_admin_key": KEY, "cache_dir": str(self.data / "cache"), "threads": 1, "max_attempts": 20,
            "rate_per_s": 0, "worker_gpus": 0, **vars(self.times),
        }  # fmt: skip
        mine = {f"MEDCOSS_{name.upper()}": str(value) for name, value in values.items()}
        # one thread and no spinning: the same bits, whatever else runs
        return mine | {FAMILY: str(self.data), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

    def _parts_of(self, workers: int) -> list[Server]:
        known = {s.name: s for s in services(self.data, self.settings, self.env, self.port)}
        worker = known["worker"]
        copies = [
            replace(
                worker, name=f"worker {n}", argv=[f"worker{n}@medcoss" if a == "worker@medcoss" else a
                                                  for a in worker.argv],
                healthy=lambda: True, log=worker.log.with_name(f"worker-{n}.log"),
            )
            for n in range(1, workers + 1)
        ]  # fmt: skip
        return [replace(known["control plane"], start_timeout_s=120), *copies,
                replace(known["beat"], healthy=lambda: True)]  # fmt: skip

    @property
    def url(self) -> str:
        """Address of the control plane."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def workers(self) -> list[Part]:
        """The workers, in order."""
        return [part for name, part in self.parts.items() if name.startswith("worker")]

    def start(self) -> None:
        """Start everything; back when the control plane answers."""
        for server in self._foundation:
            self._launch(replace(server, log=self.data / "logs" / f"{server.name}.log", env=server.env | self._mark()))
        for part in self.parts.values():
            part.process.wait_healthy()
        self.store = ObjectStore(self.direct)
        self.store.ensure_bucket()
        for server in self._services:
            self._launch(server)
        self.parts["control plane"].process.wait_healthy()

    def _mark(self) -> dict[str, str]:
        return {FAMILY: self.env[FAMILY]}

    def _launch(self, server: Server) -> None:
        part = Part(server.name, Process(server))
        part.process.launch()
        self.parts[server.name] = part

    def tick(self) -> None:
        """Start again what has died and has been away long enough."""
        moment = time.monotonic()
        for part in self.parts.values():
            if part.process.pid is not None:
                continue
            if part.again_at is None:
                part.again_at = moment + part.rest_s
                if not part.expected:
                    self.deaths.append(f"{moment - self._began:.0f} s: {part.name} ended ({part.process.ending()})")
            if moment >= part.again_at:
                part.process.stop()
                for prepare in part.before_start:
                    prepare()
                part.before_start.clear()
                part.process.launch()
                part.rest_s, part.again_at, part.expected = REST_S, None, False

    def kill(self, part: Part, rest_s: float) -> None:
        """SIGKILL; it starts again after `rest_s`."""
        part.rest_s, part.expected = rest_s, True
        if (pid := part.process.pid) is not None:
            psutil.Process(pid).kill()

    def lose_redis_memory(self, rest_s: float) -> None:
        """Kill Redis; it starts again empty."""
        redis = self.parts["redis"]
        redis.before_start.append(lambda: shutil.rmtree(self.data / "redis" / "appendonlydir", ignore_errors=True))
        self.kill(redis, rest_s)

    def trainer(self, worker: Part) -> psutil.Process | None:
        """The process that runs the worker's present attempt."""
        try:
            family = psutil.Process(worker.process.pid).children(recursive=True) if worker.process.pid else []
            return next((one for one in family if one.name() == NAME), None)
        except psutil.Error:
            return None

    def family(self) -> list[psutil.Process]:
        """Every process that bears this platform's mark."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get(FAMILY) == str(self.data):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def stop_services(self) -> None:
        """Stop workers, beat and control plane as an operator would; a running job writes its checkpoint."""
        ours = [part for name, part in self.parts.items() if name not in {"redis", "s3"}]
        for part in ours:
            part.process.terminate()
        for part in ours:
            part.process.stop()

    def close(self) -> None:
        """End everything, whatever state it is in."""
        for part in self.parts.values():
            part.process.stop()
        end_family(self.data, 0)
        self.database.engine.dispose()
        for relay in (self.database_relay, self.s3_relay):
            relay.close()
        self._postgres.close()
