"""Typed parameters of every job kind, free of torch so that the control plane can import them."""

from dataclasses import dataclass

from medcoss.specs.base import DatasetRef, ModelRef, Spec
from medcoss.specs.buffers import BuildBufferSpec
from medcoss.specs.export import ExportSpec
from medcoss.specs.forgetting import ForgettingSpec
from medcoss.specs.imports import ImportModelSpec
from medcoss.specs.inference import BuildIndexSpec, EmbedSpec, PredictSpec
from medcoss.specs.inspection import InspectDatasetSpec
from medcoss.specs.preprocess import (
    ImageFolder,
    OpeniReports,
    PreprocessChunkSpec,
    PreprocessSpec,
    Recipe,
    Splits,
    VolumeFolder,
)
from medcoss.specs.runs import CompareSpec, FinetuneRunSpec
from medcoss.specs.training import EvaluateSpec, FinetuneSpec, ModelSize, PretrainSpec


@dataclass(frozen=True)
class JobKind:
    """One kind of job: its name, what it does, its spec, what it produces, and whether it runs one process a GPU."""

    name: str
    spec: type[Spec]
    produces: str
    ranks: bool = False

    @property
    def description(self) -> str:
        """First line of the spec's documentation."""
        return (self.spec.__doc__ or "").strip().splitlines()[0]


JOB_KINDS: dict[str, JobKind] = {
    kind.name: kind
    for kind in (
        JobKind("preprocess", PreprocessSpec, "dataset"),
        JobKind("inspect_dataset", InspectDatasetSpec, "report"),
        JobKind("pretrain", PretrainSpec, "model", ranks=True),
        JobKind("build_buffer", BuildBufferSpec, "dataset"),
        JobKind("finetune", FinetuneSpec, "model", ranks=True),
        JobKind("evaluate", EvaluateSpec, "evaluation"),
        JobKind("forgetting", ForgettingSpec, "evaluation"),
        JobKind("compare", CompareSpec, "comparison"),
        JobKind("embed", EmbedSpec, "embeddings"),
        JobKind("predict", PredictSpec, "predictions"),
        JobKind("export", ExportSpec, "deployment"),
        JobKind("import_model", ImportModelSpec, "model"),
    )
}
# jobs that the platform makes, of a job or for an index; nobody submits them
CHILD_KINDS: dict[str, JobKind] = {
    kind.name: kind
    for kind in (
        JobKind("preprocess_chunk", PreprocessChunkSpec, "parts"),
        JobKind("finetune_run", FinetuneRunSpec, "model", ranks=True),
        JobKind("build_index", BuildIndexSpec, "index"),
    )
}
EVERY_KIND: dict[str, JobKind] = JOB_KINDS | CHILD_KINDS

__all__ = [
    "CHILD_KINDS",
    "EVERY_KIND",
    "JOB_KINDS",
    "BuildBufferSpec",
    "BuildIndexSpec",
    "CompareSpec",
    "DatasetRef",
    "EmbedSpec",
    "EvaluateSpec",
    "ExportSpec",
    "FinetuneRunSpec",
    "FinetuneSpec",
    "ForgettingSpec",
    "ImageFolder",
    "ImportModelSpec",
    "InspectDatasetSpec",
    "JobKind",
    "ModelRef",
    "ModelSize",
    "OpeniReports",
    "PredictSpec",
    "PreprocessChunkSpec",
    "PreprocessSpec",
    "PretrainSpec",
    "Recipe",
    "Spec",
    "Splits",
    "VolumeFolder",
]
