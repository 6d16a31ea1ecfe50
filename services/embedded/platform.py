"""The whole platform on one machine: starts its parts, keeps them alive, stops them without leftovers."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from services.core.db import migrate
from services.embedded import litter
from services.embedded.family import FAMILY, LEFTOVER_GRACE_S, end_family
from services.embedded.parts import environment, foundation, services, settings_of
from services.embedded.process import PlatformError, Process, Server
from services.embedded.servers import port_is_free
from services.embedded.state import READY_FILE, Running, RunningPart, load_state, locked, write_private

WATCH_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
LOG_LIMIT = 20 * 2**20


def _say_nothing(_: str) -> None:
    """Nobody wants to know."""


@dataclass
class _Part:
    """One part and how often it has died lately."""

    process: Process
    deaths: int = 0
    started: float = field(default_factory=time.monotonic)
    again_at: float | None = None

    @property
    def server(self) -> Server:
        return self.process.server


class Platform:
    """Use as `run(on_ready)`; `stopping` ends it. `say` gets one line for every event."""

    def __init__(self, data_dir: Path, port: int, say: Callable[[str], None] = _say_nothing) -> None:
        self.data_dir, self.port, self.say = data_dir.resolve(), port, say
        self.stopping = threading.Event()
        self._parts: list[_Part] = []

    def run(self, on_ready: Callable[[Running], None]) -> None:
        """Start all parts, call `on_ready`, and keep them alive until `stopping` is set.

        Must be called on the main thread: the parts end with the thread that has started them.
        Raises PlatformError when the platform cannot start.
        """
        with locked(self.data_dir):
            (self.data_dir / READY_FILE).unlink(missing_ok=True)
            end_family(self.data_dir, LEFTOVER_GRACE_S)
            litter.remove(self.data_dir)
            litter.temporary(self.data_dir).mkdir(exist_ok=True)
            guard = _launch_guard(self.data_dir)
            try:
                self._start()
                if not self.stopping.is_set():
                    on_ready(self._announce())
                    self._watch()
            finally:
                self._stop()
                guard.communicate()

    def _start(self) -> None:
        for port, what in ((self.port, "control plane"), (self.port + 1, "gateway, always the next port,")):
            if not port_is_free(port):
                raise PlatformError(
                    f"port {port} is taken, but the {what} needs it; choose another with --port, or stop the program "
                    "that has it"
                )
        # free until the services start: no other part may have them by then
        promised = (self.port, self.port + 1)
        state = load_state(self.data_dir, promised)
        env = environment(self.data_dir, state, self.port)
        settings = settings_of(env)
        self._launch(foundation(self.data_dir, state, env, promised))
        migrate(settings.database_url)
        self._wait()
        self._launch(services(self.data_dir, settings, env, self.port))
        self._wait()
        self.key = state.admin_key

    def _launch(self, servers: list[Server]) -> None:
        for server in servers:
            if self.stopping.is_set():
                return
            _limit(server.log)
            litter.note(self.data_dir, server.litter)
            part = _Part(Process(server))
            self._parts.append(part)
            part.process.launch()

    def _wait(self) -> None:
        for part in self._parts:
            if not part.process.wait_healthy(self.stopping.is_set):
                return

    def _announce(self) -> Running:
        running = Running(
            url=f"http://127.0.0.1:{self.port}",
            gateway_url=f"http://127.0.0.1:{self.port + 1}",
            key=self.key,
            pid=os.getpid(),
            parts=[
                RunningPart(name=p.server.name, pid=p.process.pid or 0, address=p.server.address, log=p.server.log)
                for p in self._parts
            ],
        )
        write_private(self.data_dir / READY_FILE, running.model_dump_json(indent=2))
        return running

    def _watch(self) -> None:
        while not self.stopping.wait(WATCH_S):
            for part in self._parts:
                self._revive(part)

    def _revive(self, part: _Part) -> None:
        """Start a part that has died again, after a pause that grows with every death."""
        now = time.monotonic()
        if part.process.pid is not None:
            return
        if part.again_at is None:
            part.deaths = part.deaths + 1 if now - part.started < STEADY_S else 1
            pause = min(WATCH_S * 2 ** (part.deaths - 1), LONGEST_PAUSE_S)
            part.again_at = now + pause
            self.say(
                f"{part.server.name} ended ({part.process.ending()}); it starts again in {pause:.1f} s, "
                f"log: {part.server.log}"
            )
        if now >= part.again_at:
            part.process.stop()
            part.process.launch()
            part.started, part.again_at = now, None
            self._announce()

    def _stop(self) -> None:
        (self.data_dir / READY_FILE).unlink(missing_ok=True)
        if self._parts:
            self.say("stopping; a job that runs writes its checkpoint first")
        # those that use the foundation end side by side, the foundation after them
        for part in reversed(self._parts[3:]):
            part.process.terminate()
        for part in reversed(self._parts):
            part.process.stop()
        self._parts.clear()
        end_family(self.data_dir, 0)
        litter.remove(self.data_dir)


def _launch_guard(data_dir: Path) -> subprocess.Popen[bytes]:
    """A process that notices the end of this one by its input, which closes, however this one ends."""
    return subprocess.Popen(
        [sys.executable, "-m", "services.embedded.guard", str(data_dir)],
        stdin=subprocess.PIPE,
        env=os.environ | {FAMILY: str(data_dir)},
        start_new_session=True,
    )


def _limit(log: Path) -> None:
    """Put a long log of earlier runs aside; one generation is kept."""
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".old.log"))
