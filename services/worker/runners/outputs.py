"""Storing what jobs make: under the attempt's own identifier, so that no attempt overwrites another's."""

from pathlib import Path

from medcoss.specs.records import DatasetInfo, ModelInfo
from services.worker.context import WorkerRun
from services.worker.protocol import DatasetOutput, ModelOutput


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
