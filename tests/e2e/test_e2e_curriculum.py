"""The five stages of a curriculum from one request, on generated and on real data, whatever dies on the way."""

import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medcoss.client import Client, Pipeline
from medcoss.specs.forgetting_records import ForgettingInfo
from tests.e2e.curricula import (
    ORDER,
    Faults,
    check_each_step_was_done_once,
    generated,
    reached,
    real,
    stages,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

TRAINING = {"size": "tiny", "epochs": 100, "max_steps": 12, "batch_size": 8, "base_lr": 0.03, "warmup_epochs": 0,
            "vocabulary_size": 300, "reconstructions": 0}  # fmt: skip
LABELLED = ["xray", "pathology"]


def curriculum(made: list[dict[str, Any]], measured: dict[str, Any]) -> dict[str, Any]:
    return {
        "stages": made, "training": TRAINING, "buffer": {"buffer_fraction": 0.5, "centers_fraction": 0.2}, **measured,
    }  # fmt: skip


def started(client: Client, taught: list[dict[str, Any]], name: str, measured: dict[str, Any], steps: int) -> Pipeline:
    """The pipeline of all five stages, from raw data to the last report, from one request."""
    asked = curriculum(taught, measured)
    seen = client.pipelines.validate(curriculum=asked)
    assert seen.valid and seen.gpu_hours.value is not None, seen.errors
    made = client.pipelines.submit(curriculum=asked, name=f"five modalities, {name}")
    assert [step.name for step in made.steps if step.kind == "pretrain"] == ORDER
    assert len(made.steps) == steps
    return made


def check_the_report_is_complete(client: Client, done: Pipeline, folder: Path) -> None:
    """Every stage was measured on every modality that it knows, and what was left of four of them is told."""
    found = client.evaluations.get(done.step("pathology-forgetting").outputs["evaluation"])
    told = ForgettingInfo.model_validate(found.forgetting)
    assert found.model_id == done.step("pathology").outputs["model"]
    assert [(row.stage, row.modality) for row in told.table] == [
        (stage, modality) for stage in range(5) for modality in ORDER[: stage + 1]
    ]
    for row in told.table:
        first = row.stage == ORDER.index(row.modality)
        assert row.loss is not None and row.loss > 0, row
        assert (row.cka is None, row.cosine is None) == (first, first), row
        assert (row.accuracy is not None) == (row.modality in LABELLED), row
    assert [one.modality for one in told.kept] == ORDER[:4]
    assert all(one.forgetting is not None for one in told.kept)
    assert all(math.isfinite(value) for value in found.metrics.values())
    files = {path.name for path in client.evaluations.download(found.id, folder).iterdir()}
    assert files == {"forgetting.json", "forgetting.png"}


def check_it_went_on(client: Client, job_id: str) -> None:
    """A training whose worker was killed has gone on from a checkpoint, in its second attempt."""
    assert [event.attempt for event in client.jobs.events(job_id) if event.type == "running"] == [1, 2]
    told = [line.message for line in client.jobs.logs(job_id) if line.message.startswith("resumed from the checkpoint")]
    (begun,) = [int(line.split()[-1]) for line in told]
    assert 1 <= begun < TRAINING["max_steps"]
    steps = sorted({row.step for row in client.jobs.metrics(job_id) if row.attempt == 2})
    assert steps == list(range(begun + 1, TRAINING["max_steps"] + 1))


def test_five_modalities_are_learnt_from_one_request_and_no_stage_is_lost_or_run_twice(
    client: Client, platform_process: tuple[subprocess.Popen[bytes], Path], tmp_path: Path
) -> None:
    measured = {"forgetting": {"samples": 12, "masks": 1, "probe": "knn"}, "forgetting_after": "last"}
    taught = stages(client, generated(tmp_path), "generated")
    # a stage that is never far from a checkpoint
    taught[ORDER.index("ct")]["training"] = {"checkpoint_every": 1, "log_every": 1}
    made = started(client, taught, "generated", measured, steps=15)
    faults = Faults(platform_process[1])
    for step, part in (
        ("report-data", "trainer"), ("report", "control plane"), ("report-buffer", "redis"), ("xray", "s3"),
    ):  # fmt: skip
        reached(client, made, lambda now, step=step: now.step(step).state == "succeeded", 300, step)
        faults.kill(part)
    reached(client, made, lambda now: client.jobs.get(now.step("ct").job_id).checkpoint_step, 300, "a checkpoint")
    faults.kill("worker")
    reached(client, made, lambda now: now.state == "succeeded", 400, "all of it")
    done = client.pipelines.get(made.id)
    check_each_step_was_done_once(client, done)
    check_it_went_on(client, done.step("ct").job_id)
    check_the_report_is_complete(client, done, tmp_path / "measured")
    last = client.models.get(done.step("pathology").outputs["model"])
    assert (last.modalities, last.stage) == (ORDER, 5)
    assert len(client.jobs.get(done.step("pathology").job_id).spec["rehearsal"]) == 4
    again = client.pipelines.rerun(made.id, {"pathology": {"seed": 7}})
    assert [step.name for step in again.steps if not step.reused] == ["pathology", "pathology-forgetting"]
    client.pipelines.cancel(again.id)


def test_real_files_of_five_modalities_from_one_request(client: Client, real_data: Path, tmp_path: Path) -> None:
    """Each stage is measured right after it, too."""
    taught = stages(client, real(real_data, tmp_path), "real")
    made = started(client, taught, "real", {"forgetting": {"samples": 12}}, steps=19)
    done = client.pipelines.wait(made.id, timeout=600)
    check_each_step_was_done_once(client, done)
    check_the_report_is_complete(client, done, tmp_path / "measured")
