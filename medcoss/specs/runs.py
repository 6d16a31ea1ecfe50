"""Several trainings as one job: by seeds, by folds, by encoders."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from medcoss.specs.base import DatasetRef, ModelRef, Name, Seed, Spec, documented
from medcoss.specs.records import DatasetInfo
from medcoss.specs.training import FinetuneSpec, MeasuredOn, Repeats

MOST_RUNS = 256
EncoderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _+-]{0,40}$")]


class FinetuneRunSpec(FinetuneSpec):
    """One of the trainings of a finetune or compare job."""

    run: int = documented("number of the training, from 0", "job", ge=0, lt=MOST_RUNS)
    runs: int = documented("trainings that there are", "job", ge=1, le=MOST_RUNS)
    fold: int | None = documented("fold that is not trained on, from 0", "fold", default=None, ge=0, lt=20)
    encoder: EncoderName | None = documented("name of the encoder in the comparison", default=None)

    @property
    def words(self) -> str:
        """What sets the run apart, e.g. `continual, seed 10, fold 2`."""
        fold = [] if self.fold is None else [f"fold {self.fold}"]
        return ", ".join([*([self.encoder] if self.encoder else []), f"seed {self.seed}", *fold])


class _CompareInputs(Spec):
    dataset: DatasetRef = documented("prepared dataset with labels or masks")
    encoders: dict[EncoderName, ModelRef | None] = documented(
        "the encoders to start from by the names that the table shows, the one to compare with first; null starts from "
        "scratch",
        min_length=1,
        max_length=32,
    )


class CompareSpec(MeasuredOn, Repeats, _CompareInputs):
    """Train the same task from several encoders, with several seeds each, and put their scores in one table."""

    seeds: tuple[Seed, ...] = documented(
        "every encoder is trained once with each of these seeds, which take the place of `seed`",
        default=(0, 10, 100), min_length=1, max_length=32,
    )  # fmt: skip
    score_split: Literal["val", "test"] | None = documented(
        "split that each trained model is scored on as by an evaluate job; with folds, each is scored on its own fold "
        "besides",
        default="test",
    )
    output_name: Name | None = documented("beginning of the names of the models", default=None)

    @model_validator(mode="after")
    def _not_too_many_models(self) -> Self:
        total = len(self.encoders) * len(self.seeds) * (self.folds or 1)
        if total > MOST_RUNS:
            raise ValueError(f"{total} trainings; expected at most {MOST_RUNS}: fewer encoders, seeds or folds")
        return self


def runs_of(spec: FinetuneSpec | CompareSpec) -> list[FinetuneRunSpec]:
    """The trainings that a job is shared out among, in order; none where it trains once by itself."""
    if isinstance(spec, FinetuneRunSpec) or not (isinstance(spec, CompareSpec) or spec.repeated):
        return []
    encoders: dict[Any, str | None] = {None: getattr(spec, "init_model", None)}
    if isinstance(spec, CompareSpec):
        encoders = dict(spec.encoders)
    # as JSON, every field is a given one: what a preset would fill in is there
    shared = spec.model_dump(mode="json", exclude={"encoders", "seeds", "init_model", "seed"})
    apart = [
        {"encoder": name, "init_model": model, "seed": seed, "fold": fold}
        for name, model in encoders.items()
        for seed in spec.seeds or (spec.seed,)
        for fold in (range(spec.folds) if spec.folds else [None])
    ]
    return [
        FinetuneRunSpec.model_validate(shared | one | {"run": number, "runs": len(apart)})
        for number, one in enumerate(apart)
    ]


def as_folded(dataset: DatasetInfo, spec: Repeats) -> DatasetInfo:
    """About the dataset that a training sees which leaves a fold out: its splits divide those that it has."""
    if spec.folds is None:
        return dataset
    folds, chooses = spec.folds, spec.chooses

    def divided(counts: dict[str, int]) -> dict[str, int]:
        whole = counts.get("train", 0) + counts.get("val", 0)
        fold = whole // folds
        return {"train": whole - fold * (1 + chooses), "val": fold * chooses, "test": fold}

    labelled = None if dataset.labelled is None else divided(dataset.labelled)
    return dataset.model_copy(update={"splits": divided(dataset.splits), "labelled": labelled})
