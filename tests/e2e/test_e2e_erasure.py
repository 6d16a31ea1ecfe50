"""A patient withdraws: what holds their data is marked, and made anew without them by real jobs."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medcoss.client import Client, Pipeline
from medcoss.client.lines import LineageGraph
from medcoss.phantoms import xray
from services.cli.main import run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

RECIPE = {"name": "image_folder", "modality": "xray", "size": [32, 32], "patient_pattern": "^(p[0-9])"}
STAGE = {"size": "tiny", "epochs": 2, "max_steps": 2, "batch_size": 2, "warmup_epochs": 0, "reconstructions": 0}


@pytest.fixture
def learnt(client: Client, tmp_path: Path) -> Pipeline:
    """A stage on the films of two patients, p0 and p1."""
    (tmp_path / "films").mkdir()
    for number, item in zip(range(4), xray.items(0), strict=False):
        item.write(tmp_path)
        (tmp_path / item.path).rename(tmp_path / "films" / f"p{number % 2}_{number}{Path(item.path).suffix}")
    raw = client.datasets.upload(tmp_path / "films", name="two-patients", modality="xray")
    steps: dict[str, Any] = {
        "films": {"kind": "preprocess", "spec": {"dataset": raw.id, "recipe": RECIPE}},
        "xray": {"kind": "pretrain", "spec": STAGE | {"dataset": {"from": "films.dataset"}}},
    }
    return client.pipelines.wait(client.pipelines.submit(steps, name="two patients").id, timeout=200)


def made_by(done: Pipeline, step: str, noun: str) -> str:
    return str(done.step(step).outputs[noun])


def ids(graph: LineageGraph) -> set[str]:
    return {node.id for node in graph.nodes}


def test_what_holds_a_patient_is_marked_and_made_anew_by_jobs(
    client: Client, learnt: Pipeline, platform_process: tuple[subprocess.Popen[bytes], Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("MEDCOSS_DATA_DIR", str(platform_process[1]))
    old, trained = made_by(learnt, "films", "dataset"), made_by(learnt, "xray", "model")
    assert client.models.holders(patient="p0").models == [trained]
    assert run(["erasures", "create", "--patient", "p0", "--reason", "withdrew", "--rebuild", "--json"]) == 0
    erasure = json.loads(capsys.readouterr().out)
    assert (erasure["datasets"], erasure["models"]) == ({old: ["train"]}, [trained])
    done = client.pipelines.wait(erasure["pipeline_id"], timeout=200)
    new, again = made_by(done, old, "dataset"), made_by(done, trained, "model")
    # only one of both patients is left, and the stage was trained as the first one was
    assert [client.datasets.get(one).samples for one in (old, new)] == [4, 2]
    specs = [client.jobs.get(each.step(name).job_id).spec for each, name in ((learnt, "xray"), (done, trained))]
    assert specs[1] == specs[0] | {"dataset": new}
    for graph, marked in ((client.models.lineage(trained), True), (client.models.lineage(again), False)):
        assert [bool(node.erasures) for node in graph.nodes if node.what != "raw"] == [marked, marked]
    assert not {old, trained} & ids(client.models.lineage(again))
    held = client.models.holders(patient="p0")
    assert (held.datasets, held.models) == ({old: ["train"]}, [trained])
    assert client.models.holders(patient="p1").models == sorted([trained, again])
    assert run(["erasures", "rebuild", erasure["id"]]) == 1
    assert f"{done.id} makes anew what {erasure['id']} has marked" in capsys.readouterr().err
