"""A platform to put load on: PostgreSQL, Redis, SeaweedFS, a control plane and, when asked for, a worker."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks._postgres import Postgres
from services.core.db import Database, migrate
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.embedded.parts import FAMILY, services
from services.embedded.process import Process, Server
from services.embedded.servers import LOOPBACK, free_port, free_port_pair, redis_server, s3_server

KEY = "mk_load-0123456789abcdef0123456789abcdef"
S3_KEYS = ("load", "load-secret")


class Platform:
    """The parts, below the folder `out`; the control plane answers once it is made."""

    def __init__(self, out: Path) -> None:
        self.data = out / "data"
        self._postgres = Postgres("load")
        migrate(self._postgres.url)
        self._processes: dict[str, Process] = {}
        s3_port, redis_port = free_port(), free_port()
        self.port = free_port_pair()
        s3 = f"{LOOPBACK}:{s3_port}"
        values = {
            "database_url": self._postgres.url, "redis_url": f"redis://{LOOPBACK}:{redis_port}/0", "s3_endpoint": s3,
            "s3_public_endpoint": s3, "s3_access_key": S3_KEYS[0], "s3_secret_key": S3_KEYS[1],
            "bootstrap_admin_key": KEY, "cache_dir": str(self.data / "cache"), "threads": 1, "rate_per_s": 0,
            "worker_gpus": 0,
        }  # fmt: skip
        self.settings = Settings.model_validate(values)
        env = {f"MEDCOSS_{name.upper()}": str(value) for name, value in values.items()}
        self._env = env | {FAMILY: str(self.data), "OMP_NUM_THREADS": "1"}
        self._known = {s.name: s for s in services(self.data, self.settings, self._env, self.port)}
        for server in (redis_server(self.data / "redis", redis_port), s3_server(self.data / "s3", s3_port, *S3_KEYS)):
            self.start(replace(server, log=self.data / "logs" / f"{server.name}.log", env=server.env | self._env))
        self.database = Database(self._postgres.url)
        self.store = ObjectStore(self.settings)
        self.store.ensure_bucket()
        self.serve(processes=1)

    def serve(self, processes: int) -> None:
        """Start the control plane, or start it anew, on so many processes."""
        if (before := self._processes.pop("control plane", None)) is not None:
            before.stop()
        plane = self._known["control plane"]
        self.start(replace(plane, argv=[*plane.argv, "--processes", str(processes)]))

    def start(self, server: Server) -> None:
        """Start a part; back when it answers."""
        process = self._processes[server.name] = Process(server)
        process.launch()
        process.wait_healthy()

    def start_worker(self) -> None:
        """Start a worker and beat; back when the worker takes jobs."""
        self.start(self._known["worker"])
        self.start(self._known["beat"])

    def cpu_seconds(self) -> Counter[str]:
        """CPU time that each part has used: `control plane`, `postgres`, `benchmark`."""
        used: Counter[str] = Counter()
        used["control plane"] = _cpu(self._plane())
        # each connection has a process, which stays as long as the connection is pooled
        used["postgres"] = _cpu(p for p in psutil.process_iter() if _is_postgres(p, self._postgres.folder))
        used["benchmark"] = _cpu([psutil.Process()])
        return used

    def memory_bytes(self) -> int:
        """Resident memory of the control plane."""
        return sum(process.memory_info().rss for process in self._plane())

    def _plane(self) -> list[psutil.Process]:
        first = psutil.Process(self._processes["control plane"].pid)
        return [first, *first.children(recursive=True)]

    def close(self) -> None:
        """End everything; the data goes, too."""
        self.database.engine.dispose()
        for process in reversed(self._processes.values()):
            process.stop()
        self._postgres.close()


def _cpu(processes: Iterable[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def _is_postgres(process: psutil.Process, folder: str) -> bool:
    try:
        return process.name() == "postgres" and str(Path(f"/proc/{process.pid}/cwd").readlink()).startswith(folder)
    except (psutil.Error, OSError):
        return False
