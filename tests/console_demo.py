"""A platform filled with what every page of the console shows: models of a line, evaluations, pipelines, an index."""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medcoss.specs.forgetting_records import ForgettingInfo, Kept, Measured, StageTold
from medcoss.specs.records import EvaluationInfo, FileEntry, IndexInfo
from services.core import attempts, evaluations
from services.core.attempts import Artifact
from services.core.db import Database, migrate
from services.core.registry import register_model
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT, Dataset, Lineage, SearchIndex
from services.core.tables.indexes import IndexFile
from services.core.workers import WorkerState
from services.embedded.servers import Process, free_port, redis_server, s3_server
from tests.api.calls import model_info, prepared, preprocess, take, uploaded
from tests.api.pipelining import DATA, OTHER, done, failed, posted, three, with_two_datasets
from tests.api.serving import Served, start, store_keys
from tests.core.test_core_workers import beat, heard

REPORTS, XRAYS, ATRIA = "ds_reports000000000001", "ds_films0000000000001", "ds_atria0000000000001"
EARLIER = "ds_films0000000000000"
STAGES = ["mdl_stage00000000000001", "mdl_stage00000000000002", "mdl_stage00000000000003"]
CHEST, CHEST_OTHER, ATRIUM = "mdl_chest0000000000001", "mdl_chest0000000000002", "mdl_atrium000000000001"
CLASSES = ["covid", "normal", "pneumonia"]
ROC, OTHER_ROC, DICE, KEPT = (
    "evl_chest00000000001",
    "evl_chest00000000002",
    "evl_atrium0000000001",
    "evl_kept000000000001",
)
INDEX = "idx_films000000000001"


@dataclass(frozen=True)
class Demo:
    """What was made, by what it shows."""

    running: str
    failed: str
    cancelled: str
    training: str


def fill(served: Served) -> Demo:
    """Fill an empty platform."""
    _data(served)
    _line(served)
    _heads(served)
    _forgetting(served)
    _index(served)
    assert served.operator.put("/v1/aliases/production", json={"model_id": STAGES[1]}).status_code == 200
    gate = {"average": 0.05, "modalities": {"report": 0.02}, "accuracy": 0.05}
    assert served.operator.put("/v1/aliases/production/gate", json=gate).status_code == 200
    served.admin.post("/v1/projects", json={"name": "north", "description": "radiology, north"})
    served.admin.post(
        "/v1/keys", json={"name": "ada's notebook", "owner": "ada", "role": "operator", "projects": ["north"]}
    )
    return Demo(*_pipelines(served), _training(served))


def files_of(served: Served, prefix: str, files: dict[str, bytes]) -> list[FileEntry]:
    """Files as a worker stores them."""
    for name, content in files.items():
        served.store.put_bytes(f"{prefix}/{name}", content)
    return [FileEntry(path=n, size=len(c), sha256=hashlib.sha256(c).hexdigest()) for n, c in files.items()]


def _data(served: Served) -> None:
    database = served.database
    raw = uploaded(served.operator, {"a.png": picture(1), "b.png": picture(2)}, name="films-of-the-north-site")
    preprocess(served.operator, raw, name="films, strict")
    prepared(database, REPORTS, modality="report", kind="text", sample_shape=[112], samples=3955,
             splits={"train": 3400, "val": 555})  # fmt: skip
    prepared(database, XRAYS, samples=500, splits={"train": 400, "val": 50, "test": 50}, classes=CLASSES,
             sample_shape=[1, 224, 224], labelled={"train": 400, "val": 50, "test": 50})  # fmt: skip
    prepared(database, ATRIA, modality="mr", kind="volume3d", sample_shape=[1, 32, 96, 96], samples=60,
             splits={"train": 40, "val": 10, "test": 10}, classes=["left_atrium"], has_masks=True)  # fmt: skip
    prepared(database, EARLIER, samples=100, splits={"train": 100}, classes=CLASSES, sample_shape=[1, 224, 224],
             labelled={"train": 100})  # fmt: skip
    named = {REPORTS: "OpenI reports", EARLIER: "chest films, 2025", XRAYS: "chest films", ATRIA: "left atria"}
    with database.session() as session:
        for row, name in named.items():
            session.get_one(Dataset, row).name = name
        earlier = session.get_one(Dataset, EARLIER)
        earlier.created_at, earlier.parents = datetime(2025, 11, 3, 9, tzinfo=UTC), [raw]


def _model(served: Served, model_id: str, name: str, parents: list[str], dataset: str, **about: Any) -> None:
    files = files_of(served, f"models/{model_id}", {"model.safetensors": b"weights" * 1000})
    with served.database.session() as session:
        register_model(session, model_id, name=name, info=model_info(**about), prefix=f"models/{model_id}", files=files,
                       parents=parents, dataset_id=dataset, job_id="job_x", project_id=DEFAULT_PROJECT)  # fmt: skip
        session.add_all(Lineage(child_id=model_id, input_id=each) for each in (*parents, dataset))


def _line(served: Served) -> None:
    steps = [("report", REPORTS, "text", [112]), ("xray", XRAYS, "image2d", [1, 224, 224]),
             ("mr", ATRIA, "volume3d", [1, 32, 96, 96])]  # fmt: skip
    for at, (modality, dataset, kind, shape) in enumerate(steps):
        _model(served, STAGES[at], f"stage {at + 1}, {modality}", STAGES[at - 1 : at] if at else [], dataset,
               size="base", modalities=[step[0] for step in steps[: at + 1]], modality=modality, stage=at + 1,
               kind=kind, sample_shape=shape, metrics={f"val_loss/{modality}": 0.41 + at / 10})  # fmt: skip


def _heads(served: Served) -> None:
    known: dict[str, Any] = {"modalities": ["report", "xray", "mr"], "stage": 3, "size": "base"}
    rng = np.random.default_rng(0)
    for number, (model, evaluation, skill) in enumerate(((CHEST, ROC, 2.2), (CHEST_OTHER, OTHER_ROC, 1.1)), 1):
        _model(served, model, f"chest classifier {number}", [STAGES[2]], XRAYS, task="classification", classes=CLASSES,
               metrics={"val/auc": 0.8 + skill / 20}, **known)  # fmt: skip
        _evaluation(served, evaluation, model, XRAYS, _classified(rng, skill), {"roc.png": picture(3)})
    _model(served, ATRIUM, "left atrium", [STAGES[2]], ATRIA, task="segmentation", classes=["left_atrium", "wall"],
           kind="volume3d", modality="mr", sample_shape=[1, 32, 96, 96],
           metrics={"val/dice": 0.87}, **known)  # fmt: skip
    _evaluation(served, DICE, ATRIUM, ATRIA, _segmented(rng), {"overlay.png": picture(4), "dice.png": picture(5)})


def _classified(rng: np.random.Generator, skill: float) -> EvaluationInfo:
    """Scores of 50 cases, the better the more `skill`."""
    labels = rng.integers(0, 3, 50)
    logits = rng.normal(size=(50, 3)) + skill * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = [[int(np.sum((labels == i) & (probabilities.argmax(1) == j))) for j in range(3)] for i in range(3)]
    cases = [
        {"source": f"test/{CLASSES[label]}/{at:04d}.png", "label": CLASSES[label],
         "predicted": CLASSES[int(row.argmax())], "probabilities": [round(float(value), 6) for value in row]}
        for at, (label, row) in enumerate(zip(labels, probabilities, strict=True))
    ]  # fmt: skip
    right = float(np.mean(probabilities.argmax(1) == labels))
    per_class: list[dict[str, str | int | float | None]] = [
        {"class": name, "cases": sum(table[at]), "f1": right, "auc": 0.9} for at, name in enumerate(CLASSES)
    ]
    return EvaluationInfo(schema_version=2, metrics={"accuracy": right, "f1": right - 0.01, "auc": 0.8 + skill / 20},
                          intervals={"f1": (right - 0.1, right + 0.08)}, classes=CLASSES, per_class=per_class,
                          confusion=table, cases=cases)  # fmt: skip


def _segmented(rng: np.random.Generator) -> EvaluationInfo:
    cases = [
        {"case": f"la_{at:03d}", "class": name, "dice": float(rng.beta(12, 2 if name == "left_atrium" else 6)),
         "hd95_mm": round(float(rng.gamma(4, 2)), 2), "assd_mm": 1.2, "empty": None}
        for at in range(10) for name in ("left_atrium", "wall")
    ]  # fmt: skip
    per_class: list[dict[str, str | int | float | None]] = [
        {"class": name, "cases": 10, "dice": float(np.mean([c["dice"] for c in cases if c["class"] == name]))}  # type: ignore[arg-type]
        for name in ("left_atrium", "wall")
    ]
    return EvaluationInfo(schema_version=2, metrics={"dice": 0.78, "hd95_mm": 7.9}, classes=["left_atrium", "wall"],
                          per_class=per_class, cases=cases, grid="original")  # fmt: skip


def _evaluation(served: Served, evaluation_id: str, model: str, dataset: str, info: EvaluationInfo,
                pictures: dict[str, bytes], split: str = "test") -> None:  # fmt: skip
    content = {"evaluation.json": info.model_dump_json().encode()} | pictures
    files = files_of(served, f"evaluations/{evaluation_id}", content)
    with served.database.session() as session:
        evaluations.register(session, evaluation_id, name=f"scores of {model[4:10]}", info=info, model_id=model,
                             dataset_id=dataset, split=split, files=files, job_id="job_x",
                             project_id=DEFAULT_PROJECT)  # fmt: skip


def _forgetting(served: Served) -> None:
    losses = [("report", [2.41, 2.45, 2.62]), ("xray", [None, 0.31, 0.33]), ("mr", [None, None, 0.44])]
    table = [
        Measured(stage=at, modality=modality, loss=loss, fresh_loss=loss and loss * 1.05,
                 accuracy=(0.82 - 0.06 * at) if modality == "xray" and loss else None,
                 cka=0.97 - 0.04 * at if loss and at else None)
        for modality, row in losses for at, loss in enumerate(row) if loss is not None
    ]  # fmt: skip
    learnt = ["report", "xray", "mr"]
    info = ForgettingInfo(
        stages=[StageTold(model=STAGES[at], stage=at + 1, learnt=[learnt[at]]) for at in range(3)],
        datasets={"report": REPORTS, "xray": XRAYS, "mr": ATRIA}, samples={"report": 256, "xray": 50, "mr": 10},
        table=table,
        kept=[Kept(modality="report", learnt_at=0, backward_transfer=-0.087, forgetting=0.087),
              Kept(modality="xray", learnt_at=1, backward_transfer=-0.065, forgetting=0.065,
                   accuracy_backward_transfer=-0.06, accuracy_forgetting=0.06)],
        average_forgetting=0.076, backward_transfer=-0.076, probe="linear",
    )  # fmt: skip
    scores = EvaluationInfo(schema_version=2, metrics={"backward_transfer": -0.076, "average_forgetting": 0.076},
                            classes=[], forgetting=info)  # fmt: skip
    _evaluation(served, KEPT, STAGES[2], XRAYS, scores, {"forgetting.png": picture(6)}, "val")


def _index(served: Served) -> None:
    rng = np.random.default_rng(1)
    labels = [CLASSES[int(each)] for each in rng.integers(0, 3, 300)]
    places = np.array([[3.0 * CLASSES.index(label), 2.0 * (CLASSES.index(label) % 2)] for label in labels])
    places += rng.normal(0, 0.7, (300, 2))
    names = [f"{at:06d}" for at in range(300)]
    columns = {
        "dataset": [EARLIER if at % 3 == 0 else XRAYS for at in range(300)],
        "sample": names, "group": names, "patient": [""] * 300, "label": labels,
        "source": [f"{label}/{at:04d}.png" for at, label in enumerate(labels)],
        "split": [("train", "train", "val", "test")[at % 4] for at in range(300)],
        "modality": ["xray"] * 300, "samples": [1] * 300, "x": places[:, 0].tolist(), "y": places[:, 1].tolist(),
    }  # fmt: skip
    files = files_of(served, f"indexes/{INDEX}/ixv_1", {"projection.json": json.dumps(columns).encode()})
    info = IndexInfo(level="study", vectors=300, width=768, search="exact",
                     datasets={EARLIER: 100, XRAYS: 200}, modalities=["xray"],
                     projected=300)  # fmt: skip
    with served.database.session() as session:
        session.add(
            SearchIndex(
                id=INDEX, name="films", encoder="@production", datasets=[EARLIER, XRAYS],
                options={"level": "study"}, version=1,
                model_id=STAGES[1], info=info.model_dump(mode="json"), wanted_id=STAGES[1], job_id=None,
                created_by="ada", project_id=DEFAULT_PROJECT,
                files=[IndexFile(path=f"ixv_1/{each.path}", size=each.size, sha256=each.sha256) for each in files],
            )
        )  # fmt: skip


def _pipelines(served: Served) -> tuple[str, str, str]:
    """One whose second stage runs, one that has failed, one that was cancelled."""
    with_two_datasets(served)
    running = posted(served, three(), name="films, then tiles", notes="of the north site")
    first = {step["name"]: step["job_id"] for step in running["steps"]}
    done(served, first["xray"])
    done(served, first["buffer"])
    report(served, first["pathology"], 40, 100, "epoch 40 of 100")
    broken = posted(served, three(), name="films, then tiles, with a bad file")
    failed(served, broken["steps"][0]["job_id"], detail="films/0417.png is cut off after 12,288 of 40,960 bytes")
    stopped = posted(served, {"xray": {"kind": "pretrain", "spec": {"dataset": DATA, "size": "tiny", "epochs": 2}},
                              "tiles": {"kind": "pretrain", "spec": {"dataset": OTHER, "size": "tiny", "epochs": 2}}},
                     name="a trial")  # fmt: skip
    served.operator.post(f"/v1/pipelines/{stopped['id']}/cancel")
    return running["id"], broken["id"], stopped["id"]


def report(served: Served, job_id: str, steps: int, of: int, message: str) -> None:
    """A job that has come so far: its numbers, its log, pictures of three epochs."""
    claim = take(served.database, job_id)
    rng = np.random.default_rng(steps)
    metrics = [
        (step, {"loss/xray": 0.9 * np.exp(-step / 30) + 0.3 + float(rng.normal(0, 0.01)), "lr": 1e-3 * step / of,
                "samples_per_s": 410 + float(rng.normal(0, 9)), "data_wait": 0.04, "peak_memory_gib": 21.4})
        for step in range(1, steps + 1)
    ]  # fmt: skip
    logs = [
        ("warning" if step % 17 == 0 else "info", f"step {step}: loss {values['loss/xray']:.3f}")
        for step, values in metrics
    ]
    artifacts = []
    for epoch in (10, 20, 30):
        name, content = f"reconstruction_xray_epoch{epoch:05d}.png", picture(epoch)
        served.store.put_bytes(f"artifacts/{job_id}/{name}", content)
        artifacts.append(Artifact(name, f"artifacts/{job_id}/{name}", "image/png", len(content)))
    with served.database.session() as session:
        attempts.record_progress(session, job_id, claim.fence, done=steps, total=of, message=message, eta_s=5400)
        assert attempts.record_rows(session, job_id, claim.fence, metrics=metrics, logs=logs, artifacts=artifacts)


def _training(served: Served) -> str:
    spec = {"dataset": DATA, "size": "tiny", "epochs": 100}
    made = served.operator.post(
        "/v1/jobs", json={"kind": "pretrain", "spec": spec, "name": "films, from scratch"}
    ).json()
    report(served, made["id"], 60, 100, "epoch 60 of 100")
    busy = {"state": WorkerState.RUNNING, "job_id": made["id"], "gpus": 2, "gpu_model": "NVIDIA H200",
            "gpu_memory_bytes": 141 * 10**9, "gpu_utilisation": 0.93, "gpu_memory_used_bytes": 180 * 10**9}  # fmt: skip
    heard(served.database, beat("gpu-1:7", **busy), beat("ward-1:7"))
    return str(made["id"])


def picture(seed: int, size: tuple[int, int] = (480, 240)) -> bytes:
    """A picture as PNG: smooth noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 12), dtype=np.uint8))
    out = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(out, format="PNG")
    return out.getvalue()


@contextmanager
def platform(folder: Path) -> Iterator[Served]:
    """An empty control plane with a Redis and an object store of its own, in `folder`."""
    keys = {"access_key": "medcoss-demo", "secret_key": "medcoss-demo-secret"}
    redis_port, s3_port = free_port(), free_port()
    with ExitStack() as stack:
        stack.enter_context(Process(redis_server(folder / "redis", redis_port)))
        stack.enter_context(Process(s3_server(folder / "s3", s3_port, **keys)))
        settings = Settings(
            database_url=f"sqlite:///{folder / 'medcoss.db'}", redis_url=f"redis://127.0.0.1:{redis_port}/0",
            s3_endpoint=f"127.0.0.1:{s3_port}", s3_access_key=keys["access_key"], s3_secret_key=keys["secret_key"],
            s3_bucket="demo", cache_dir=folder / "cache", quota_running=4, quota_queued=50,
        )  # fmt: skip
        migrate(settings.database_url)
        ObjectStore(settings).ensure_bucket()
        database = Database(settings.database_url)
        store_keys(database)
        yield start(stack, settings, database)
        database.engine.dispose()
