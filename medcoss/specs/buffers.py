"""Parameters of `build_buffer` jobs: which samples of a stage are kept for later ones."""

from typing import Literal, Self

from pydantic import model_validator

from medcoss.specs.base import DatasetRef, ModelRef, Name, Seed, Spec, documented
from medcoss.specs.training import LeakageOptions, MeasuredOn

Strategy = Literal["kmeans", "random", "herding", "farthest_point"]


class BuildBufferOptions(LeakageOptions):
    """How a rehearsal buffer is chosen: every parameter but its inputs."""

    strategy: Strategy = documented(
        "kmeans: the samples nearest to k-means centres, as published; random: any; herding: those whose mean stays "
        "nearest to the mean of all; farthest_point: each as far as can be from those chosen before it",
        default="kmeans",
    )
    centers_fraction: float = documented(
        "clusters as a share of the samples; other strategies than kmeans have none", "fraction", default=0.01, gt=0,
        le=1,
    )  # fmt: skip
    buffer_fraction: float = documented("buffer size as a share of the samples", "fraction", default=0.05, gt=0, le=1)
    buffer_budget_bytes: int | None = documented(
        "bytes that all buffers of a line may take together, uncompressed: this one gets an equal share, see "
        "`sharing`, and holds no more samples than fit in. With it, the buffers of earlier stages can be chosen anew "
        "from themselves. None: the fraction alone decides",
        "byte", default=None, ge=1, le=2**50,
    )  # fmt: skip
    sharing: int | None = documented(
        "buffers that share the budget, this one included; None: one for each modality that the model has learnt. A "
        "curriculum counts its stages",
        "buffer", default=None, ge=1, le=1024,
    )  # fmt: skip
    batch_size: int = documented("samples in a batch", "sample", default=32, ge=1, le=8192)
    seed: Seed = documented(
        "seed of k-means, of the random choice, and of the sample that farthest_point begins with", default=0
    )

    @model_validator(mode="after")
    def _every_cluster_gives_a_sample(self) -> Self:
        if self.strategy == "kmeans" and self.buffer_fraction < self.centers_fraction:
            raise ValueError(
                f"buffer_fraction {self.buffer_fraction:g} is smaller than centers_fraction {self.centers_fraction:g}, "
                "but every cluster gives at least one sample; lower centers_fraction"
            )
        return self

    @model_validator(mode="after")
    def _there_is_something_to_share(self) -> Self:
        if self.sharing is not None and self.buffer_budget_bytes is None:
            raise ValueError("sharing says how many buffers share buffer_budget_bytes; give both, or leave sharing out")
        return self


class _BuildBufferInputs(Spec):
    model: ModelRef = documented("encoder that has just learnt the dataset")
    dataset: DatasetRef = documented(
        "prepared dataset to choose from; with buffer_budget_bytes, also a rehearsal buffer, to make it smaller"
    )


class BuildBufferSpec(MeasuredOn, BuildBufferOptions, _BuildBufferInputs):
    """Choose a rehearsal buffer: the samples of a dataset that stand for the others when later stages rehearse it."""

    output_name: Name | None = documented("name of the buffer", default=None)
