"""One fine-tuning: its model, and its scores on what it has not seen."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from medcoss.data.folds import leave_out
from medcoss.evaluation.evaluate import evaluate
from medcoss.evaluation.runs import HELD_OUT
from medcoss.run import RunEvent
from medcoss.specs import EvaluateSpec, FinetuneRunSpec, FinetuneSpec
from medcoss.specs.records import EvaluationInfo
from medcoss.training.finetune import finetune
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.outputs import store_evaluation, store_model
from services.worker.runners.ranks import join_ranks
from services.worker.runners.threads import limit_threads

NAME_LENGTH = 63


def trained(job: ChildJob, given: FinetuneSpec, work: Path, context: WorkerRun) -> ResultReport | None:
    """Train, store the model, and score it on its fold and on `score_split`."""
    # stored specs name every field; what is at its default was not asked for
    spec = type(given).model_validate(given.asked)
    limit_threads(context)
    ranks = join_ranks(context)
    with ExitStack() as inputs:
        whole = inputs.enter_context(context.input(spec.dataset))
        model = inputs.enter_context(context.input(spec.init_model)) if spec.init_model else None
        tables = [inputs.enter_context(context.table(name)) for name in spec.measured_on]
        dataset = _without_fold(spec, whole, work / f"rank-{ranks.rank}", context)
        info = finetune(spec, dataset, model, work / "model", context, tables)
        if not ranks.main:
            return None
        scored = _scored(job, spec, work, {HELD_OUT: dataset, "whole": whole}, context)
    parents = [spec.init_model] if spec.init_model else []
    name = _name(spec, f"{info.modality}-{info.task}")
    output = store_model(work / "model", info, name, parents, spec.dataset, context)
    found = {f"{source}/{n}": value for source, scores in scored.items() for n, value in scores.metrics.items()}
    report = ResultReport(outputs=[output], metrics=info.metrics | found)
    if scored:
        _keep(report, job, spec, work, scored, context)
    return report


def _keep(report: ResultReport, job: ChildJob, spec: FinetuneSpec, work: Path, scored: dict[str, EvaluationInfo],
          context: WorkerRun) -> None:  # fmt: skip
    """Store the scores of `score_split`, or else of the fold, as the evaluation of the model."""
    source, scores = list(scored.items())[-1]
    summary = scores.model_copy(update={"cases": []})
    kept = store_evaluation(work / f"scores-{source}", summary, job.output_id, spec.dataset, source, context)
    fold = spec.fold if isinstance(spec, FinetuneRunSpec) else None
    report.outputs.append(kept.model_copy(update={"seed": spec.seed, "fold": fold}))
    report.evaluation = summary.model_dump(mode="json", exclude={"cases"})


def _without_fold(spec: FinetuneSpec, whole: Path, work: Path, context: WorkerRun) -> Path:
    if not isinstance(spec, FinetuneRunSpec) or spec.fold is None or spec.folds is None:
        return whole
    folder = work / f"fold-{spec.fold}" / "dataset"
    return leave_out(whole, folder, spec.fold, spec.folds, spec.seed, chooses=spec.chooses, context=context)


def _scored(job: ChildJob, spec: FinetuneSpec, work: Path, datasets: dict[str, Path],
            context: WorkerRun) -> dict[str, EvaluationInfo]:  # fmt: skip
    """The scores by what they are of: the fold that was left out, the split that the spec names."""
    wanted: dict[str, tuple[Path, str]] = {}
    if datasets[HELD_OUT] != datasets["whole"]:
        wanted[HELD_OUT] = (datasets[HELD_OUT], "test")
    if spec.score_split is not None:
        wanted[spec.score_split] = (datasets["whole"], spec.score_split)
    found = {}
    for source, (folder, split) in wanted.items():
        asked = EvaluateSpec.model_validate(
            {"model": job.output_id, "dataset": spec.dataset, "split": split, "batch_size": spec.batch_size,
             "allow_leakage": spec.allow_leakage}
        )  # fmt: skip
        found[source] = evaluate(asked, work / "model", folder, work / f"scores-{source}", Scoring(context, source))
    return found


class Scoring:
    """The context of scores that belong to a training: pictures and tables get names of their own, and the progress
    stays that of the training.
    """

    def __init__(self, context: WorkerRun, source: str) -> None:
        self.context, self.source = context, source
        self.checkpoints, self.parts = context.checkpoints, context.parts

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Scores are not counted."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """They are told with the result."""

    def log(self, message: str, level: str = "info") -> None:
        """Report a line."""
        self.context.log(message, level)

    def event(self, name: RunEvent, modality: str, values: dict[str, float]) -> None:
        """Report an event."""
        self.context.event(name, modality, values)

    def artifact(self, path: Path, name: str, content_type: str) -> None:
        """Keep a file as `SOURCE-name`."""
        self.context.artifact(path, f"{self.source}-{name}", content_type)

    def should_stop(self) -> bool:
        """As the training."""
        return self.context.should_stop()


def _name(spec: FinetuneSpec, otherwise: str) -> str:
    if not isinstance(spec, FinetuneRunSpec):
        return spec.output_name or otherwise
    fold: list[Any] = [] if spec.fold is None else [f"fold{spec.fold}"]
    encoder = [spec.encoder.replace(" ", "_").replace("+", "_")] if spec.encoder else []
    end = "-".join(["", *encoder, f"seed{spec.seed}", *fold])
    return (spec.output_name or otherwise)[: NAME_LENGTH - len(end)] + end
