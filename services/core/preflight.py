"""What would come of a job if it were submitted now: nothing is written, and nothing is held."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from medcoss.specs import CompareSpec, EvaluateSpec, FinetuneSpec, PreprocessSpec, Spec, raw
from medcoss.specs.footprint import Hardware
from medcoss.specs.names import is_shown
from medcoss.specs.training import LeakageOptions, MeasuredOn
from services.core import inputs, jobs, pace, registry, waiting
from services.core.advice import next_cut
from services.core.errors import Conflict, FieldError, TooMany
from services.core.forecast import BYTE, SECOND, Figure, Forecast
from services.core.forecast_runs import forecast_all
from services.core.inputs import Inputs
from services.core.jobs import NewJob
from services.core.lifecycle import State
from services.core.pace import Place
from services.core.scheduling import next_turn
from services.core.specs import with_ids
from services.core.tables import DatasetFile
from services.core.tables.base import now
from services.core.workers import WorkerState


@dataclass(frozen=True)
class Wait:
    """What a job would wait for: `dependency`, `resources`, `quota` or `turn`, and in words."""

    what: str
    detail: str


@dataclass(frozen=True)
class Preflight:
    """What would come of a job. `errors` would have it refused, or fail once it runs; `forecast` and `duration` are
    None when fields are wrong. `spec` names ids in place of `aliases`; `at_start` is what is looked at when it begins.
    Of a training, so many `processes` share each batch.
    """

    spec: dict[str, Any] | None
    aliases: Mapping[str, str]
    errors: Sequence[FieldError]
    warnings: Sequence[FieldError] = ()
    on_gpu: bool = False
    forecast: Forecast | None = None
    duration: Figure | None = None
    waits_for: Sequence[Wait] = ()
    at_start: Sequence[FieldError] = ()
    processes: int = 1


def preflight(session: Session, asked: NewJob, owner: str, running: int | None,
              after: Sequence[str] = ()) -> Preflight:  # fmt: skip
    """Look a job over as a submission would, and beyond. `running` is the quota of jobs that run at once; `after` names
    jobs of the same batch that it needs.
    """
    return look(session, asked, inputs.find(session, asked, hold=False), owner, running, after)


def look(session: Session, asked: NewJob, found: Inputs, owner: str, running: int | None,
         after: Sequence[str] = ()) -> Preflight:  # fmt: skip
    """The same of a job whose inputs have been looked up."""
    spec = with_ids(asked.kind, asked.spec, dict(found.aliases))
    if found.errors:
        return Preflight(spec, found.aliases, found.errors)
    paths = paths_of(session, asked)
    needed, errors = _needed(session, asked, owner)
    errors += _unusable(asked, paths)
    if errors:
        return Preflight(spec, found.aliases, errors)
    moment = now()
    place = _place(session, asked, moment)
    seen = forecast_all(inputs.typed(asked), found, paths, place.hardware)
    lasts = pace.duration(session, asked.project_id, asked.kind, seen.work, place)
    each, lasts = pace.of_runs(lasts, seen.runs, place)
    warnings = [FieldError(f"/spec/{m.field}", m.detail) for m in seen.warnings]
    warnings += [*_foreign(session, spec), *_too_large(asked, seen, place), *_too_long(asked, each)]
    waits = _waits(session, asked, owner, running, [*needed, *after], moment)
    return Preflight(spec, found.aliases, [], warnings, place.hardware.on_gpu, seen, lasts, waits,
                     [*_at_start(asked)], place.hardware.processes)  # fmt: skip


def room(session: Session, owner: str, quota: int | None, number: int = 1) -> list[FieldError]:
    """That the owner has as many jobs already as may wait to run; nothing when there is room for `number` more."""
    try:
        if quota is not None:
            jobs.check_quota(session, owner, quota, number)
    except TooMany as error:
        return [FieldError("", error.detail)]
    return []


def together(found: Sequence[Preflight], after: Sequence[Sequence[int]]) -> tuple[Figure, Figure]:
    """Duration and storage of the jobs of a batch together; `after` are the places of those that each needs."""
    times = [one.duration.value if one.duration else None for one in found]
    rooms = [one.forecast.storage.value if one.forecast else None for one in found]
    return (
        _whole(times, _longest(times, after), SECOND,
               "the longest way through the jobs that need each other, if there are workers enough"),
        _whole(rooms, sum(size or 0 for size in rooms), BYTE, "the sum of the jobs"),
    )  # fmt: skip


def _whole(values: Sequence[float | None], whole: float, unit: str, how: str) -> Figure:
    missing = [str(place) for place, value in enumerate(values) if value is None]
    if len(missing) == len(values):
        return Figure(None, unit, "it is known of none of the jobs")
    return Figure(whole, unit, how + (f"; without /jobs/{', /jobs/'.join(missing)}, of which it is not known"
                                      if missing else ""))  # fmt: skip


def _longest(times: Sequence[float | None], after: Sequence[Sequence[int]]) -> float:
    ends: dict[int, float] = {}
    for place in TopologicalSorter(dict(enumerate(after))).static_order():
        ends[place] = (times[place] or 0.0) + max((ends[other] for other in after[place]), default=0.0)
    return max(ends.values())


def paths_of(session: Session, asked: NewJob) -> list[str]:
    """The files of a dataset that recipes and inspections look at."""
    if asked.kind not in ("preprocess", "inspect_dataset"):
        return []
    named = select(DatasetFile.path).where(DatasetFile.dataset_id == asked.spec["dataset"])
    return sorted(path for path in session.scalars(named) if is_shown(path))


def _unusable(asked: NewJob, paths: list[str]) -> list[FieldError]:
    spec = inputs.typed(asked)
    if not isinstance(spec, PreprocessSpec):
        return []
    return [FieldError(f"/spec/{m.field}", m.detail) for m in raw.unusable(paths, spec)]


def _needed(session: Session, asked: NewJob, owner: str) -> tuple[list[str], list[FieldError]]:
    """The jobs that it would wait for, and that one of them has ended without success."""
    try:
        required = jobs.check_submission(session, asked, owner, None)
    except Conflict as error:
        return [], [FieldError("/depends_on", error.detail)]
    return [job.id for job in required if job.state != State.SUCCEEDED], []


def _place(session: Session, asked: NewJob, moment: datetime) -> Place:
    """Where it is going to run: on a GPU when it asks for one, or when every worker that could take it has one."""
    taking = waiting.taking(session, moment)
    able = [w for w in taking if waiting.lacking(asked.gpus, asked.memory_bytes, [w], asked.nodes) is None]
    on_gpu = bool(asked.gpus) or (asked.gpus is None and bool(able) and all(w.gpus for w in able))
    return Place(Hardware(on_gpu, inputs.processes(asked)), able)


def _at_start(asked: NewJob) -> Iterator[FieldError]:
    """What is read from a row for each sample, in files that only workers fetch: patients, and classes."""
    spec = inputs.typed(asked)
    yield from _of_samples(spec)
    held_out = isinstance(spec, MeasuredOn) or (isinstance(spec, EvaluateSpec) and spec.split != "train")
    if not held_out or not isinstance(spec, LeakageOptions):
        return
    splits = spec.split if isinstance(spec, EvaluateSpec) else "val and test"
    others = " or of a dataset of measured_on" if isinstance(spec, MeasuredOn) and spec.measured_on else ""
    then = "it is recorded with the reason of allow_leakage" if spec.allow_leakage else "the job fails, once"
    detail = f"whether a patient in {splits} of the dataset{others} has been trained on; if so, {then}"
    yield FieldError("/spec/dataset", detail)


def _of_samples(spec: Spec) -> Iterator[FieldError]:
    if not isinstance(spec, FinetuneSpec | CompareSpec):
        return
    what = "samples of at least two classes" if spec.task == "classification" else "a mask that is not empty"
    yield FieldError("/spec/dataset", f"whether the training split holds {what}; if not, the job fails, once")
    if spec.folds is not None:
        detail = f"whether the splits train and val hold at least {spec.folds} patients or cases"
        yield FieldError("/spec/folds", f"{detail}; if not, the job fails, once")


def _foreign(session: Session, spec: dict[str, Any]) -> Iterator[FieldError]:
    """Rehearsal buffers that were chosen from data which the encoder has not been trained on."""
    buffers: list[str] = spec.get("rehearsal") or []
    known = registry.origins(session, spec["init_model"]) if buffers else set()
    for place, buffer in enumerate(buffers):
        chosen_from = {one for one in registry.inputs_of(session, buffer) if one.startswith("ds_")}
        # what was imported, or made before such things were kept, has no origins
        if known and chosen_from and not chosen_from & known:
            detail = f"it was chosen from {min(chosen_from)}, which init_model has not been trained on"
            yield FieldError(f"/spec/rehearsal/{place}", detail)


def _too_large(asked: NewJob, seen: Forecast, place: Place) -> list[FieldError]:
    """That no worker which could take the job has as much memory as it is going to need."""
    offered = [w.gpu_memory_bytes if place.hardware.on_gpu else w.memory_bytes for w in place.workers]
    largest = max((size for size in offered if size), default=None)
    needed = seen.memory.value
    if largest is None or needed is None or needed <= largest:
        return []
    spec, what = asked.spec, "GPU" if place.hardware.on_gpu else "worker"
    parts = next_cut(spec["batch_size"], spec["accumulate"], inputs.processes(asked)) if "accumulate" in spec else None
    advice = f"; set accumulate to {parts} or more" if parts else "; lower batch_size" if "batch_size" in spec else ""
    detail = f"it needs {needed / 2**30:.3g} GiB, the largest {what} has {largest / 2**30:.3g} GiB{advice}"
    return [FieldError(f"/spec/{'accumulate' if parts else 'batch_size'}" if advice else "/resources", detail)]


def _too_long(asked: NewJob, lasts: Figure) -> list[FieldError]:
    if asked.time_limit_s is None or lasts.value is None or lasts.value <= asked.time_limit_s:
        return []
    detail = f"it is going to run {lasts.value:.0f} s, longer than its time limit of {asked.time_limit_s:g} s"
    return [FieldError("/time_limit_s", detail)]


def _waits(session: Session, asked: NewJob, owner: str, running: int | None, needed: Sequence[str],
           moment: datetime) -> list[Wait]:  # fmt: skip
    """All that would keep the job from running at once, what comes first in time first."""
    found = [Wait("dependency", f"waits for {', '.join(needed)}")] if needed else []
    row = jobs.new_row(asked, asked.spec, owner, next_turn(session, owner, asked.priority), ready=True)
    row.rank = -asked.priority
    around = waiting.surroundings(session, [row], moment, running)
    lacks = waiting.lacking(row.gpus, row.memory_bytes, around.workers, row.nodes)
    if lacks is not None:
        found.append(Wait("resources", lacks))
    over = waiting.full_quota(owner, around)
    if over is not None:
        found.append(Wait("quota", over))
    ahead = waiting.ahead(session, row, moment)
    idle = [w for w in around.workers if w.state == WorkerState.IDLE]
    if ahead:
        found.append(Wait("turn", waiting.position(ahead)))
    elif lacks is None and waiting.lacking(row.gpus, row.memory_bytes, idle, row.nodes) is not None:
        found.append(Wait("turn", f"{waiting.FOR_A_FREE_ONE}; {waiting.position(0)}"))
    return found
