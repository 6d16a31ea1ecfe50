"""Storing what jobs make: under the attempt's own identifier, so that no attempt overwrites another's."""

from pathlib import Path

from medcoss.specs.records import DatasetInfo, EvaluationInfo, ModelInfo
from services.worker.context import WorkerRun
from services.worker.protocol import DatasetOutput, EvaluationOutput, ModelOutput


def store_dataset(folder: Path, info: DatasetInfo, name: str, parents: list[str],
                  context: WorkerRun) -> DatasetOutput:  # fmt: skip
    """Upload a dataset folder."""
    dataset_id = context.job.output_id
    prefix = f"datasets/{dataset_id}/shards"
    files = context.store.upload_dir(prefix, folder)
    return DatasetOutput(id=dataset_id, name=name, prefix=prefix, files=files, info=info, parents=parents)


def store_model(folder: Path, info: ModelInfo, name: str, parents: list[str], dataset_id: str,
                context: WorkerRun) -> ModelOutput:  # fmt: skip
    """Upload a model folder."""
    model_id = context.job.output_id
    prefix = f"models/{model_id}"
    files = context.store.upload_dir(prefix, folder)
    return ModelOutput(
        id=model_id, name=name, prefix=prefix, files=files, info=info, parents=parents, dataset_id=dataset_id
    )  # fmt: skip


def store_evaluation(folder: Path, info: EvaluationInfo, model_id: str, dataset_id: str, split: str,
                     context: WorkerRun) -> EvaluationOutput:  # fmt: skip
    """Upload what `medcoss.evaluation.evaluate` wrote. The model is an input of the job, or another of its outputs."""
    evaluation_id = context.job.evaluation_id
    assert evaluation_id, f"no evaluation was reserved for a job of the kind {context.job.kind}"
    prefix = f"evaluations/{evaluation_id}"
    files = context.store.upload_dir(prefix, folder)
    return EvaluationOutput(
        id=evaluation_id, name=context.job.name, prefix=prefix, files=files, info=info, model_id=model_id,
        dataset_id=dataset_id, split=split,
    )  # fmt: skip
