"""Examples of what the API takes and gives, for OpenAPI: instances, so that their models vouch for them."""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from medcoss import __version__
from medcoss.modalities import Kind
from medcoss.specs import (
    JOB_KINDS,
    BuildBufferSpec,
    CompareSpec,
    EmbedSpec,
    EvaluateSpec,
    ExportSpec,
    FinetuneSpec,
    ForgettingSpec,
    ImageFolder,
    ImportModelSpec,
    InspectDatasetSpec,
    PredictSpec,
    PreprocessSpec,
    PretrainSpec,
    Spec,
)
from medcoss.specs.records import BadFile
from services.api import (
    schemas,
    schemas_access,
    schemas_batch,
    schemas_deployments,
    schemas_evaluations,
    schemas_gc,
    schemas_indexes,
    schemas_labels,
    schemas_models,
    schemas_pipelines,
    schemas_uploads,
    schemas_usage,
    schemas_webhooks,
)
from services.core.tables import DEFAULT_PROJECT

RAW, PREPARED, BUFFER = "ds_0199c2b3f00a1b2c3d4e5", "ds_0199c2b4a11b2c3d4e5f6", "ds_0199c2c0d22c3d4e5f607"
MODEL, CLASSIFIER = "mdl_0199c2bf733d4e5f60718", "mdl_0199c2d1c44e5f6071829"
FIRST_STAGE, REPORTS = "mdl_0199c2b9a10b3c4d5e6f7", "ds_0199c2b5c33e4f5a6b7c8"
JOB, KEY = "job_0199c2b44550a1b2c3d4e", "key_0199c2a0166f60718293a"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_URL = "https://s3.clinic.example/medcoss/datasets/" + RAW + "/raw/train/normal/0001.png?X-Amz-Signature=..."
_MORNING = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
_NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
_IMAGES = ImageFolder(name="image_folder", modality="xray", size=(224, 224), labels="folders")

SPECS: dict[str, Spec] = {
    "preprocess": PreprocessSpec(dataset=RAW, recipe=_IMAGES),
    "inspect_dataset": InspectDatasetSpec(dataset=RAW, modality="xray"),
    "pretrain": PretrainSpec(dataset=PREPARED, size="small", epochs=100, batch_size=64),
    "build_buffer": BuildBufferSpec(model=MODEL, dataset=PREPARED, buffer_fraction=0.05),
    "finetune": FinetuneSpec(dataset=PREPARED, task="classification", init_model=MODEL, epochs=20),
    "evaluate": EvaluateSpec(model=CLASSIFIER, dataset=PREPARED, split="test"),
    "forgetting": ForgettingSpec(models=(FIRST_STAGE, MODEL), datasets=(REPORTS, PREPARED)),
    "compare": CompareSpec(
        dataset=PREPARED, task="classification", encoders={"scratch": None, "continual": MODEL}, size="small", epochs=20
    ),
    "embed": EmbedSpec(model=MODEL, dataset=PREPARED, split="test"),
    "predict": PredictSpec(model=CLASSIFIER, dataset=PREPARED),
    "export": ExportSpec(model=CLASSIFIER, name="chest"),
    "import_model": ImportModelSpec(dataset=RAW, file="medcoss_vit_b.pth"),
}


def asked(instance: BaseModel) -> dict[str, Any]:
    """A request as a client writes it: only what it says."""
    return instance.model_dump(mode="json", exclude_unset=True)


REQUESTS = {
    kind: schemas.JobRequest(kind=kind, spec=asked(SPECS[kind]), name=f"{kind} of chest X-rays") for kind in JOB_KINDS
}

_PROJECT = schemas_access.ProjectOut(
    id="prj_0199c29f3770718293041", name="north", description="radiology, north", created_at=_MORNING
)
_FILE = schemas.FileOut(path="train/normal/0001.png", size=48_213, sha256=_SHA256, url=_URL)
_DATASET = schemas.DatasetOut(
    id=PREPARED, project_id=DEFAULT_PROJECT, name="chest", description="", tags=["site:north"],
    role="prepared", state="ready", modality="xray", kind=Kind.IMAGE2D, samples=5_863,
    splits={"train": 5_216, "val": 23, "test": 624},
    classes=["normal", "pneumonia"], has_masks=False, sample_shape=[1, 224, 224],
    recipe=_IMAGES.model_dump(mode="json"),
    bad_files=[BadFile(path="train/normal/0712.png", reason="the file is cut off")], file_count=5,
    total_bytes=294_132_736, parents=[RAW], job_id=JOB, created_at=_MORNING,
)  # fmt: skip
_RAW = schemas.DatasetOut(
    id=RAW, project_id=DEFAULT_PROJECT, name="chest", description="", tags=[], role="raw", state="uploading",
    modality="xray", kind=None, samples=None, splits=None, classes=None, has_masks=False, sample_shape=None,
    recipe=None, bad_files=[], file_count=1, total_bytes=48_213, parents=[], job_id=None, created_at=_MORNING,
)  # fmt: skip
_KEY = schemas_access.KeyOut(
    id=KEY, name="ada's notebook", owner="ada", role="operator", projects=["north"], state="active",
    created_at=_MORNING, expires_at=None, revoked_at=None, last_used_at=_NOON, previous_until=None,
)  # fmt: skip


def _stored(number: int, size: int) -> schemas_usage.StoredOut:
    return schemas_usage.StoredOut(number=number, bytes=size)


_FOUND = schemas_labels.FoundOut(
    type="job", id=JOB, project_id=DEFAULT_PROJECT, name="chest, 224 pixels", notes="all films readable",
    tags=["nightly"], detail="preprocess", state="running", created_at=_MORNING,
)  # fmt: skip

_JOB = schemas.JobOut(
    id=JOB, project_id=DEFAULT_PROJECT, kind="preprocess", name="chest, 224 pixels", state="running",
    notes="all films readable", tags=["nightly"],
    spec=SPECS["preprocess"].model_dump(mode="json"), priority=0, attempt=1, max_attempts=3,
    retry=schemas.Retry(), resources=schemas.Resources(), time_limit_s=None, ran_s=12.5, not_before=None,
    worker="gpu-1", depends_on=[], parent=None, children=None,
    progress=schemas.Progress(done=2_100, total=5_863, fraction=2_100 / 5_863, message="images", eta_s=22.4),
    checkpoint_step=None,
    continues=None,
    result=None, error=None, reason=None, created_by="ada", created_at=_MORNING, started_at=_MORNING,
    finished_at=None, duration_s=None,
)  # fmt: skip

INSTANCES: tuple[BaseModel, ...] = (
    *schemas_webhooks.EXAMPLES,
    *schemas_gc.EXAMPLES,
    *schemas_deployments.EXAMPLES,
    *schemas_evaluations.EXAMPLES,
    *schemas_pipelines.EXAMPLES,
    *schemas_indexes.EXAMPLES,
    *schemas_uploads.EXAMPLES,
    _PROJECT,
    _FILE,
    _DATASET,
    _KEY,
    schemas.DatasetCreated(
        dataset=_RAW, uploads=[schemas.Upload(path=_FILE.path, url=_URL)], expires_at=datetime(2026, 3, 3, tzinfo=UTC)
    ),
    _JOB,
    schemas_batch.BatchOut(jobs=[_JOB]),
    schemas.EventOut(seq=17, attempt=1, type="running", data={"worker": "gpu-1"}, at=_MORNING),
    schemas.MetricOut(seq=204, attempt=1, step=1_500, values={"loss": 0.412, "lr": 0.00015}, at=_NOON),
    schemas.LogOut(seq=88, attempt=1, level="info", message="step 1500: loss 0.412", at=_NOON),
    schemas.ArtifactOut(name="report.json", content_type="application/json", size=1_830, url=_URL),
    schemas_models.ModelOut(
        id=MODEL, project_id=DEFAULT_PROJECT, name="chest", notes="", tags=["candidate"], task="encoder", size="small",
        modalities=["report", "xray"],
        stage=2, modality="xray", kind=Kind.IMAGE2D, classes=None, sample_shape=[1, 224, 224],
        recipe=_IMAGES.model_dump(mode="json"), config={"embed_dim": 384, "depth": 12}, metrics={"loss": 0.387},
        parents=[PREPARED], dataset_id=PREPARED, job_id=JOB, total_bytes=91_750_400, created_at=_NOON,
    ),
    schemas.JobKindOut(
        name="preprocess", description=JOB_KINDS["preprocess"].description, produces=JOB_KINDS["preprocess"].produces
    ),
    schemas.Platform(
        version=__version__, gateway_url="https://gateway.clinic.example",
        limits={"max_file_bytes": 100 * 2**30, "max_dataset_bytes": 500 * 2**30, "max_inference_bytes": 512 * 2**20},
    ),
    schemas_access.KeyCreated(key=_KEY, secret="mk_..."),  # noqa: S106 - an example
    schemas_access.Me(
        key_id=KEY, name=_KEY.name, owner="ada", role="operator", all_projects=False, projects=[_PROJECT],
        expires_at=None,
    ),
    schemas_usage.UsageOut(
        quota_running=4, quota_queued=500,
        owners=[schemas_usage.OwnerUsage(owner="ada", running=1, waiting=3)],
        projects=[
            schemas_usage.ProjectUsage(
                project_id=DEFAULT_PROJECT, project="default", running=1, waiting=3, total_bytes=21_474_836_480,
                datasets=_stored(4, 20_401_094_656), models=_stored(3, 943_718_400), evaluations=_stored(2, 5_242_880),
                indexes=_stored(1, 104_857_600), artifacts=_stored(25, 19_922_944),
            )
        ],
        disk=schemas_usage.DiskOut(total_bytes=2_000_398_934_016, free_bytes=1_412_870_144_000),
    ),
    schemas_labels.SearchOut(items=[_FOUND], more=False),
    schemas_access.AuditOut(
        seq=4_711, at=_NOON, actor="ada", key_id=KEY, address="10.1.2.3", method="POST", route="/v1/jobs",
        path="/v1/jobs", request_id="req_0199c2b4455a1b2c3d4e5", status=201, outcome="done", detail=None,
    ),
)  # fmt: skip

ASKED: tuple[BaseModel, ...] = (
    *schemas_uploads.ASKED,
    *schemas_deployments.ASKED,
    schemas.DatasetRequest(
        name="chest", modality="xray",
        files=[schemas.UploadFile(path=_FILE.path, size=_FILE.size, sha256=_FILE.sha256)],
    ),
    REQUESTS["preprocess"],
    schemas_access.ProjectRequest(name="north", description="radiology, north"),
    schemas_batch.BatchRequest(
        jobs=[
            schemas_batch.BatchJob(
                ref=kind, kind=kind, spec=asked(SPECS[kind]), depends_on=["preprocess"] if kind != "preprocess" else []
            )
            for kind in ("preprocess", "pretrain")
        ]
    ),
    schemas_labels.JobChange(notes="the good one", tags=["nightly"], priority=10),
    schemas_labels.DatasetChange(description="no lateral views", tags=["clean"]),
    schemas_labels.ModelChange(notes="for the reader study", tags=["candidate"]),
    schemas_access.ProjectChange(description="radiology, north and east"),
    schemas_access.KeyRequest(name="ada's notebook", owner="ada", role="operator", projects=["north"]),
    schemas_access.Rotation(grace_s=3600),
)  # fmt: skip

# answers that have no schema of their own, by operation
ANSWERS: dict[str, dict[str, Any]] = {
    "alive": {"status": "ok"},
    "ready": {"database": "ok", "redis": "ok", "s3": "ok"},
    "show_schema": ExportSpec.model_json_schema(),
    "show_defaults": {
        "modality": None,
        "precision": "fp32",
        "accelerator": "none",
        "max_batch_size": 8,
        "queue_delay_us": 500,
        "instances": None,
        "golden": None,
        "tolerance": None,
        "activate": True,
    },
}


def by_schema() -> dict[str, Any]:
    """Examples by the name of their schema."""
    given = {type(instance).__name__: instance.model_dump(mode="json") for instance in INSTANCES}
    return given | {type(instance).__name__: asked(instance) for instance in ASKED}
