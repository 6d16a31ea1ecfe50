"""The SQL tables."""

from services.core.tables.aliases import Alias, Lineage, Promotion
from services.core.tables.audit import AuditEntry
from services.core.tables.base import Base
from services.core.tables.erasures import Erasure, ErasureMark
from services.core.tables.evaluations import Evaluation, EvaluationFile
from services.core.tables.garbage import GcFinding, GcRun
from services.core.tables.idempotency import IdempotencyKey
from services.core.tables.indexes import IndexFile, SearchIndex
from services.core.tables.jobs import (
    Job,
    JobArtifact,
    JobDependency,
    JobEvent,
    JobInput,
    JobLog,
    JobMetric,
)
from services.core.tables.keys import ApiKey, KeyProject
from services.core.tables.labels import (
    DatasetTag,
    DatasetWord,
    JobTag,
    JobWord,
    ModelMetric,
    ModelTag,
    ModelWord,
)
from services.core.tables.leftovers import Leftover
from services.core.tables.pipelines import Pipeline, PipelineStep
from services.core.tables.projects import DEFAULT_PROJECT, Owned, Project
from services.core.tables.registry import Dataset, DatasetFile, Deployment, Model, ModelFile
from services.core.tables.served_names import ServedName
from services.core.tables.uploads import UploadSession
from services.core.tables.webhooks import Delivery, Webhook
from services.core.tables.workers import Worker

__all__ = [
    "DEFAULT_PROJECT",
    "Alias",
    "ApiKey",
    "AuditEntry",
    "Base",
    "Dataset",
    "DatasetFile",
    "DatasetTag",
    "DatasetWord",
    "Delivery",
    "Deployment",
    "Erasure",
    "ErasureMark",
    "Evaluation",
    "EvaluationFile",
    "GcFinding",
    "GcRun",
    "IdempotencyKey",
    "IndexFile",
    "Job",
    "JobArtifact",
    "JobDependency",
    "JobEvent",
    "JobInput",
    "JobLog",
    "JobMetric",
    "JobTag",
    "JobWord",
    "KeyProject",
    "Leftover",
    "Lineage",
    "Model",
    "ModelFile",
    "ModelMetric",
    "ModelTag",
    "ModelWord",
    "Owned",
    "Pipeline",
    "PipelineStep",
    "Project",
    "Promotion",
    "SearchIndex",
    "ServedName",
    "UploadSession",
    "Webhook",
    "Worker",
]
