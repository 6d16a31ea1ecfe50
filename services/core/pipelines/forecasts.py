"""What a pipeline is going to take: each step looked at with what those before it are going to make."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy.orm import Session

from services.core import preflight
from services.core.db import Database
from services.core.forecast import BYTE, SECOND, Figure
from services.core.pipelines.plans import Plan, examine
from services.core.preflight import Preflight
from services.core.specs import references

HOUR_S = 3600.0
_TRAINING = frozenset({"pretrain", "finetune", "compare"})
_READING = _TRAINING | {"build_buffer", "evaluate", "forgetting", "embed"}


def foresee(session: Session, plan: Plan, owner: str, running: int | None) -> dict[str, Preflight]:
    """What would come of each step that fits; what is wrong with the others goes into the plan. `running` is the quota
    of jobs that run at once.
    """
    seen: dict[str, Preflight] = {}
    for name, found in examine(session, plan, owner, hold=False):
        asked = plan.steps[name].asked
        one = preflight.look(session, asked, found, owner, running, [o for o in plan.steps[name].needs
                                                                     if o not in plan.done])  # fmt: skip
        if one.errors:
            plan.wrong(name, [*one.errors])
        elif plan.uncounted & {reference.id for reference in references(asked.kind, asked.spec)}:
            one = _uncounted(one)
        seen[name] = one
    return seen


def _uncounted(seen: Preflight) -> Preflight:
    """Without the numbers that depend on how many samples another step makes."""
    if seen.forecast is None:
        return seen
    why = "how many samples there are is known once the step has run that makes them"

    def none(figure: Figure) -> Figure:
        return Figure(None, figure.unit, why)

    told = seen.forecast
    forecast = replace(
        told, samples=none(told.samples), batches=none(told.batches), steps=none(told.steps), storage=none(told.storage)
    )
    return replace(seen, forecast=forecast, duration=Figure(None, SECOND, why), warnings=[])


def durations(database: Database, plan: Plan, owner: str, running: int | None) -> dict[str, float | None]:
    """How long each step is going to run, in seconds, as far as it is known; the plan stays as it is."""
    with database.reading() as session:
        seen = foresee(session, plan.fresh(), owner, running)
    return {name: one.duration.value if one.duration else None for name, one in seen.items()}


def sums(plan: Plan, seen: Mapping[str, Preflight]) -> dict[str, Figure]:
    """What the steps take together: samples, training_steps, duration, gpu_hours and storage."""
    told = {name: one.forecast for name, one in seen.items() if one.forecast is not None}
    reading = {name: one for name, one in told.items() if plan.steps[name].asked.kind in _READING}
    trained = {name: one for name, one in reading.items() if plan.steps[name].asked.kind in _TRAINING}
    times = {name: one.duration.value if one.duration else None for name, one in seen.items()}
    hours = {name: _hours(one) for name, one in seen.items()}
    on_gpu = any(one.on_gpu for one in seen.values())
    return {
        "samples": _sum({name: one.samples.value for name, one in reading.items()}, "sample",
                        "the sum of the samples that trainings, buffers, embeddings and evaluations read"),
        "training_steps": _sum({name: one.steps.value for name, one in trained.items()}, "step",
                               "the sum of all trainings"),
        "duration": _sum(times, SECOND, "the longest way through the steps, if there are workers enough",
                         _longest(plan, times)),
        "gpu_hours": _sum(hours, "h", "the durations of all steps, times their GPUs" if on_gpu else
                          "the durations of all steps, on CPUs: no worker offers a GPU"),
        "storage": _sum({name: one.storage.value for name, one in told.items()}, BYTE, "the sum of the steps"),
    }  # fmt: skip


def _hours(seen: Preflight) -> float | None:
    if seen.duration is None or seen.duration.value is None:
        return None
    return seen.duration.value * max(seen.processes if seen.on_gpu else 1, 1) / HOUR_S


def _longest(plan: Plan, times: Mapping[str, float | None]) -> float:
    ends: dict[str, float] = {}
    for name in plan.order:
        before = max((ends[other] for other in plan.steps[name].needs if other in ends), default=0.0)
        ends[name] = (times.get(name) or 0.0) + before
    return max(ends.values(), default=0.0)


def _sum(values: Mapping[str, float | None], unit: str, how: str, whole: float | None = None) -> Figure:
    missing = _named(name for name, value in values.items() if value is None)
    known = [value for value in values.values() if value is not None]
    if not known:
        return Figure(None if values else 0, unit, f"it is not known of {missing}" if values else "nothing is done")
    total = sum(known) if whole is None else whole
    return Figure(total, unit, f"{how}; without {missing}, of which it is not known" if missing else how)


def _named(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")
