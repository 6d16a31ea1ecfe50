"""Parameters of `embed` and `predict` jobs, and of those that build an index: models over whole datasets."""

from typing import Annotated, Literal

from pydantic import Field

from medcoss.specs.base import DatasetRef, ModelRef, Spec, documented

Split = Literal["train", "val", "test"]


class EmbedSpec(Spec):
    """Embed a prepared dataset with an encoder or a classifier: a vector a study, as Parquet and npy."""

    model: ModelRef = documented("encoder or classifier of the registry")
    dataset: DatasetRef = documented("prepared dataset, or rehearsal buffer, of a modality that the model has learnt")
    split: Split | None = documented("only the samples of this split; null: all", default=None)
    level: Literal["study", "sample"] = documented(
        "study: a vector an image, a report or a volume, of which it is the mean over its tiles, as the gateway "
        "answers; sample: a vector a sample, which of volumes is a tile",
        default="study",
    )
    batch_size: int = documented("samples in a batch", "sample", default=32, ge=1, le=8192)


class PredictSpec(Spec):
    """Run a classifier over a prepared dataset, or a segmenter over a raw or a prepared one.

    A classifier makes a table of probabilities; a segmenter a mask a file, in the geometry of that file, or of a
    prepared dataset a mask a case, on the grid that it knows of it, and a table of what each class covers.
    """

    model: ModelRef = documented("fine-tuned model: a classifier or a segmenter")
    dataset: DatasetRef = documented(
        "for a classifier a prepared dataset, with or without labels; for a segmenter a raw one of images or volumes, "
        "or a prepared one, whose masks tell the spacing, but not where in the patient they lie"
    )
    split: Split | None = documented("only the samples of this split of a prepared dataset; null: all", default=None)
    batch_size: int = documented("samples in a batch, or windows of a segmenter", "sample", default=8, ge=1, le=8192)
    max_bad_fraction: float = documented(
        "the job fails when a larger share of the files of a raw dataset cannot be used", "fraction",
        default=0.1, ge=0, le=1,
    )  # fmt: skip


IndexId = Annotated[str, Field(pattern=r"^idx_[0-9a-z]{8,40}$")]
Search = Literal["auto", "exact", "approximate"]


class IndexOptions(Spec):
    """How an index is built: every parameter but its inputs."""

    level: Literal["study", "sample"] = documented("what a vector stands for, as in embed jobs", default="study")
    search: Search = documented(
        "exact compares with every vector; approximate walks a graph (HNSW) and may miss some; auto is exact up to "
        "100,000 vectors",
        default="auto",
    )
    batch_size: int = documented("samples in a batch", "sample", default=32, ge=1, le=8192)
    projection: int = documented(
        "most studies in the 2-D projection (UMAP), drawn evenly where there are more; 0 makes none", "sample",
        default=20_000, ge=0, le=200_000,
    )  # fmt: skip


class BuildIndexSpec(IndexOptions):
    """Embed the datasets of an index with one version of its encoder, and make them searchable."""

    index: IndexId = documented("the index that it is for")
    model: ModelRef = documented("encoder or classifier that embeds")
    datasets: Annotated[tuple[DatasetRef, ...], Field(min_length=1, max_length=64)] = documented(
        "prepared datasets of modalities that the model has learnt"
    )
