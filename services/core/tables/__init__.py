"""The SQL tables."""

from services.core.tables.base import Base
from services.core.tables.jobs import (
    IdempotencyKey,
    Job,
    JobArtifact,
    JobDependency,
    JobEvent,
    JobInput,
    JobLog,
    JobMetric,
)
from services.core.tables.keys import ApiKey
from services.core.tables.leftovers import Leftover
from services.core.tables.registry import Dataset, DatasetFile, Deployment, Model, ModelFile

__all__ = [
    "ApiKey",
    "Base",
    "Dataset",
    "DatasetFile",
    "Deployment",
    "IdempotencyKey",
    "Job",
    "JobArtifact",
    "JobDependency",
    "JobEvent",
    "JobInput",
    "JobLog",
    "JobMetric",
    "Leftover",
    "Model",
    "ModelFile",
]
