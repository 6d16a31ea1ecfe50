"""Parameters of `export` jobs."""

from typing import Annotated, Literal

from pydantic import Field

from medcoss.specs.base import DatasetRef, ModelRef, Spec, documented

ServedAs = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Precision = Literal["fp32", "fp16"]
Accelerator = Literal["none", "tensorrt"]
# numbers of 16 bits have 11 bits of mantissa, and their errors add up over the layers
_TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 2e-2}


class ExportSpec(Spec):
    """Write a model as ONNX into the Triton repository, load it and check its answers against PyTorch's."""

    model: ModelRef = documented("model to serve: an encoder, a classifier or a segmenter")
    name: ServedAs = documented("name under which the gateway serves it")
    modality: str | None = documented(
        "modality whose input is exported; needed for an encoder that has learnt several", default=None, max_length=32
    )
    precision: Precision = documented(
        "numbers that the served model computes with; fp16 halves its memory and is for GPUs, inputs and outputs stay "
        "fp32", default="fp32",
    )  # fmt: skip
    accelerator: Accelerator = documented(
        "what runs the graph on a GPU: ONNX Runtime itself, or TensorRT within it, which builds its engines when the "
        "model is loaded", default="none",
    )  # fmt: skip
    max_batch_size: int = documented("largest batch that Triton forms", "sample", default=8, ge=1, le=256)
    queue_delay_us: int = documented(
        "how long a request waits for others to be batched with it", "µs", default=500, ge=0, le=1_000_000
    )
    instances: int | None = documented(
        "copies of the model that run at once, on each GPU where there are some; by default 1, and 2 of images and "
        "texts on ONNX Runtime, so that one is fed while the other computes", "copy", default=None, ge=1, le=16,
    )  # fmt: skip
    golden: DatasetRef | None = documented(
        "dataset whose samples the served model must answer as PyTorch does; by default one that the model was "
        "trained on, as long as it is there", default=None,
    )  # fmt: skip
    tolerance: float | None = documented(
        "largest absolute difference between the served and the PyTorch outputs; by default 0.001, and 0.02 in fp16",
        default=None, gt=0, le=1,
    )  # fmt: skip
    activate: bool = documented(
        "whether the new version answers for its name as soon as it is ready; otherwise it stands beside the present "
        "one, and is asked as NAME@VERSION", default=True,
    )  # fmt: skip

    @property
    def allowed_difference(self) -> float:
        """The tolerance, by default that of the precision."""
        return self.tolerance if self.tolerance is not None else _TOLERANCE[self.precision]
