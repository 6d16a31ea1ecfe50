"""Parameters of `export` jobs."""

from typing import Annotated

from pydantic import Field

from medcoss.specs.base import ModelRef, Spec, documented


class ExportSpec(Spec):
    """Write a model as ONNX into the Triton repository, load it and check its answers against PyTorch's."""

    model: ModelRef = documented("model to serve: an encoder, a classifier or a segmenter")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] = documented(
        "name under which the gateway serves it"
    )
    modality: str | None = documented(
        "modality whose input is exported; needed for an encoder that has learnt several", default=None, max_length=32
    )
    max_batch_size: int = documented("largest batch that Triton forms", "sample", default=8, ge=1, le=256)
    tolerance: float = documented(
        "largest absolute difference between the served and the PyTorch outputs", default=1e-3, gt=0, le=1
    )
