"""What a job takes that is shared out among trainings: one of them looked at, and multiplied."""

from dataclasses import replace

import services.core.forecast_batch  # noqa: F401 - its forecasts are known from here on
from medcoss.specs import CompareSpec, FinetuneSpec, Spec
from medcoss.specs.fit import Misfit
from medcoss.specs.footprint import Hardware
from medcoss.specs.runs import FinetuneRunSpec, runs_of
from services.core import forecast_forgetting  # noqa: F401 - registers its kind
from services.core.forecast import Figure, Forecast, Work, forecast
from services.core.inputs import Inputs


def forecast_all(spec: Spec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    """What a job takes, all its trainings together; memory and parameters are those of the largest one."""
    runs = runs_of(spec) if isinstance(spec, FinetuneSpec | CompareSpec) else []
    if not runs:
        return forecast(spec, found, paths, hardware)
    # seeds and folds of one encoder take the same
    firsts: dict[str | None, FinetuneRunSpec] = {}
    for run in runs:
        firsts.setdefault(run.encoder, run)
    each = [forecast(run, found, paths, hardware) for run in firsts.values()]
    times = len(runs) // len(each)
    largest = max(each, key=lambda one: one.memory.value or 0)
    warnings = dict.fromkeys(
        Misfit(f"encoders/{name}" if name and misfit.field == "init_model" else misfit.field, misfit.detail)
        for name, one in zip(firsts, each, strict=True)
        for misfit in one.warnings
    )
    return replace(
        largest, steps=_whole([one.steps for one in each], times), storage=_whole([one.storage for one in each], times),
        work=_work([one.work for one in each], times), runs=len(runs), warnings=(*warnings, *_sizes(spec, found)),
    )  # fmt: skip


def _whole(each: list[Figure], times: int) -> Figure:
    """The sum over all trainings."""
    first, count = each[0], len(each) * times
    values = [one.value for one in each if one.value is not None]
    if len(values) < len(each):
        return next(one for one in each if one.value is None)
    parts: dict[str, int] = {}
    for one in each:
        for name, value in one.parts.items():
            parts[name] = parts.get(name, 0) + times * value
    how = f"of {count} trainings together, each: {first.how}"
    return Figure(times * sum(values), first.unit, how, parts)


def _work(each: list[Work], times: int) -> Work:
    units = [one.units for one in each if one.units is not None]
    operations = [one.operations for one in each if one.operations is not None]
    return replace(
        each[0], units=times * sum(units) if len(units) == len(each) else None,
        operations=times * sum(operations) if len(operations) == len(each) else None,
        size=each[0].size if len({one.size for one in each}) == 1 else None,
    )  # fmt: skip


def _sizes(spec: Spec, found: Inputs) -> list[Misfit]:
    """That encoders of several sizes are compared."""
    if not isinstance(spec, CompareSpec):
        return []
    sizes = {name: model.size for name, ref in spec.encoders.items() if (model := found.model(ref)) is not None}
    if len(set(sizes.values())) < 2:
        return []
    listed = ", ".join(f"{name}: {size}" for name, size in sizes.items())
    return [Misfit("encoders", f"the encoders are of several sizes ({listed}), which the scores depend on, too")]
