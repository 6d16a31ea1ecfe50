"""The five stages of a curriculum from one request, on generated data, whatever dies on the way."""

import subprocess
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from medcoss.client import Client, Pipeline, ServerUnreachable, local_platform
from medcoss.phantoms import ct, mr, pathology, reports, xray
from tests.worker.work import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ORDER = ["report", "xray", "ct", "mr", "pathology"]
IMAGES = {"name": "image_folder", "size": [32, 32]}
VOLUMES = {"name": "volume_folder", "size": [16, 32, 32], "stride": 16, "splits": {"method": "folders"}}
# the generator, its folder, how many of its files, and how they are prepared
DATA: dict[str, tuple[ModuleType, str, int, dict[str, Any]]] = {
    "report": (reports, "reports", 1, {"name": "openi_reports"}),
    "xray": (xray, "xray", 6, IMAGES | {"modality": "xray"}),
    "ct": (ct, "ct", 1, VOLUMES | {"modality": "ct"}),
    "mr": (mr, "mr", 2, VOLUMES | {"modality": "mr"}),
    "pathology": (pathology, "pathology", 6, IMAGES | {"modality": "pathology"}),
}


@pytest.fixture(scope="module")
def stages(client: Client, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A few generated files of each modality, uploaded."""
    root = tmp_path_factory.mktemp("generated")
    made = []
    for modality in ORDER:
        module, folder, count, recipe = DATA[modality]
        for item in module.items(0)[:count]:
            item.write(root)
        raw = client.datasets.upload(root / folder, name=f"few-{modality}", modality=modality)
        made.append({"modality": modality, "dataset": raw.id, "prepare": {"recipe": recipe}})
    return made


def kill(folder: Path, name: str) -> None:
    """End a part of the platform at once; it is started again."""
    platform = local_platform(folder)
    assert platform is not None
    for part in platform.parts:
        if part.name == name:
            psutil.Process(part.pid).kill()
            return
    raise AssertionError(f"no part {name} among {[part.name for part in platform.parts]}")


def ended(client: Client, made: Pipeline, step: str) -> bool:
    """Whether a step has succeeded; a control plane that is away says nothing."""
    try:
        now = client.pipelines.get(made.id)
    except ServerUnreachable:
        return False
    assert now.state not in {"failed", "cancelled"}, [(each.name, each.state, each.error) for each in now.steps]
    return now.step(step).state == "succeeded"


def test_five_modalities_are_learnt_from_one_request_and_no_stage_is_lost_or_run_twice(
    client: Client, stages: list[dict[str, Any]], platform_process: tuple[subprocess.Popen[bytes], Path]
) -> None:
    training = {"size": "tiny", "epochs": 1, "max_steps": 2, "batch_size": 8, "vocabulary_size": 300,
                "reconstructions": 0}  # fmt: skip
    curriculum = {"stages": stages, "training": training, "buffer": {"buffer_fraction": 0.5, "centers_fraction": 0.2}}
    seen = client.pipelines.validate(curriculum=curriculum)
    assert seen.valid and seen.gpu_hours.value is not None, seen.errors
    made = client.pipelines.submit(curriculum=curriculum, name="five modalities")
    assert [step.name for step in made.steps if step.kind == "pretrain"] == ORDER
    until(lambda: ended(client, made, "report"), 300, "the first stage")
    kill(platform_process[1], "control plane")
    until(lambda: ended(client, made, "ct"), 300, "the third stage")
    kill(platform_process[1], "worker")
    done = client.pipelines.wait(made.id, timeout=300)
    assert (done.state, done.progress.done) == ("succeeded", 14)
    last = client.models.get(done.step("pathology").outputs["model"])
    assert (last.modalities, last.stage) == (ORDER, 5)
    job = client.jobs.get(done.step("pathology").job_id)
    assert len(job.spec["rehearsal"]) == 4
    for step in done.steps:
        told = Counter(event.type for event in client.jobs.events(step.job_id))
        assert (told["succeeded"], told["queued"] >= 1) == (1, True), step.name
        rows = [*client.models.list(job_id=step.job_id), *client.datasets.list(job_id=step.job_id)]
        assert len(rows) == 1, f"{step.name} made {rows}"
    again = client.pipelines.rerun(made.id, {"pathology": {"seed": 7}})
    assert [step.name for step in again.steps if not step.reused] == ["pathology"]
    client.pipelines.cancel(again.id)
