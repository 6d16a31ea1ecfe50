"""What lets an alias move to the next stage of a line: a forgetting report within bounds.

An alias such as `production` follows a line of encoders. Its gate bounds how much of an earlier modality the model that
it moves to may have lost, by the newest forgetting report of that model (an evaluation of the task forgetting).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from medcoss.specs.forgetting import modality_of
from medcoss.specs.forgetting_records import ForgettingInfo, Kept
from services.core.evaluations import FORGETTING
from services.core.tables import Alias, Evaluation, Model


@dataclass(frozen=True)
class Gate:
    """Bounds of a forgetting report; None bounds nothing. `average` is of the mean over modalities, `each` of every
    modality that `modalities` does not name, `accuracy` of what a probe's balanced accuracy may have lost in any.
    """

    average: float | None = None
    each: float | None = None
    modalities: dict[str, float] = field(default_factory=dict)
    accuracy: float | None = None

    def stored(self) -> dict[str, Any]:
        """Plain data, for the row."""
        return asdict(self)


@dataclass(frozen=True)
class Check:
    """Whether a model may pass: the `report` that was looked at, and why not, one sentence for each reason."""

    report: str | None
    refusals: tuple[str, ...]

    @property
    def passes(self) -> bool:
        """True when nothing stands in the way."""
        return not self.refusals


def check(session: Session, alias: Alias, model: Model) -> Check:
    """Whether an alias may move to a model: where it has a gate and does not stand there already, by its report."""
    if not alias.gate or alias.model_id == model.id:
        return Check(None, ())
    encoder = _encoder_of(session, model)
    report = newest_report(session, alias.project_id, encoder)
    if report is None:
        return Check(None, (
            f"there is no forgetting report of {encoder}; run a forgetting job on its line, with held-out data of "
            "every modality that it knows",
        ))  # fmt: skip
    present = session.get(Model, alias.model_id)
    known = set(present.info.get("modalities", ())) if present is not None else set()
    found = ForgettingInfo.model_validate(report.info["forgetting"])
    return Check(report.id, tuple(_refusals(Gate(**alias.gate), found, known, report.id)))


def newest_report(session: Session, project_id: str, model_id: str) -> Evaluation | None:
    """The newest forgetting report whose newest stage is a model."""
    mine = select(Evaluation).where(
        Evaluation.project_id == project_id, Evaluation.model_id == model_id, Evaluation.task == FORGETTING
    )
    return session.scalars(mine.order_by(Evaluation.created_at.desc(), Evaluation.id.desc()).limit(1)).first()


def _encoder_of(session: Session, model: Model) -> str:
    """The encoder itself, or the one that a model was fine-tuned from."""
    if model.task == "encoder":
        return model.id
    parents = (session.get(Model, parent) for parent in model.parents)
    return next((parent.id for parent in parents if parent is not None and parent.task == "encoder"), model.id)


def _refusals(gate: Gate, found: ForgettingInfo, known: set[str], report: str) -> Iterator[str]:
    kept = {one.modality: one for one in found.kept}
    for modality in sorted(known - kept.keys()):
        if any(modality in stage.learnt for stage in found.stages[:-1]) or modality not in found.datasets:
            yield f"report {report} does not measure '{modality}', which the present model knows; measure it, too"
    if gate.average is not None and found.average_forgetting is None and kept:
        yield f"report {report} has no losses to average; measure datasets that the stages were trained on"
    if gate.average is not None and found.average_forgetting is not None and found.average_forgetting > gate.average:
        yield _over("the average forgetting", found.average_forgetting, gate.average)
    for modality, one in kept.items():
        yield from _of_modality(gate, modality, one, report)


def _of_modality(gate: Gate, modality: str, one: Kept, report: str) -> Iterator[str]:
    # every dataset of a modality has its bound
    bound = gate.modalities.get(modality_of(modality), gate.each)
    if bound is not None and one.forgetting is None:
        yield f"report {report} has no loss of '{modality}'; measure it on samples of the size that was trained on"
    elif bound is not None and one.forgetting is not None and one.forgetting > bound:
        yield _over(f"the forgetting of '{modality}'", one.forgetting, bound)
    lost = one.accuracy_forgetting
    if gate.accuracy is not None and lost is not None and lost > gate.accuracy:
        yield _over(f"the loss of accuracy on '{modality}'", lost, gate.accuracy)


def _over(what: str, value: float, bound: float) -> str:
    return f"{what} is {value:.4g}, at most {bound:.4g} is allowed"
