"""`medcoss demo`: start, run every step, write the report."""

import os
import platform as machine
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from medcoss import __version__
from medcoss.client import Client
from services.cli.demo.page import make_report
from services.cli.demo.pipeline import Pipeline
from services.cli.demo.platform import started_platform
from services.cli.demo.recorder import Recorder, StepFailed, shown
from services.embedded.process import PlatformError


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@contextmanager
def _connected(server: str | None, data_dir: Path) -> Iterator[Client]:
    if server is None:
        with started_platform(data_dir) as client:
            yield client
    else:
        with Client(server=server) as client:
            client.ready()
            yield client


def run_demo(out: Path, server: str | None, data_dir: Path | None) -> int:
    """Run everything and write `out/index.html`; the exit code.

    Without `server` a platform is started on `data_dir` (by default `out/platform`) and stopped at the end.
    """
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    home = data_dir or out / "platform"
    try:
        with _connected(server, home) as client:
            gateway = client.platform().gateway_url
            recorder = Recorder(client.server, gateway, _environment(server, home), _say, zero=began)
            pipeline = Pipeline(recorder, client, out / "sample-data", out)
            pipeline.prepare()
            pipeline.pretrain()
            pipeline.finetune()
            pipeline.export()
            setup = _setup(server, home)
            make_report(pipeline, out, _facts(began), setup)
    except (PlatformError, StepFailed) as error:
        _say(f"the demo ended early: {error}")
        return 1
    _say(f"done in {time.monotonic() - began:.0f} s: open {shown(out / 'index.html')}")
    return 0


def _environment(server: str | None, home: Path) -> dict[str, str]:
    """The environment in which the command line finds the demo's platform."""
    if server is not None:
        return os.environ | {"MEDCOSS_SERVER": server}
    others = {name: value for name, value in os.environ.items() if name not in {"MEDCOSS_SERVER", "MEDCOSS_KEY"}}
    return others | {"MEDCOSS_DATA_DIR": str(home)}


def _setup(server: str | None, home: Path) -> str:
    """What to type before the lines of the report."""
    if server is not None:
        return f"export MEDCOSS_SERVER={server} MEDCOSS_KEY=<your key>"
    return (
        f"medcoss up --data-dir {shown(home)}    # in another terminal; models and datasets of the demo are kept\n"
        f"export MEDCOSS_DATA_DIR={shown(home)}\nexport MEDCOSS_KEY=$(medcoss key)"
    )


def _facts(began: float) -> dict[str, str]:
    memory = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0))
    return {
        "version": f"medcoss {__version__}, Python {machine.python_version()}",
        "machine": f"{machine.machine()}, {cores} cores, {memory:.0f} GiB of memory",
        "time": f"{time.monotonic() - began:.0f} s from start to report",
    }
