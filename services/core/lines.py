"""Lines of models: an encoder, stage after stage, with what branches off, and where two lines part.

A line is not stored: it is the chain of encoders that a model goes on from. Whoever trains a further stage from an
earlier model has branched; an alias that is promoted or rolled back moves along a line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.evaluations import FORGETTING
from services.core.scope import Scope
from services.core.tables import Alias, Dataset, Evaluation, Lineage, Model

# longer than any line of years
MOST = 256


@dataclass(frozen=True)
class Stage:
    """One stage of a line: the model, what it has learnt, from which dataset and with which buffers; `branches` are
    encoders of other lines that go on from it, `report` is the newest forgetting report of which it is the last stage.
    """

    model: Model
    learnt: list[str]
    dataset_ids: list[str]
    buffer_ids: list[str]
    aliases: list[str] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)
    report_id: str | None = None
    report: dict[str, float] = field(default_factory=dict)


def line_of(session: Session, scope: Scope, model: Model) -> list[Stage]:
    """The line that leads to an encoder, its first stage first; of a fine-tuned model, that of its encoder."""
    chain = _chain(session, scope, model)
    ids = [one.id for one in chain]
    made_of = _inputs(session, ids)
    children = _encoders_from(session, scope, ids)
    names = _aliases(session, scope, ids)
    reports = newest_reports(session, scope, ids)
    stages = []
    for place, one in enumerate(chain):
        following = {ids[place + 1]} if place + 1 < len(ids) else set()
        datasets, buffers = made_of.get(one.id, ([], []))
        report = reports.get(one.id)
        stages.append(
            Stage(
                one, _learnt(one), datasets, buffers, names.get(one.id, []),
                sorted(set(children.get(one.id, [])) - following),
                report.id if report else None, dict(report.info["metrics"]) if report else {},
            )
        )  # fmt: skip
    return stages


@dataclass(frozen=True)
class Summary:
    """A line as a list shows it: its newest stage, its first one, how many they are, the aliases that stand on it, and
    the newest forgetting report of its newest stage that has one.
    """

    newest: Model
    first: Model
    stages: int
    aliases: dict[str, str]
    report_id: str | None
    report: dict[str, float]


def summaries(session: Session, scope: Scope, newest: Sequence[Model]) -> list[Summary]:
    """The lines that lead to encoders, in their order."""
    chains = [_chain(session, scope, one) for one in newest]
    ids = list(dict.fromkeys(one.id for chain in chains for one in chain))
    names, reports = _aliases(session, scope, ids), newest_reports(session, scope, ids)
    found = []
    for chain in chains:
        told = next((reports[one.id] for one in reversed(chain) if one.id in reports), None)
        found.append(
            Summary(
                chain[-1], chain[0], len(chain), {name: one.id for one in chain for name in names.get(one.id, [])},
                told.id if told else None, dict(told.info["metrics"]) if told else {},
            )
        )  # fmt: skip
    return found


def parting(first: Sequence[Stage], second: Sequence[Stage]) -> str | None:
    """The last model that two lines have in common; None when they have begun apart."""
    shared = {stage.model.id for stage in second}
    return next((stage.model.id for stage in reversed(first) if stage.model.id in shared), None)


def _learnt(model: Model) -> list[str]:
    return list(model.info.get("learnt") or [model.modality])


def _chain(session: Session, scope: Scope, model: Model) -> list[Model]:
    found: list[Model] = []
    current: Model | None = model
    while current is not None and len(found) < MOST and current not in found:
        if current.task == "encoder":
            found.append(current)
        parents = (scope.find(session, Model, parent) for parent in current.parents)
        current = next((parent for parent in parents if parent is not None and parent.task == "encoder"), None)
    return found[::-1]


def _inputs(session: Session, ids: Sequence[str]) -> dict[str, tuple[list[str], list[str]]]:
    """Datasets and buffers of each model."""
    named = select(Lineage.child_id, Dataset.id, Dataset.role).join(Dataset, Dataset.id == Lineage.input_id)
    found: dict[str, tuple[list[str], list[str]]] = {}
    for child, dataset_id, role in session.execute(named.where(Lineage.child_id.in_(ids)).order_by(Dataset.id)):
        datasets, buffers = found.setdefault(child, ([], []))
        if role == "prepared":
            datasets.append(dataset_id)
        elif role == "buffer":
            buffers.append(dataset_id)
    return found


def _encoders_from(session: Session, scope: Scope, ids: Sequence[str]) -> dict[str, list[str]]:
    made = select(Lineage.input_id, Model.id).join(Model, Model.id == Lineage.child_id)
    made = made.where(Lineage.input_id.in_(ids), Model.task == "encoder", scope.among(Model.project_id))
    found: dict[str, list[str]] = {}
    for parent, child in session.execute(made):
        found.setdefault(parent, []).append(child)
    return found


def _aliases(session: Session, scope: Scope, ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in session.scalars(scope.select(Alias).where(Alias.model_id.in_(ids)).order_by(Alias.name)):
        found.setdefault(row.model_id, []).append(row.name)
    return found


def newest_reports(session: Session, scope: Scope, ids: Sequence[str]) -> dict[str, Evaluation]:
    """The newest forgetting report of each model."""
    mine = scope.select(Evaluation).where(Evaluation.model_id.in_(ids), Evaluation.task == FORGETTING)
    return {row.model_id: row for row in session.scalars(mine.order_by(Evaluation.created_at, Evaluation.id))}


def compared(first: Sequence[Stage], second: Sequence[Stage]) -> dict[str, dict[str, Any]]:
    """The numbers of the newest reports of two lines, by name, where both have them."""
    mine, other = (next((s.report for s in reversed(line) if s.report), {}) for line in (first, second))
    return {
        name: {"first": mine[name], "second": other[name], "difference": other[name] - mine[name]}
        for name in mine
        if name in other
    }
