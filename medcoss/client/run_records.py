"""What jobs of several trainings tell of them."""

from pydantic import Field

from medcoss.client.records import Record


class Spread(Record):
    """A score over several trainings; `sd` is None of a single one."""

    mean: float
    sd: float | None = None
    low: float
    high: float
    runs: int

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + ("" if self.sd is None else f" ± {self.sd:.4f}")


class TrainingRun(Record):
    """One training, its scores, and the model that it has made."""

    run: int
    encoder: str | None = None
    seed: int
    fold: int | None = None
    job_id: str = ""
    model_id: str = ""
    evaluation_id: str = ""
    metrics: dict[str, float]


class PooledFolds(Record):
    """Scores of the cases of all folds together."""

    seed: int
    cases: int
    metrics: dict[str, float]
    confusion: list[list[int]] | None = None


class RunGroup(Record):
    """The trainings from one encoder; `difference` is that to the first group."""

    encoder: str | None = None
    init_model: str | None = None
    size: str = ""
    runs: int
    metrics: dict[str, Spread]
    pooled: list[PooledFolds] = Field(default=[])
    difference: dict[str, Spread] = Field(default={})


class Runs(Record):
    """Several trainings as one job; `best` is the number of the one with the best score that `decides`."""

    task: str
    decides: str
    best: int | None = None
    groups: list[RunGroup]
    runs: list[TrainingRun]
