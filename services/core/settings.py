"""Settings of every service, from environment variables that start with MEDCOSS_, or from files of those names."""

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

# where secrets are files, as containers have them: neither in the environment nor in `docker inspect`
SECRETS_DIR = "MEDCOSS_SECRETS_DIR"


class DicomWebServer(BaseModel):
    """A DICOMweb server that inputs may be fetched from: its base address, and what it wants in `Authorization`."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(pattern=r"^https?://[^/?#\s@]+(/[^?#\s]*)?$")
    authorization: SecretStr | None = None


class Settings(BaseSettings):
    """Where the parts are and how they behave. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="MEDCOSS_", extra="ignore")

    database_url: str = Field("sqlite:///medcoss.db", description="SQLAlchemy URL: SQLite or postgresql+psycopg")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="broker of Celery")

    s3_endpoint: str = Field("127.0.0.1:9000", description="host:port of the object store")
    s3_public_endpoint: str | None = Field(None, description="host:port that clients reach, in presigned URLs")
    s3_access_key: SecretStr = SecretStr("")
    s3_secret_key: SecretStr = SecretStr("")
    s3_bucket: str = "medcoss"
    s3_secure: bool = False
    s3_public_secure: bool | None = Field(None, description="whether clients reach it by TLS; None: as the services do")
    s3_region: str = "us-east-1"

    triton_url: str = Field("127.0.0.1:8002", description="host:port of Triton's HTTP endpoint")
    triton_model_dir: Path | None = Field(None, description="model repository on disk; None: Triton reads the bucket")
    triton_backend: Literal["python", "onnxruntime"] = "python"
    drain_s: float = Field(
        30,
        ge=0,
        description="a version that was deleted stays loaded so long, for requests that it has begun to answer",
    )
    gateway_url: str = Field("http://127.0.0.1:8001", description="inference gateway, as told to clients")

    cache_dir: Path = Field(Path(".medcoss/cache"), description="local copies of datasets and models")
    cache_max_bytes: int = Field(50 * 2**30, gt=0, description="what the local copies may take together")
    storage_dir: Path | None = Field(
        None, description="folder whose disk the object store lies on, where the control plane sees it"
    )
    max_file_bytes: int = Field(
        100 * 2**30, gt=0, le=5 * 2**40, description="largest uploaded file; S3 takes no larger one than 5 TiB"
    )
    max_dataset_bytes: int = Field(500 * 2**30, gt=0, description="largest uploaded dataset")
    max_inference_bytes: int = Field(512 * 2**20, gt=0, description="largest inference request")
    inference_concurrency: int = Field(
        8, ge=1, le=256, description="inferences that one gateway process works on at once"
    )
    inference_queue: int = Field(
        64, ge=0, le=100_000, description="inferences that wait for their turn at one gateway process; more are refused"
    )
    inference_timeout_s: float = Field(
        300, gt=0, description="time of an inference, its waiting included; then it is given up"
    )
    dicomweb_servers: list[DicomWebServer] = Field(
        [], description='DICOMweb servers that inputs may be named of, as JSON: [{"url": ..., "authorization": ...}]'
    )
    index_memory_bytes: int = Field(
        8 * 2**30, gt=0, description="what indexes may take in the gateway's memory; the latest used stay"
    )
    # URLs of S3 are good for a week at most
    upload_expiry_s: int = Field(
        86_400, gt=0, le=604_800, description="time to finish an upload, from its last sign of life"
    )

    lease_s: float = Field(30, gt=0, description="a worker that is silent so long has lost its job")
    heartbeat_s: float = Field(2, gt=0, description="time between two renewals of a lease")
    sweep_s: float = Field(5, gt=0, description="time between two sweeps")
    gc_grace_s: float = Field(
        86_400,
        ge=600,
        description="the garbage collector leaves alone what was stored or changed later than so long ago",
    )
    gc_keep_checkpoints: int | None = Field(
        None, ge=0, description="newest checkpoints that stay of a job that failed or was cancelled; None: all"
    )
    worker_gpus: int | None = Field(None, ge=0, le=64, description="GPUs that a worker offers; None: those it sees")
    worker_memory_bytes: int | None = Field(None, gt=0, description="memory that a worker offers; None: what it has")
    machines: int | None = Field(
        None, ge=2, le=1024,
        description="machines that this worker has jobs run on, by Kubeflow Trainer; None: it runs jobs itself",
    )  # fmt: skip
    machines_gpus: int = Field(0, ge=0, le=64, description="GPUs of each of these machines")
    machines_gpu_resource: str = Field("nvidia.com/gpu", description="what Kubernetes calls such a GPU")
    machines_runtime: str = Field("medcoss", description="name of the TrainingRuntime that says what their pods are")
    machines_labels: dict[str, str] = Field({}, description="labels of the TrainJobs: a queue of Kueue's, say")
    machines_api: str | None = Field(None, description="URL of the API server; None: that of the cluster it runs in")
    machines_namespace: str | None = Field(None, description="namespace of the TrainJobs; None: the worker's own")
    quota_running: int | None = Field(None, ge=1, description="jobs of one owner that run at once; None: no limit")
    quota_queued: int | None = Field(None, ge=1, description="jobs of one owner that wait to run; None: no limit")
    max_attempts: int = Field(3, ge=1, le=20, description="attempts of a job unless it says otherwise")
    stop_grace_s: float = Field(60, ge=0, description="time a job has to write its checkpoint when it is stopped")
    threads: int | None = Field(None, ge=1, description="CPU threads of a training process; None: torch's choice")
    idempotency_s: float = Field(
        86_400, gt=0, description="how long a request with an Idempotency-Key gives the same answer"
    )
    batch_jobs: int = Field(500, ge=1, le=10_000, description="jobs in one batch")
    max_request_bytes: int = Field(64 * 2**20, gt=0, description="largest body that the control plane takes")
    request_timeout_s: float = Field(60, gt=0, description="time for a body to arrive at the control plane")
    rate_per_s: float = Field(500, ge=0, description="requests a second of one key in the long run; 0: no limit")
    rate_burst: int = Field(1000, ge=1, description="requests of one key at once")
    refused_per_s: float = Field(10, gt=0, description="requests a second without a good key from one address")
    refused_burst: int = Field(200, ge=1, description="requests without a good key from one address at once")
    encryption_key: SecretStr | None = Field(
        None, description="what secrets of webhooks are sealed with; None: derived from the object store's secret key"
    )
    webhook_networks: list[str] = Field(
        [], description="private networks (CIDR) and host names that webhooks may lead to; none by default"
    )
    webhook_send_s: float = Field(2, gt=0, description="time between two looks for messages to webhooks")
    webhook_timeout_s: float = Field(10, gt=0, description="time that a webhook has to take a message")
    webhook_patience_s: float = Field(
        259_200, gt=0, description="a message is tried, and a webhook may fail, so long; then it is given up"
    )
    streams_per_key: int = Field(250, ge=1, description="streams that one key may hold at one process")
    stream_poll_s: float = Field(0.25, gt=0, description="time between two looks for what watched jobs have reported")
    stream_heartbeat_s: float = Field(15, gt=0, description="a stream without news shows so often that it is alive")
    stream_recheck_s: float = Field(30, gt=0, description="time between two looks whether a stream's key still holds")
    stream_stall_s: float = Field(30, gt=0, description="a client that takes nothing so long is dropped")
    oidc_issuer: str | None = Field(None, description="sign-in provider whose tokens are let in beside keys")
    oidc_audience: str | None = Field(None, description="the audience that a token must be for")
    oidc_owner_claim: str = Field("preferred_username", description="the claim that is the owner; else `sub`")
    oidc_roles_claim: str = Field("roles", description="the claim that holds roles, dotted for nested ones")
    oidc_roles: dict[str, Literal["viewer", "operator", "admin"]] = Field(
        {"medcoss-viewer": "viewer", "medcoss-operator": "operator", "medcoss-admin": "admin"},
        description="what the words of that claim mean here",
    )
    oidc_projects_claim: str = Field("groups", description="the claim that holds names of projects")
    cors_origins: list[str] = Field([], description="web pages that may call, as https://host; none by default")
    console_origins: list[str] = Field(
        [], description="where browsers open the web console, as https://host: its pages may call the gateway"
    )
    console_dir: Path | None = Field(None, description="folder of the built web console; None: that of the package")
    log_level: str = "INFO"
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="where a worker tells its numbers; None: nowhere"
    )
    metrics_host: str = Field("127.0.0.1", description="the address of that port")
    otel_endpoint: str | None = Field(None, description="OTLP/HTTP collector of traces, as http://host:4318")
    bootstrap_admin_key: SecretStr | None = Field(None, description="admin key made when the control plane starts")

    @field_validator(
        "cors_origins", "console_origins", "dicomweb_servers", "oidc_roles", "webhook_networks", mode="before"
    )
    @classmethod
    def _is_json(cls, value: Any) -> Any:
        """Lists and tables are JSON in variables, wherever those were read."""
        return json.loads(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _issuer_needs_audience(self) -> "Settings":
        if self.oidc_issuer is not None and not self.oidc_audience:
            # a token for another application of the same provider would be let in
            raise ValueError("MEDCOSS_OIDC_ISSUER is set: set MEDCOSS_OIDC_AUDIENCE, too")
        return self


@lru_cache
def get_settings() -> Settings:
    """The settings of this process: of its environment, or else of the folder MEDCOSS_SECRETS_DIR, where a file
    `medcoss_s3_secret_key` holds what the variable MEDCOSS_S3_SECRET_KEY would. Raises FileNotFoundError.
    """
    folder = os.environ.get(SECRETS_DIR)
    if folder and not Path(folder).is_dir():
        raise FileNotFoundError(f"{SECRETS_DIR} is {folder}, which is no folder; mount the secrets there or unset it")
    return Settings(_secrets_dir=folder or None)
