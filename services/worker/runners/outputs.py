"""Storing what jobs make: under a new identifier, so that no attempt overwrites another's."""

from pathlib import Path

from medcoss.specs.records import DatasetInfo, ModelInfo
from services.core.ids import new_id
from services.worker.context import WorkerRun
from services.worker.protocol import Output


def store_dataset(folder: Path, info: DatasetInfo, name: str, parents: list[str], context: WorkerRun) -> Output:
    """Upload a dataset folder."""
    dataset_id = new_id("ds")
    prefix = f"datasets/{dataset_id}/shards"
    files = context.store.upload_dir(prefix, folder)
    return Output(
        resource="dataset", id=dataset_id, name=name, prefix=prefix, files=files, info=info.model_dump(mode="json"),
        parents=parents,
    )  # fmt: skip


def store_model(folder: Path, info: ModelInfo, name: str, parents: list[str], dataset_id: str,
                context: WorkerRun) -> Output:  # fmt: skip
    """Upload a model folder."""
    model_id = new_id("mdl")
    prefix = f"models/{model_id}"
    files = context.store.upload_dir(prefix, folder)
    return Output(
        resource="model", id=model_id, name=name, prefix=prefix, files=files, info=info.model_dump(mode="json"),
        parents=parents, dataset_id=dataset_id,
    )  # fmt: skip
