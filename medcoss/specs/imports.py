"""Parameters of `import_model` jobs: a published checkpoint becomes a model of the registry."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from medcoss.modalities import get_modality
from medcoss.specs.base import DatasetRef, Name, Seed, Spec, documented

CheckpointFormat = Literal["auto", "medcoss", "uniperceiver"]
ImportAttention = Literal["auto", "bidirectional", "published", "published_batched"]
ImportPositions = Literal["auto", "grid", "flat"]
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


def _is_inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in value or value != path.as_posix():
        raise ValueError("expected a relative path with forward slashes, without '..'")
    return value


InnerPath = Annotated[str, Field(min_length=1, max_length=900), AfterValidator(_is_inside)]


class ImportModelSpec(Spec):
    """Import a published checkpoint (MedCoSS or Uni-Perceiver) as an encoder to go on from.

    Files are read as tensors and plain values alone; nothing in them is executed.
    """

    dataset: DatasetRef = documented("raw dataset that holds the checkpoint")
    file: InnerPath | None = documented(
        f"the checkpoint's path in the dataset; None takes its only {', '.join(CHECKPOINT_SUFFIXES)} file", default=None
    )
    format: CheckpointFormat = documented("whose checkpoint it is; auto tells by the tensors", default="auto")
    vocabulary: InnerPath | None = documented(
        "path in the dataset of the BERT vocab.txt that the text embedding was trained with", default=None
    )
    modalities: tuple[str, ...] | None = documented(
        "what the encoder has learnt, in order; None: what a file of export-checkpoint says of itself, else report, "
        "xray, ct, mr, pathology for MedCoSS, nothing for Uni-Perceiver",
        default=None,
        max_length=64,
    )
    attention: ImportAttention = documented(
        "of reports, see pretrain; auto: what the file says, else published for MedCoSS, bidirectional for "
        "Uni-Perceiver",
        default="auto",
    )
    positions: ImportPositions = documented(
        "position tables, see pretrain; auto: what the file says, else flat for MedCoSS, grid for Uni-Perceiver",
        default="auto",
    )
    seed: Seed = documented("seed of the tensors that a Uni-Perceiver checkpoint does not have", default=0)
    output_name: Name | None = documented("name of the model", default=None)

    @field_validator("modalities")
    @classmethod
    def _are_known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            get_modality(name)
        if value is not None and len(set(value)) < len(value):
            raise ValueError("expected every modality once")
        return value
