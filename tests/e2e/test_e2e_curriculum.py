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
    real,
    stages,
    watched,
)
from tests.worker.work import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

TRAINING = {"size": "tiny", "epochs": 100, "max_steps": 12, "batch_size": 8, "base_lr": 0.03, "warmup_epochs": 0,
            "vocabulary_size": 300, "reconstructions": 0}  # fmt: skip
LABELLED = ["xray", "pathology"]


def curriculum(made: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "stages": made, "training": TRAINING, "buffer": {"buffer_fraction": 0.5, "centers_fraction": 0.2},
        "forgetting": {"samples": 12},
    }  # fmt: skip


def started(client: Client, folders: dict[str, Path], name: str) -> Pipeline:
    """The pipeline of all five stages, from raw data to the last report, from one request."""
    asked = curriculum(stages(client, folders, name))
    seen = client.pipelines.validate(curriculum=asked)
    assert seen.valid and seen.gpu_hours.value is not None, seen.errors
    made = client.pipelines.submit(curriculum=asked, name=f"five modalities, {name}")
    assert [step.name for step in made.steps if step.kind == "pretrain"] == ORDER
    assert len(made.steps) == 19
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


def test_five_modalities_are_learnt_from_one_request_and_no_stage_is_lost_or_run_twice(
    client: Client, platform_process: tuple[subprocess.Popen[bytes], Path], tmp_path: Path
) -> None:
    made = started(client, generated(tmp_path), "generated")
    faults = Faults(platform_process[1])
    for step, part in (
        ("report-data", "trainer"),
        ("report", "control plane"),
        ("report-buffer", "redis"),
        ("xray", "s3"),
        ("ct", "worker"),
    ):
        until(watched(client, made, lambda now, step=step: now.step(step).state == "succeeded"), 300, step)
        faults.kill(part)
    until(watched(client, made, lambda now: now.state == "succeeded"), 400, "all of it")
    done = client.pipelines.get(made.id)
    check_each_step_was_done_once(client, done)
    check_the_report_is_complete(client, done, tmp_path / "measured")
    last = client.models.get(done.step("pathology").outputs["model"])
    assert (last.modalities, last.stage) == (ORDER, 5)
    assert len(client.jobs.get(done.step("pathology").job_id).spec["rehearsal"]) == 4
    again = client.pipelines.rerun(made.id, {"pathology": {"seed": 7}})
    assert [step.name for step in again.steps if not step.reused] == ["pathology", "pathology-forgetting"]
    client.pipelines.cancel(again.id)


def test_real_files_of_five_modalities_from_one_request(client: Client, real_data: Path, tmp_path: Path) -> None:
    made = started(client, real(real_data, tmp_path), "real")
    done = client.pipelines.wait(made.id, timeout=600)
    check_each_step_was_done_once(client, done)
    check_the_report_is_complete(client, done, tmp_path / "measured")
