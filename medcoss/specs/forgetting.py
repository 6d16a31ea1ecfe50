"""Parameters of `forgetting` jobs: what is left of earlier modalities after each stage of a line of models."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, Self

from pydantic import model_validator

from medcoss.specs.base import DatasetRef, ModelRef, Seed, Spec, documented
from medcoss.specs.training import LeakageOptions


def labels(modalities: Iterable[str]) -> list[str]:
    """What a report calls datasets: by their modalities, the second one of X-rays `xray-2`."""
    counts = Counter[str]()
    found = []
    for modality in modalities:
        counts[modality] += 1
        found.append(modality if counts[modality] == 1 else f"{modality}-{counts[modality]}")
    return found


def modality_of(label: str) -> str:
    """The modality of a dataset as `labels` calls it."""
    return label.partition("-")[0]


class ForgettingOptions(LeakageOptions):
    """How it is measured: every parameter but its inputs."""

    split: Literal["val", "test"] = documented("held-out split that is measured on", default="val")
    samples: int = documented(
        "held-out samples of each modality, drawn with the seed where there are more", "sample", default=512, ge=2,
        le=100_000,
    )  # fmt: skip
    masks: int = documented("masks that each sample is seen under", "mask", default=2, ge=1, le=64)
    probe: Literal["linear", "knn", "none"] = documented(
        "of datasets with classes: linear: logistic regression on the frozen features, or nearest neighbours where a "
        "class has fewer than 5 training samples; knn: nearest neighbours; none: no classes are told apart",
        default="linear",
    )
    probe_samples: int = documented(
        "training samples that a probe learns from, at most", "sample", default=2000, ge=10, le=1_000_000
    )
    neighbours: int = documented("nearest training samples that vote", "sample", default=20, ge=1, le=1000)
    fresh_steps: int = documented(
        "steps that a new pretext head is trained for on each frozen encoder: what can be read from it, whatever has "
        "become of the old head; 0 trains none",
        "step", default=0, ge=0, le=100_000,
    )  # fmt: skip
    forgotten_above: float = documented(
        "a modality of which more than this is forgotten is told of by an event `forgotten` and a warning; of the "
        "pretext loss right after it was learnt",
        "fraction", default=0.1, ge=0, le=100,
    )  # fmt: skip
    batch_size: int = documented("samples in a batch", "sample", default=32, ge=1, le=8192)
    seed: Seed = documented("seed of samples, masks and folds", default=0)


class _ForgettingInputs(Spec):
    models: tuple[ModelRef, ...] = documented(
        "encoders of a line, stage after stage, the newest last", min_length=1, max_length=64
    )
    datasets: tuple[DatasetRef, ...] = documented(
        "prepared datasets with held-out samples of the modalities that are looked at; of several of one modality, as "
        "of two hospitals, each is told of by itself",
        min_length=1,
        max_length=64,
    )


class ForgettingSpec(ForgettingOptions, _ForgettingInputs):
    """Measure on held-out data of every modality what each stage of a line of models has left of it."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name in ("models", "datasets"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(f"{name}: one is given twice; give each once")
        return self
