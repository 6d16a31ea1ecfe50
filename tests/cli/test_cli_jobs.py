"""`medcoss jobs`; the tests play the worker's part in the database."""

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from medcoss.client import Client
from services.core import attempts
from services.core.storage import ObjectStore
from tests.cli.conftest import Done
from tests.medcoss.client.control_plane import ControlPlane

Medcoss = Callable[..., Done]


def submit(medcoss: Medcoss, raw: str, *more: str) -> dict[str, object]:
    settings = ("--set", f"dataset={raw}", "--set", "recipe.name=image_folder")
    job: dict[str, object] = medcoss("jobs", "submit", "preprocess", *settings, *more, "--json").json
    return job


def claim(plane: ControlPlane, job: dict[str, object]) -> attempts.Claim:
    with plane.database.session() as session:
        claimed = attempts.claim(session, str(job["id"]), "test", 60)
    assert claimed is not None
    return claimed


def test_settings_are_nested_json_or_text(medcoss: Medcoss, raw: str) -> None:
    job = submit(
        medcoss, raw, "--set", "recipe.size=[64, 96]", "--set", "recipe.splits.method=random", "--set",
        "recipe.splits.val_fraction=0.25", "--set", "recipe.mask_suffix=null", "--name", "small", "--priority", "3",
        "--max-attempts", "2",
    )  # fmt: skip
    spec = job["spec"]
    assert isinstance(spec, dict)
    assert spec["recipe"]["size"] == [64, 96]
    assert spec["recipe"]["splits"] == {"method": "random", "val_fraction": 0.25, "test_fraction": 0.1}
    assert spec["recipe"]["mask_suffix"] is None
    assert (job["name"], job["priority"], job["max_attempts"]) == ("small", 3, 2)


def test_a_spec_file_with_settings_on_top(
    medcoss: Medcoss, raw: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {"dataset": raw, "seed": 1, "recipe": {"name": "image_folder", "size": [64, 64]}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = medcoss(
        "jobs", "submit", "preprocess", "--spec", tmp_path / "spec.json", "--set", "recipe.size=[32,32]", "--json"
    )
    assert (done.json["spec"]["seed"], done.json["spec"]["recipe"]["size"]) == (1, [32, 32])
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(spec)))
    assert medcoss("jobs", "submit", "preprocess", "--spec", "-", "--json").json["spec"]["seed"] == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["preprocess", "--set", "dataset"], "expected key=value"),
        (["preprocess", "--set", "a..b=1"], "expected key=value"),
        (["preprocess", "--set", "recipe=x", "--set", "recipe.name=y"], "has no fields"),
        (["preprocess", "--spec", "missing.json"], "No such file"),
        ([], "expected one of preprocess"),
        (["preprocess", "--nonsense"], "No such option"),
    ],
)
def test_wrong_usage_is_exit_code_2(medcoss: Medcoss, arguments: list[str], complaint: str) -> None:
    done = medcoss("jobs", "submit", *arguments)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err


def test_wrong_fields_are_named(medcoss: Medcoss, raw: str) -> None:
    done = medcoss("jobs", "submit", "pretrain", "--set", f"dataset={raw}", "--set", "batchsize=4", "--set", "epochs=0")
    assert (done.code, done.out) == (1, "")
    assert "error: Invalid input (422)" in done.err
    assert "  /spec/batchsize: " in done.err
    assert "  /spec/epochs: " in done.err
    assert "Traceback" not in done.err
    unknown = medcoss("jobs", "submit", "nonsense")
    assert (unknown.code, "expected one of preprocess" in unknown.err) == (1, True)


def test_a_dry_run_submits_nothing(medcoss: Medcoss, raw: str, tmp_path: Path) -> None:
    before = medcoss("jobs", "list", "--json").json
    fitting = ("--set", f"dataset={raw}", "--set", "recipe.name=image_folder")
    done = medcoss("jobs", "submit", "preprocess", *fitting, "--gpus", "2", "--dry-run")
    assert done.code == 0, done.err
    assert "no worker is alive" in done.out and "images of the dataset by name" in done.out
    seen = medcoss("jobs", "submit", "preprocess", *fitting, "--dry-run", "--json").json
    assert (seen["valid"], seen["spec"]["recipe"]["size"]) == (True, [224, 224])
    wrong = medcoss("jobs", "submit", "pretrain", "--set", f"dataset={raw}", "--set", "batchsize=4", "--dry-run")
    assert (wrong.code, "error: /spec/batchsize: there is no such field" in wrong.err) == (1, True)
    spec = {"dataset": raw, "recipe": {"name": "image_folder"}}
    batch = [{"ref": "a", "kind": "preprocess", "spec": spec}, {"kind": "pretrain", "spec": {"dataset": raw}}]
    (tmp_path / "batch.json").write_text(json.dumps(batch))
    many = medcoss("jobs", "submit-many", tmp_path / "batch.json", "--dry-run")
    assert many.code == 1
    assert "error: /jobs/1/spec/dataset: " in many.err and "together" in many.out
    assert medcoss("jobs", "list", "--json").json == before


def test_watching_a_job_that_succeeds(plane: ControlPlane, medcoss: Medcoss, raw: str) -> None:
    job = submit(medcoss, raw)
    claimed = claim(plane, job)
    with plane.database.session() as session:
        attempts.record_progress(
            session, claimed.job_id, claimed.fence, done=30, total=120, message="reading", eta_s=185
        )

    def work() -> None:
        with plane.database.session() as session:
            attempts.succeed(session, claimed.job_id, claimed.fence, {"outputs": {"dataset": "ds_made"}})

    worker = threading.Timer(0.3, work)
    worker.start()
    done = medcoss("jobs", "watch", claimed.job_id, "--json")
    worker.join()
    assert done.json["state"] == "succeeded"
    assert "running 25%, 30/120, reading, 3 min 05 s left" in done.err
    assert "succeeded" in done.err.splitlines()[-1]
    assert "dataset ds_made" in done.err


def test_watching_a_job_that_fails(plane: ControlPlane, medcoss: Medcoss, raw: str) -> None:
    job = submit(medcoss, raw)
    claimed = claim(plane, job)
    problem = {"title": "Input that cannot be used", "detail": "notes.png: no picture", "reason": "data"}
    with plane.database.session() as session:
        attempts.fail(session, claimed.job_id, claimed.fence, problem)
    done = medcoss("jobs", "watch", claimed.job_id)
    assert (done.code, done.out) == (1, "")
    assert "failed" in done.err
    assert "notes.png: no picture" in done.err
    assert "notes.png: no picture" in medcoss("jobs", "show", claimed.job_id).out
    assert "notes.png: no picture" in medcoss("jobs", "events", claimed.job_id).out


def test_submit_and_watch_ends_with_the_job(plane: ControlPlane, medcoss: Medcoss, raw: str, client: Client) -> None:
    def cancel_it() -> None:
        for job in client.jobs.list(state="queued"):
            if job.name == "watched":
                client.jobs.cancel(job.id)
                return
        threading.Timer(0.1, cancel_it).start()

    cancel_it()
    settings = ("--set", f"dataset={raw}", "--set", "recipe.name=image_folder")
    done = medcoss("jobs", "submit", "preprocess", *settings, "--name", "watched", "--watch", "--json")
    assert done.code == 1
    assert json.loads(done.out)["state"] == "cancelled"


def test_what_a_job_reports(plane: ControlPlane, medcoss: Medcoss, raw: str, tmp_path: Path) -> None:
    job = submit(medcoss, raw)
    claimed = claim(plane, job)
    kept = attempts.Artifact("report.json", f"jobs/{claimed.job_id}/artifacts/report.json", "application/json", 2)
    ObjectStore(plane.settings).put_bytes(kept.key, b"{}")
    with plane.database.session() as session:
        attempts.record_rows(
            session, claimed.job_id, claimed.fence,
            metrics=[(1, {"loss/xray": 0.5, "lr": 0.001}), (2, {"loss/xray": 0.25})],
            logs=[("info", "one [bold]line[/bold]"), ("warning", "two")], artifacts=[kept],
        )  # fmt: skip
        attempts.succeed(session, claimed.job_id, claimed.fence, {"outputs": {}})
    assert [row["values"] for row in medcoss("jobs", "metrics", job["id"], "--last", 1, "--json").json] == [
        {"loss/xray": 0.25}
    ]
    table = medcoss("jobs", "metrics", job["id"]).out
    assert "loss/xray 0.5   lr 0.001" in table
    assert "lr" not in medcoss("jobs", "metrics", job["id"], "--name", "loss/xray").out
    assert "one [bold]line[/bold]" in medcoss("jobs", "logs", job["id"]).out
    assert [line["message"] for line in medcoss("jobs", "logs", job["id"], "--json").json][1] == "two"
    for flags in (("--contains", "TWO"), ("--level", "warning"), ("--contains", "two", "--follow")):
        printed = medcoss("jobs", "logs", job["id"], *flags).out
        assert "two" in printed and "one" not in printed, flags
    followed = medcoss("jobs", "logs", job["id"], "--follow", "--json").out.splitlines()
    assert [json.loads(line)["level"] for line in followed] == ["info", "warning"]
    assert [event["type"] for event in medcoss("jobs", "events", job["id"], "--json").json] == [
        "queued", "running", "succeeded",
    ]  # fmt: skip
    assert [a["name"] for a in medcoss("jobs", "artifacts", job["id"], "--json").json] == ["report.json"]
    fetched = medcoss("jobs", "artifacts", job["id"], "--download", tmp_path / "files", "--json").json
    assert [Path(path).read_text() for path in fetched] == ["{}"]


def test_after_list_show_and_cancel(medcoss: Medcoss, raw: str) -> None:
    first = submit(medcoss, raw, "--name", "first")
    second = submit(medcoss, raw, "--after", str(first["id"]), "--name", "second")
    assert second["state"] == "waiting"
    assert str(first["id"]) in medcoss("jobs", "show", second["id"]).out
    waiting = medcoss("jobs", "list", "--state", "waiting", "--kind", "preprocess", "--json").json
    assert second["id"] in [job["id"] for job in waiting]
    assert len(medcoss("jobs", "list", "--limit", "1", "--json").json) == 1
    assert str(second["id"]) in medcoss("jobs", "list").out
    assert medcoss("jobs", "cancel", second["id"], "--json").json["state"] == "cancelled"
    again = medcoss("jobs", "cancel", second["id"])
    assert (again.code, "already" in again.err) == (1, True)
    wrong = medcoss("jobs", "list", "--state", "sleeping")
    assert (wrong.code, "query:state" in wrong.err) == (1, True)
    shared = submit(medcoss, raw, "--set", "chunks=2")
    chunks = medcoss("jobs", "list", "--parent", shared["id"], "--json").json
    assert {(job["kind"], job["parent"]) for job in chunks} == {("preprocess_chunk", shared["id"])}
    assert (len(chunks), shared["children"]) == (2, 2)


def test_kinds_and_their_fields(medcoss: Medcoss, environment: pytest.MonkeyPatch) -> None:
    kinds = [kind["name"] for kind in medcoss("jobs", "kinds", "--json").json]
    assert kinds[:3] == ["preprocess", "inspect_dataset", "pretrain"]
    assert medcoss("jobs", "schema", "pretrain", "--json").json["properties"]["mask_ratio"]["unit"] == "fraction"
    environment.setenv("COLUMNS", "120")
    line = next(line for line in medcoss("jobs", "schema", "pretrain").out.splitlines() if "text_mask_ratio" in line)
    expected = "text_mask_ratio number 0.15 fraction > 0 < 1 share of tokens that are masked"
    assert " ".join(line.split()) == expected
    recipe = medcoss("jobs", "schema", "preprocess").out
    assert "with recipe.name=volume_folder" in recipe
    assert "recipe.splits.val_fraction" in recipe
    environment.setenv("COLUMNS", "80")
    for kind in kinds:
        assert max(map(len, medcoss("jobs", "schema", kind).out.splitlines())) <= 80


def test_help_names_the_kinds_and_their_fields(medcoss: Medcoss) -> None:
    general = medcoss("jobs", "submit", "--help")
    assert general.code == 0
    for kind in ("preprocess", "pretrain", "build_buffer", "finetune", "evaluate", "export", "import_model"):
        assert f"{kind}: " in general.out
    assert "recipe.stride" not in general.out
    assert "recipe.stride" in medcoss("jobs", "submit", "preprocess", "--help").out


def test_scores_of_several_trainings_are_a_table(medcoss: Medcoss, plane: ControlPlane, raw: str) -> None:
    job = submit(medcoss, raw)
    waits = medcoss("jobs", "scores", job["id"])
    assert waits.code == 1 and "is queued; its scores are there when it has succeeded" in waits.err
    held = claim(plane, job)
    one = {"mean": 0.5, "sd": 0.1, "low": 0.4, "high": 0.6, "runs": 2}
    groups = [{"encoder": name, "size": "tiny", "runs": 2, "metrics": {"test/f1": one, "val/f1": one}}
              for name in ("scratch", "continual")]  # fmt: skip
    each = [{"run": 0, "encoder": "scratch", "seed": 7, "model_id": "mdl_0", "metrics": {"test/f1": 0.4}}]
    runs = {"task": "classification", "decides": "val/f1", "best": 0, "groups": groups, "runs": each}
    with plane.database.session() as session:
        attempts.succeed(session, held.job_id, held.fence, {"outputs": {}, "metrics": {}, "runs": runs})
    shown = medcoss("jobs", "scores", job["id"]).out
    assert "continual" in shown and shown.count("0.5000 ± 0.1000") == 2 and "val/f1" not in shown
    assert "val/f1" in medcoss("jobs", "scores", job["id"], "--name", "f1").out
    assert "mdl_0" in medcoss("jobs", "scores", job["id"], "--runs").out
    assert medcoss("jobs", "scores", job["id"], "--json").json[1]["encoder"] == "continual"
    other = submit(medcoss, raw)
    held = claim(plane, other)
    with plane.database.session() as session:
        attempts.succeed(session, held.job_id, held.fence, {})
    assert "no compare job" in medcoss("jobs", "scores", other["id"]).err
