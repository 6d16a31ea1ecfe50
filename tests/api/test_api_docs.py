"""The examples of docs/api.md run as they stand, against a real server with a real worker."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.core.settings import Settings
from services.core.sweep import sweep
from services.core.tables.base import now
from services.worker.supervisor import Supervisor
from tests.api.calls import LIST
from tests.api.serving import KEYS, Role, Served
from tests.worker.work import class_folders

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "api.md"
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def worker(settings: Settings) -> Iterator[None]:
    """A worker and a sweeper, as threads."""
    stop = threading.Event()
    quick = settings.model_copy(update={"heartbeat_s": 0.1, "threads": 1})

    def work() -> None:
        supervisor = Supervisor(quick, stop)
        while not stop.wait(0.1):
            with supervisor.database.session() as session:
                sweep(session, now())
            supervisor.run_next()
        supervisor.database.engine.dispose()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join(60)


def test_the_examples_run(served: Served, worker: None, tmp_path: Path) -> None:
    missing = [tool for tool in ("bash", "curl", "jq") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"the examples need {', '.join(missing)}")
    for path, content in class_folders(8).items():
        file = tmp_path / "xray" / "train" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    examples = blocks("sh")
    assert len(examples) >= 9
    lines = [f"echo '--- example {n}'\n{block}" for n, block in enumerate(examples, start=1)]
    script = "set -euo pipefail\n" + "\n".join(lines)
    script = script.replace("$(medcoss key)", KEYS[Role.OPERATOR]).replace(ADDRESS, served.url)
    assert "medcoss key" not in script
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    assert "curl:" not in done.stderr and "jq:" not in done.stderr, done.stderr

    def read(name: str) -> object:
        return json.loads((tmp_path / name).read_text())

    assert read("problem.json")["errors"] == json.loads(blocks("json")[0]), "the answer that the page shows"  # type: ignore[index]
    jobs = served.viewer.get("/v1/jobs").json()["items"]
    shared = [job for job in jobs if job["children"] or job["parent"]]
    states = [job["state"] for job in jobs if not {"sizes", "line"} & {*job["tags"]} and job not in shared]
    assert sum("sizes" in job["tags"] for job in jobs) == 2, "the batch, which was cancelled"
    assert [job["state"] for job in jobs if "line" in job["tags"]] == ["cancelled"] * 2, "the pipeline"
    assert (len(shared), [job["state"] for job in shared if job["children"]]) == (5, ["cancelled"])
    assert states == ["cancelled", "succeeded", "succeeded"]
    assert served.viewer.get("/v1/models").json() != LIST
    assert '{"state":"succeeded"}' in (tmp_path / "rest.txt").read_text()
    slides = served.viewer.get("/v1/datasets?name=slides").json()["items"]
    assert [(dataset["state"], dataset["total_bytes"]) for dataset in slides] == [("ready", 11_000_000)]
    assert (tmp_path / "model.safetensors").stat().st_size > 1000
    first = read("files.json")["items"][0]["path"]  # type: ignore[index]
    assert (tmp_path / "first-file").read_bytes() == (tmp_path / "xray" / first).read_bytes()


def test_the_pages_name_every_route(served: Served) -> None:
    text = "".join(page.read_text() for page in sorted(DOCS.glob("*.md")))
    text = re.sub(r"\$(RAW|JOB|TRAINING|OTHER|MODEL|PREPARED)|gc_\.\.\.", "ID", text)
    missing = []
    for path in served.app.openapi()["paths"]:
        pattern = re.sub(r"\\\{\w+\\\}", r"(ID|\\{id\\}|pretrain|production)", re.escape(path))
        if not re.search(pattern + r"(?![\w/])", text):
            missing.append(path)
    assert missing == []
