"""What jobs of several trainings tell of them."""

from pydantic import Field

from medcoss.specs.records import Record


class Spread(Record):
    """A score over several trainings."""

    mean: float = Field(description="arithmetic mean")
    sd: float | None = Field(description="standard deviation of the sample (n - 1); null of a single training")
    low: float = Field(description="the smallest")
    high: float = Field(description="the largest")
    runs: int = Field(description="trainings that have this score")


class RunRecord(Record):
    """One training, and the model that it has made."""

    run: int = Field(description="its number, from 0")
    encoder: str | None = Field(None, description="name of the encoder in a comparison")
    seed: int
    fold: int | None = Field(None, description="the fold that it was scored on")
    job_id: str = ""
    model_id: str = ""
    evaluation_id: str = Field("", description="its evaluation, where a split or a fold was scored")
    metrics: dict[str, float]


class Pooled(Record):
    """Scores of the cases of all folds together, each predicted by the model that has not seen it."""

    seed: int
    cases: int
    metrics: dict[str, float]
    confusion: list[list[int]] | None = None


class GroupRecord(Record):
    """The trainings from one encoder.

    `difference` is that to the first group of a comparison: of each score, over the pairs of trainings with the same
    seed and fold.
    """

    encoder: str | None = None
    init_model: str | None = Field(None, description="the encoder; null: from scratch")
    size: str = ""
    runs: int
    metrics: dict[str, Spread]
    pooled: list[Pooled] = Field([], description="with folds, the scores of all cases, one for each seed")
    difference: dict[str, Spread] = Field({}, description="to the first group of a comparison")


class RunsInfo(Record):
    """Several trainings, their scores, and how these spread.

    `best` is the number of the training with the best score of the validation split, which `decides`; null with folds,
    whose validation samples differ, and where nothing was validated.
    """

    schema_version: int = 1
    task: str
    classes: list[str] = Field([], description="with folds, the classes of `confusion`")
    decides: str
    best: int | None = None
    groups: list[GroupRecord]
    runs: list[RunRecord]
