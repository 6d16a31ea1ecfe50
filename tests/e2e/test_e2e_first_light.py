"""The whole platform on real X-ray and MR files: from folders on disk to answers over HTTP."""

import csv
import io
import json
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import SimpleITK as sitk
import torch
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from medcoss.client import Client, Job
from medcoss.modalities import Kind
from medcoss.models.registry import load_model
from medcoss.preprocess.serving import ServingPipeline
from medcoss.specs import (
    BuildBufferSpec,
    EvaluateSpec,
    ExportSpec,
    FinetuneSpec,
    ImageFolder,
    PreprocessSpec,
    PretrainSpec,
    Splits,
    VolumeFolder,
)
from services.worker.child import NAME
from tests.e2e.collector import Collector, Span
from tests.worker.work import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CLASSES = ["covid", "normal", "pneumonia"]
TRAIN_PER_CLASS = 40
HELD_OUT_PER_CLASS = 8
TILE = (16, 64, 64)


def finished(client: Client, job: Job) -> Job:
    """The job once it has succeeded."""
    return client.jobs.wait(job.id, timeout=600)


def metric(client: Client, job: Job, name: str) -> list[float]:
    """All values of one metric of a job, in order of step."""
    rows = [(row.step, row.values[name]) for row in client.jobs.metrics(job.id) if name in row.values]
    return [value for _, value in sorted(rows)]


@pytest.fixture(scope="module")
def xray_folder(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of real X-rays, a few per class."""
    root = tmp_path_factory.mktemp("xray")
    for split, count in (("train", TRAIN_PER_CLASS), ("validation", HELD_OUT_PER_CLASS)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for image in sorted((real_data / "xray" / split / name).glob("*.jpg"))[:count]:
                shutil.copy(image, root / split / name)
    return root


@pytest.fixture(scope="module")
def la_folder(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Left-atrium volumes of the training list, with their label maps."""
    root = tmp_path_factory.mktemp("la")
    cases = (real_data / "la_mr" / "train.list").read_text().split()
    for case in cases[:10]:
        for name in (f"{case}.nii.gz", f"{case}_label.nii.gz"):
            shutil.copy(real_data / "la_mr" / name, root)
    return root


@pytest.fixture(scope="module")
def xray_dataset(client: Client, xray_folder: Path) -> str:
    raw = client.datasets.upload(xray_folder, name="chest-xray", modality="xray")
    recipe = ImageFolder(modality="xray", size=(128, 128), labels="folders", splits=Splits(method="folders"))
    job = finished(client, client.jobs.submit("preprocess", PreprocessSpec(dataset=raw.id, recipe=recipe)))
    dataset = client.datasets.get(job.outputs["dataset"])
    assert dataset.classes == CLASSES
    assert dataset.splits == {"train": 3 * TRAIN_PER_CLASS, "val": 3 * HELD_OUT_PER_CLASS}
    return dataset.id


@pytest.fixture(scope="module")
def stage_one(client: Client, xray_dataset: str, platform_process: tuple[subprocess.Popen[bytes], Path]) -> Job:
    """Pre-training on X-ray, whose trainer is killed once it has written a checkpoint."""
    spec = PretrainSpec(
        dataset=xray_dataset, size="tiny", epochs=12, batch_size=16, base_lr=8e-3, warmup_epochs=1, checkpoint_every=20,
        log_every=4, drop_path=0.0,
    )  # fmt: skip
    job = client.jobs.submit("pretrain", spec)
    kill_trainer_after_checkpoint(client, job, platform_process[0].pid)
    return finished(client, job)


def kill_trainer_after_checkpoint(client: Client, job: Job, platform_pid: int) -> None:
    """SIGKILL the runner of `job` as soon as its first checkpoint is on record."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        now = client.jobs.get(job.id)
        assert now.state in {"queued", "running"}, f"ended before it could be killed: {now.state}, {now.error}"
        if now.checkpoint_step:
            break
        time.sleep(0.3)
    else:
        pytest.fail("the trainer wrote no checkpoint")
    trainers = [process for process in psutil.Process(platform_pid).children(recursive=True) if process.name() == NAME]
    assert len(trainers) == 1
    trainers[0].kill()


@pytest.fixture(scope="module")
def classifier(client: Client, stage_one: Job, xray_dataset: str) -> Job:
    spec = FinetuneSpec(
        task="classification", dataset=xray_dataset, init_model=stage_one.outputs["model"], epochs=40, batch_size=16,
        lr=5e-4, drop_path=0.0, validate_every=5, keep="last",
    )  # fmt: skip
    return finished(client, client.jobs.submit("finetune", spec))


@pytest.fixture(scope="module")
def la_dataset(client: Client, la_folder: Path) -> str:
    raw = client.datasets.upload(la_folder, name="left-atrium", modality="mr")
    recipe = VolumeFolder(
        modality="mr", size=TILE, label_suffix="_label", label_names=("left_atrium",),
        splits=Splits(method="random", val_fraction=0.1, test_fraction=0.2),
    )  # fmt: skip
    job = finished(client, client.jobs.submit("preprocess", PreprocessSpec(dataset=raw.id, recipe=recipe)))
    return job.outputs["dataset"]


@pytest.fixture(scope="module")
def stage_two(client: Client, stage_one: Job, xray_dataset: str, la_dataset: str) -> Job:
    """Pre-training on MR with rehearsal of X-ray."""
    buffer = finished(
        client,
        client.jobs.submit(
            "build_buffer",
            BuildBufferSpec(
                model=stage_one.outputs["model"], dataset=xray_dataset, centers_fraction=0.05, buffer_fraction=0.2
            ),
        ),
    )
    spec = PretrainSpec(
        dataset=la_dataset, init_model=stage_one.outputs["model"], rehearsal=(buffer.outputs["dataset"],), epochs=60,
        max_steps=300, batch_size=16, base_lr=1.6e-2, warmup_epochs=1, log_every=4, drop_path=0.0,
    )  # fmt: skip
    return finished(client, client.jobs.submit("pretrain", spec))


@pytest.fixture(scope="module")
def segmenter(client: Client, stage_two: Job, la_dataset: str) -> Job:
    spec = FinetuneSpec(
        task="segmentation", dataset=la_dataset, init_model=stage_two.outputs["model"], epochs=40, max_steps=200,
        batch_size=4, lr=3e-3, drop_path=0.0, validate_every=20,
    )  # fmt: skip
    return finished(client, client.jobs.submit("finetune", spec))


def test_a_killed_trainer_resumes_from_its_checkpoint(client: Client, stage_one: Job) -> None:
    assert stage_one.attempt == 2
    first = [row.step for row in client.jobs.metrics(stage_one.id) if row.attempt == 1]
    second = [row.step for row in client.jobs.metrics(stage_one.id) if row.attempt == 2]
    assert max(first) >= 20
    assert min(second) > 20, "the second attempt started again instead of resuming"


def test_one_trace_leads_from_the_request_to_the_trainer(stage_one: Job, collector: Collector) -> None:
    """Two attempts, of which one was killed: both belong to the request that made the job."""

    def spans_of(name: str) -> list[Span]:
        return [s for s in list(collector.spans) if s.name == name and s.attributes.get("job_id") == stage_one.id]

    attempts = until(lambda: spans_of("attempt pretrain")[1:] and spans_of("attempt pretrain"), 30, "both attempts")
    (trainer,) = until(lambda: spans_of("job pretrain"), 30, "the trainer that was not killed")
    (trace,) = {span.trace for span in [*attempts, trainer]}
    (request,) = until(lambda: [s for s in collector.of(trace) if s.service == "medcoss-api"], 30, "the request")
    assert (request.name, request.parent, request.attributes["http.response.status_code"]) == ("POST /v1/jobs", "", 201)
    assert request.attributes["request_id"].startswith("req_")
    assert [(s.service, s.parent) for s in attempts] == [("medcoss-worker", request.id)] * 2
    assert [(s.attributes["attempt"], s.attributes["state"]) for s in sorted(attempts, key=lambda s: s.began)] == [
        (1, "queued"), (2, "succeeded"),
    ]  # fmt: skip
    second = next(span for span in attempts if span.attributes["attempt"] == 2)
    assert (trainer.service, trainer.parent) == ("medcoss-job", second.id)
    assert request.began <= second.began <= trainer.began <= trainer.ended <= second.ended
    below = [span for span in collector.of(trace) if span.service == "medcoss-job" and span.began >= second.began]
    steps = [span for span in below if span.name == "steps"]
    assert max(span.attributes["last_step"] for span in steps) == stage_one.progress.total
    # its data were there from the first attempt
    assert {"stage training", "checkpoint", "upload", "s3 put"} <= {span.name for span in below}
    known = {span.id for span in collector.of(trace)}
    # of the killed trainer some spans may have been on their way
    assert all(span.parent in known for span in below if span is not request)


def test_prometheus_finds_all_processes(
    client: Client, stage_one: Job, platform_process: tuple[subprocess.Popen[bytes], Path], metrics_port: int
) -> None:
    def scraped(address: str) -> dict[str, list[Sample]]:
        told = httpx.get(f"{address}/metrics", trust_env=False)
        assert told.status_code == 200
        return {family.name: family.samples for family in text_string_to_metric_families(told.text)}

    def count(found: dict[str, list[Sample]], name: str, **labels: str) -> float:
        return sum(s.value for s in found[name] if labels.items() <= s.labels.items())

    running = json.loads((platform_process[1] / "platform.json").read_text())
    control = scraped(running["url"])
    worker, beat = (scraped(f"http://127.0.0.1:{metrics_port + n}") for n in (0, 1))
    assert count(control, "medcoss_jobs", state="succeeded") >= 2
    assert count(control, "medcoss_attempt_failures", reason="killed") >= 1
    assert count(control, "medcoss_workers") == 1 and count(control, "medcoss_worker_heartbeat_age_seconds") < 30
    assert count(worker, "medcoss_attempts", kind="pretrain", state="succeeded") >= 1
    assert count(worker, "medcoss_s3_seconds", operation="get") > 0, "what its jobs have fetched"
    assert abs(time.time() - count(beat, "medcoss_sweep_last_timestamp_seconds")) < 30
    assert count(worker, "medcoss_sweep_last_timestamp_seconds") == 0, "it only mends what it has finished itself"
    gateway = scraped(client.platform().gateway_url)
    assert {"medcoss_http_requests", "medcoss_s3_seconds", "medcoss_db_seconds"} <= set(control)
    assert "medcoss_gateway_requests" in gateway


def test_pretraining_learns(client: Client, stage_one: Job, stage_two: Job) -> None:
    for job, name in ((stage_one, "loss/xray"), (stage_two, "loss/mr")):
        values = metric(client, job, name)
        assert np.isfinite(values).all()
        # the mean of every patch, known without learning anything, scores 1
        assert np.mean(values[-5:]) < min(0.96, 0.93 * values[0]), f"{name} did not fall: {values}"
    distances = metric(client, stage_two, "distill/xray")
    assert distances[-1] < 0.2 * max(distances), f"the student left the teacher for good: {distances}"
    model = client.models.get(stage_two.outputs["model"])
    assert model.modalities == ["xray", "mr"]
    assert model.stage == 2


def test_classifier_answers_over_http_as_in_pytorch(
    client: Client, classifier: Job, xray_dataset: str, xray_folder: Path, tmp_path: Path
) -> None:
    model = client.models.get(classifier.outputs["model"])
    assert model.metrics["train/accuracy"] > 0.7, "three classes: chance is 0.33"
    scores = finished(
        client, client.jobs.submit("evaluate", EvaluateSpec(model=model.id, dataset=xray_dataset, split="val"))
    )
    assert scores.result["metrics"]["accuracy"] > 0.45

    finished(client, client.jobs.submit("export", ExportSpec(model=model.id, name="chest-e2e")))
    network, info = load_model(client.models.download(model.id, tmp_path / "model"))
    pipeline = ServingPipeline(info.recipe, Kind.IMAGE2D)
    images = [sorted((xray_folder / "validation" / name).glob("*.jpg"))[0] for name in CLASSES]
    for image in images:
        answer = client.inference.classify("chest-e2e", image)
        with torch.no_grad():
            logits = network(torch.from_numpy(pipeline.image(image.read_bytes(), image.name)))
        logits = logits[0] if isinstance(logits, tuple) else logits
        expected = torch.softmax(logits, dim=1).squeeze(0).tolist()
        assert list(answer.probabilities) == CLASSES
        assert list(answer.probabilities.values()) == pytest.approx(expected, abs=1e-3)


def test_dicom_is_classified(client: Client, classifier: Job, real_data: Path) -> None:
    finished(client, client.jobs.submit("export", ExportSpec(model=classifier.outputs["model"], name="chest-dicom")))
    for name in ("cr_mono2_8bit.dcm", "cr_mono1_10bit_real.dcm"):
        answer = client.inference.classify("chest-dicom", real_data / "xray" / "dicom" / name)
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_segmenter_masks_fit_the_held_out_volume(
    client: Client, segmenter: Job, la_dataset: str, real_data: Path, tmp_path: Path
) -> None:
    model = client.models.get(segmenter.outputs["model"])
    assert model.metrics["train/dice"] > 0.5
    scores = finished(
        client, client.jobs.submit("evaluate", EvaluateSpec(model=model.id, dataset=la_dataset, split="test"))
    )
    assert scores.result["metrics"]["dice"] > 0.3
    assert scores.result["metrics"]["hd95_mm"] > 0

    finished(client, client.jobs.submit("export", ExportSpec(model=model.id, name="atrium-e2e")))
    case = (real_data / "la_mr" / "test.list").read_text().split()[0]
    volume = real_data / "la_mr" / f"{case}.nii.gz"
    mask_file = tmp_path / "mask.nii.gz"
    mask_file.write_bytes(client.inference.segment("atrium-e2e", volume))

    image, mask = sitk.ReadImage(str(volume)), sitk.ReadImage(str(mask_file))
    assert mask.GetSize() == image.GetSize()
    for of in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, of)() == pytest.approx(getattr(image, of)(), abs=1e-5)
    predicted = sitk.GetArrayFromImage(mask) > 0
    reference = sitk.GetArrayFromImage(sitk.ReadImage(str(volume).replace(".nii.gz", "_label.nii.gz"))) > 0
    dice = 2 * (predicted & reference).sum() / (predicted.sum() + reference.sum())
    assert dice > 0.3, "far above the overlap of a random mask of the same size"


def test_encoder_embeds(client: Client, stage_two: Job, xray_folder: Path) -> None:
    finished(
        client,
        client.jobs.submit("export", ExportSpec(model=stage_two.outputs["model"], name="encoder-e2e", modality="xray")),
    )
    image = sorted((xray_folder / "validation" / "normal").glob("*.jpg"))[0]
    first, second = (client.inference.embed("encoder-e2e", image).embedding for _ in range(2))
    assert len(first) == 192
    assert first == pytest.approx(second, abs=1e-6)


def test_reports_are_pretrained_and_embedded(client: Client, real_data: Path, tmp_path: Path) -> None:
    with (real_data / "reports" / "reports.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))[:401]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "reports.csv").write_text(text.getvalue(), encoding="utf-8")
    raw = client.datasets.upload(tmp_path / "reports", name="openi", modality="report")
    prepared = finished(
        client,
        client.jobs.submit("preprocess", {"dataset": raw.id, "recipe": {"name": "openi_reports"}}),
    )
    spec = PretrainSpec(
        dataset=prepared.outputs["dataset"], size="tiny", epochs=3, batch_size=16, base_lr=8e-3, warmup_epochs=1,
        vocabulary_size=2000, log_every=4,
    )  # fmt: skip
    job = finished(client, client.jobs.submit("pretrain", spec))
    values = metric(client, job, "loss/report")
    assert np.mean(values[-3:]) < 0.9 * values[0]
    finished(client, client.jobs.submit("export", ExportSpec(model=job.outputs["model"], name="report-encoder")))
    answer = client.inference.embed("report-encoder", "No acute cardiopulmonary disease.")
    assert len(answer.embedding) == 192
