"""Parameters of `preprocess` jobs: one recipe turns a raw dataset into training shards."""

from typing import Annotated

from pydantic import Field

from medcoss.specs.base import DatasetRef, Name, Seed, Spec, documented
from medcoss.specs.recipes import Recipe
from medcoss.specs.recipes.base import Splits
from medcoss.specs.recipes.image_folder import ImageFolder
from medcoss.specs.recipes.openi_reports import OpeniReports
from medcoss.specs.recipes.volume_folder import VolumeFolder

MOST_CHUNKS = 256
PatientKey = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

__all__ = [
    "ArchiveLimits",
    "ImageFolder",
    "OpeniReports",
    "PreprocessChunkSpec",
    "PreprocessOptions",
    "PreprocessSpec",
    "Recipe",
    "Splits",
    "VolumeFolder",
]


class ArchiveLimits(Spec):
    """What the zip and tar archives of a raw dataset may unpack to; an archive that goes beyond is not used."""

    max_gib: int = documented("total size of what all archives unpack to", "GiB", default=2048, ge=1, le=1_048_576)
    max_files: int = documented("members of all archives together", "file", default=5_000_000, ge=1, le=1_000_000_000)
    max_ratio: int = documented(
        "how many times its own size an archive may unpack to; 64 MiB are always allowed",
        "factor",
        default=200,
        ge=1,
        le=1_000_000,
    )


class PreprocessOptions(Spec):
    """How files become samples: every parameter but the input."""

    recipe: Recipe = documented("how the files become samples")
    max_bad_fraction: float = documented(
        "the job fails when more than this share of the inputs cannot be used", "fraction", default=0.1, ge=0, le=1
    )
    seed: Seed = documented("seed of random splits", default=0)
    archives: ArchiveLimits = documented(
        "limits of the .zip, .tar, .tar.gz, .tar.bz2 and .tar.xz files of the raw dataset, which are read as if they "
        "had been unpacked where they lie",
        default=ArchiveLimits(),
    )
    without_patients: tuple[PatientKey, ...] = documented(
        "keyed hashes of patients whose inputs make no samples, as in samples.parquet: they were erased", default=(),
        max_length=10_000,
    )  # fmt: skip
    without_files: tuple[str, ...] = documented(
        "paths of raw files that make no samples: they were erased", default=(), max_length=10_000
    )


class _PreprocessInputs(Spec):
    dataset: DatasetRef = documented("raw dataset to read")


class PreprocessSpec(PreprocessOptions, _PreprocessInputs):
    """Turn a raw dataset into an immutable dataset version of training shards."""

    output_name: Name | None = documented("name of the new dataset; the raw dataset's name when left out", default=None)
    chunks: int | None = documented(
        "child jobs that share the inputs, so that several workers make one dataset; null: one job does it all",
        "job",
        default=None,
        ge=1,
        le=MOST_CHUNKS,
    )


class PreprocessChunkSpec(PreprocessSpec):
    """Make one of the equal shares of a preprocess job's inputs."""

    chunk: int = documented("number of the share, from 0", "job", ge=0, lt=MOST_CHUNKS)
    chunks: int = documented("shares that there are", "job", ge=1, le=MOST_CHUNKS)
