"""`medcoss pipelines`, `medcoss curriculum` and `client.pipelines`; the tests play the worker's part."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medcoss.client import Client, JobFailed
from services.core import attempts
from services.core.jobs import problem
from services.core.sweep import sweep
from services.core.tables import Job
from services.core.tables.base import now
from tests.api.calls import prepared, trained
from tests.cli.conftest import Done
from tests.medcoss.client.control_plane import ControlPlane

Medcoss = Callable[..., Done]
FILMS, TILES, OTHER = "ds_cli00films", "ds_cli00tiles", "ds_cli00other"
ABOUT: dict[str, Any] = {"samples": 10, "splits": {"train": 8, "val": 2}}
STAGES = ("--stage", f"xray={FILMS}", "--stage", f"pathology={TILES}", "--size", "tiny", "--set", "training.epochs=1")


@pytest.fixture(scope="module")
def data(plane: ControlPlane) -> None:
    prepared(plane.database, FILMS, **ABOUT)
    prepared(plane.database, TILES, modality="pathology", sample_shape=[3, 32, 32], **ABOUT)
    prepared(plane.database, OTHER, **ABOUT)


def end(plane: ControlPlane, job_id: str, outputs: dict[str, str] | None) -> None:
    with plane.database.session() as session:
        claim = attempts.claim(session, job_id, "test", 60)
        assert claim is not None
        if outputs is None:
            attempts.fail(session, job_id, claim.fence, problem("Broken", "the file is cut off", "data"))
        else:
            attempts.succeed(session, job_id, claim.fence, {"outputs": outputs, "metrics": {}})
    with plane.database.session() as session:
        sweep(session, now())


def test_a_pipeline_from_a_file_is_watched_tried_again_and_repeated(
    medcoss: Medcoss, client: Client, plane: ControlPlane, data: None, tmp_path: Path
) -> None:
    stage = {"kind": "pretrain", "spec": {"dataset": FILMS, "size": "tiny", "epochs": 2, "batch_size": 4}}
    kept = {"kind": "build_buffer", "spec": {"model": {"from": "xray.model"}, "dataset": FILMS}}
    file = tmp_path / "line.json"
    file.write_text(json.dumps({"name": "line", "steps": {"xray": stage, "kept": kept}}))
    told = medcoss("pipelines", "submit", file, "--dry-run")
    assert told.code == 0 and "together" in told.out and "GPU hours" in told.out, told.err
    made = medcoss("pipelines", "submit", file, "--json").json
    assert (made["name"], [step["state"] for step in made["steps"]]) == ("line", ["queued", "waiting"])
    end(plane, made["steps"][0]["job_id"], None)
    watched = medcoss("pipelines", "watch", made["id"])
    assert watched.code == 1 and "step 'xray'" in watched.err and "cut off" in watched.err
    with pytest.raises(JobFailed, match="step 'xray' of pipeline"):
        client.pipelines.wait(made["id"])
    assert medcoss("pipelines", "retry", made["id"]).out.strip() == made["id"]
    again = client.pipelines.get(made["id"])
    assert again.step("xray").earlier_jobs == [made["steps"][0]["job_id"]]
    end(plane, again.step("xray").job_id, {"model": trained(plane.database, None, "mdl_cli0pipes1")})
    end(plane, again.step("kept").job_id, {"dataset": prepared(plane.database, "ds_cli0kept00", role="buffer")})
    shown = medcoss("pipelines", "show", made["id"]).out
    assert "2 of 2 steps are done" in shown and "ds_cli0kept00" in shown
    listed = medcoss("pipelines", "list", "--state", "succeeded", "--name", "li").out
    assert made["id"] in listed and "2/2" in listed
    repeated = medcoss("pipelines", "rerun", made["id"], "--set", "kept.buffer_fraction=0.5", "--json").json
    assert [step["reused"] for step in repeated["steps"]] == [True, False]
    assert repeated["steps"][1]["spec"]["buffer_fraction"] == 0.5
    assert medcoss("pipelines", "pause", repeated["id"]).out.split()[1] == "paused"
    assert medcoss("pipelines", "resume", repeated["id"]).out.split()[1] == "queued"
    assert medcoss("pipelines", "cancel", repeated["id"]).out.split()[1] == "cancelled"
    assert medcoss("pipelines", "delete", repeated["id"]).code == 0
    assert medcoss("pipelines", "show", repeated["id"]).code == 1
    file.write_text("{}")
    assert "holds no steps" in medcoss("pipelines", "submit", file).err
    assert medcoss("pipelines", "rerun", made["id"], "--set", "kept=1").code == 2


def test_a_curriculum_is_planned_printed_run_and_extended(
    medcoss: Medcoss, client: Client, plane: ControlPlane, data: None
) -> None:
    planned = medcoss("curriculum", "plan", *STAGES)
    assert planned.code == 0, planned.err
    rows = {line.split()[0]: line for line in planned.out.splitlines() if line.strip()}
    assert {"xray", "xray-buffer", "pathology", "together"} <= rows.keys()
    # a batch of 8 samples each, and one of the buffer's single sample
    seen = medcoss("curriculum", "plan", *STAGES, "--json").json
    assert [seen["steps"][name]["steps"]["value"] for name in ("xray", "pathology")] == [1, 2]
    assert seen["training_steps"]["value"] == 3 and seen["gpu_hours"]["value"] > 0
    steps = medcoss("curriculum", "steps", *STAGES).json["steps"]
    assert list(steps) == ["xray", "xray-buffer", "pathology"]
    started = medcoss("curriculum", "run", *STAGES, "--name", "two", "--json")
    made = started.json
    assert (made["name"], len(made["steps"])) == ("two", 3) and "GPU hours" in started.err
    client.pipelines.cancel(made["id"])
    model = trained(plane.database, None, "mdl_cli0pipes2", modalities=["xray"])
    told = medcoss("curriculum", "extend", model, "--stage", f"xray={OTHER}", "--dry-run")
    assert told.code == 0 and "together" in told.out and "pip_" not in told.out
    more = medcoss("curriculum", "extend", model, "--stage", f"xray={OTHER}", "--json").json
    assert more["steps"][0]["spec"]["init_model"] == model
    client.pipelines.cancel(more["id"])
    assert "no stage is given" in medcoss("curriculum", "plan").err
    assert medcoss("curriculum", "plan", "--stage", "xray").code == 2
    wrong = medcoss("curriculum", "plan", "--stage", f"ct={FILMS}")
    assert (wrong.code, wrong.out) == (1, "") and "shows 'xray', not 'ct'" in wrong.err


def test_an_ablation_is_one_pipeline_whose_arms_are_put_into_a_table(
    medcoss: Medcoss, client: Client, plane: ControlPlane, data: None
) -> None:
    arms = ("--arms", "none,kmeans-mixup", "--seeds", "0,1")
    told = medcoss("curriculum", "ablation", *STAGES, *arms, "--dry-run")
    assert told.code == 0 and "kmeans-mixup-1-forgetting" in told.out, told.err
    made = medcoss("curriculum", "ablation", *STAGES, *arms, "--json").json
    steps = {step["name"]: step["job_id"] for step in made["steps"]}
    # of each seed, two arms share their first stage
    assert len(steps) == 2 * (1 + 1 + 3 + 1)
    assert "has succeeded yet" in medcoss("curriculum", "table", made["id"]).err
    for seed, value in ((0, 0.1), (1, 0.3)):
        with plane.database.session() as session:
            row = session.get_one(Job, steps[f"none-{seed}-forgetting"])
            row.state, row.result = "succeeded", {"outputs": {}, "metrics": {"average_forgetting": value}}
    shown = medcoss("curriculum", "table", made["id"]).out
    assert "none" in shown and "0.2 +- 0.1414" in shown
    client.pipelines.cancel(made["id"])
    further = medcoss("curriculum", "ablation", *STAGES, "--set", "init_model=mdl_cli0pipes1")
    assert (further.code, "rehearse in init_buffers" in further.err) == (1, True)
    assert "there is no arm 'some'" in medcoss("curriculum", "ablation", *STAGES, "--arms", "some").err
