"""How long a job is going to take: from what earlier jobs of its project have reached, or else from its operations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from medcoss.specs.devices import peak_tflops
from medcoss.specs.footprint import Hardware
from services.core.forecast import SECOND, Figure, Work
from services.core.lifecycle import State
from services.core.tables import Dataset, Job, JobInput, JobMetric, Model, Worker

# earlier jobs that are looked at, those that are counted, and rows of each
LOOKED_AT, COUNTED, ROWS = 30, 5, 20
TRAININGS = ("pretrain", "finetune", "finetune_run")
# kinds whose trainings are alike, those that are shared out among child jobs among them
_ALIKE = {"finetune": ("finetune", "finetune_run"), "compare": ("finetune", "finetune_run")}
# what is assumed where nothing was measured: of a GPU's peak in 16 bits, of that in 32 bits, of a GPU of unknown name,
# and of each core of a CPU; in floating-point operations a second
GPU_SHARE, SINGLE_SHARE = 0.3, 0.05
UNKNOWN_GPU = 100e12
CORE = 10e9
# multiplications a second and core of k-means on features: 400,000 x 768 and 4,000 clusters took 335 s on one core
CHOOSING = 400_000 * 4_000 * 768 / 335


@dataclass(frozen=True)
class Place:
    """Where a job is going to run: on what, and the workers that could take it."""

    hardware: Hardware
    workers: Sequence[Worker] = ()

    @property
    def words(self) -> str:
        """The class of workers, in words."""
        if not self.hardware.on_gpu:
            return "CPU workers"
        processes = self.hardware.processes
        return "GPU workers" if processes == 1 else f"GPU workers, {processes} GPUs together"


@dataclass(frozen=True)
class _Earlier:
    """What an earlier training has reached, all its processes together: medians of its rows."""

    size: str
    shape: tuple[int, ...]
    samples_per_s: float
    operations_per_s: float
    processes: int


def duration(session: Session, project_id: str, kind: str, work: Work, place: Place) -> Figure:
    """Seconds that a job is going to run, and how that is known. A handful of indexed questions."""
    if kind in TRAININGS or kind in _ALIKE:
        alike = [e for e in _trainings(session, project_id, place, _ALIKE.get(kind, (kind,)), work.modality)
                 if (e.size, e.shape, e.processes) == (work.size, work.shape, place.hardware.processes)]  # fmt: skip
        if alike and work.units is not None:
            rate, words = median(e.samples_per_s for e in alike), "finetune" if kind in _ALIKE else kind
            return Figure(
                work.units / rate, SECOND,
                f"{work.units:,} samples at {rate:.4g} a second, the median of {_jobs(len(alike), words)} of this size "
                f"and shape of samples on {place.words}",
            )  # fmt: skip
    else:
        found = _by_units(session, project_id, kind, work, place)
        if found is not None:
            return found
    if work.operations is None:
        return Figure(None, SECOND, f"no earlier {kind} job of this project like it has succeeded on {place.words}")
    return _by_operations(session, project_id, work, place)


def of_runs(whole: Figure, runs: int, place: Place) -> tuple[Figure, Figure]:
    """Of the time of all trainings of a job, one after the other: that of one, and that of all on the workers there
    are, each of which makes one at a time.
    """
    if runs == 1 or whole.value is None:
        return whole, whole
    at_once = min(max(len(place.workers), 1), runs)
    one = whole.value / runs
    how = f"{runs} trainings, {at_once} at a time by the workers that could take them now; all together: {whole.how}"
    return replace(whole, value=one), replace(whole, value=one * -(-runs // at_once), how=how)


def _jobs(count: int, kind: str) -> str:
    return f"{count} earlier {kind} job{'s' if count > 1 else ''}"


def _done(project_id: str, kinds: Sequence[str], *columns: Any) -> Select[Any]:
    """The newest jobs of these kinds that have succeeded, with the worker that ran them."""
    mine = (Job.project_id == project_id, Job.kind.in_(kinds), Job.state == State.SUCCEEDED)
    newest = select(*columns, Job.gpus, Worker.gpus).outerjoin(Worker, Worker.name == Job.worker).where(*mine)
    return newest.order_by(Job.created_at.desc(), Job.id.desc()).limit(LOOKED_AT)


def _fits(asked: int | None, offered: int | None, place: Place) -> bool:
    """True for a job that ran where this one is going to; a worker that is forgotten had what the job asked for."""
    on_gpu = asked != 0 and bool(asked if offered is None else offered)
    return on_gpu == place.hardware.on_gpu


def _trainings(session: Session, project_id: str, place: Place, kinds: Sequence[str],
               modality: str | None = None) -> list[_Earlier]:  # fmt: skip
    """The newest trainings whose numbers are there, of one modality or of all."""
    made = _done(project_id, kinds, Job.id, Model.info).join(Model, Model.job_id == Job.id)
    if modality is not None:
        made = made.where(Model.modality == modality)
    found: list[_Earlier] = []
    for job_id, info, asked, offered in session.execute(made):
        if not _fits(asked, offered, place) or len(found) == COUNTED:
            continue
        rows = session.scalars(
            select(JobMetric.values).where(JobMetric.job_id == job_id).order_by(JobMetric.seq.desc()).limit(ROWS)
        )
        told = [row for row in rows if row.get("samples_per_s") and row.get("tflops_per_s")]
        if told:
            samples, tflops = (median(float(row[name]) for row in told) for name in ("samples_per_s", "tflops_per_s"))
            shape = tuple(info["sample_shape"])
            found.append(_Earlier(info["size"], shape, samples, tflops * 1e12, max(asked or 1, 1)))
    return found


def _by_units(session: Session, project_id: str, kind: str, work: Work, place: Place) -> Figure | None:
    """From the time that earlier jobs of the kind ran, by the samples or files of their datasets."""
    with_data = (
        _done(project_id, (kind,), Job.ran_s, Job.spec, Dataset.file_count, Dataset.info)
        .outerjoin(JobInput, (JobInput.job_id == Job.id) & (JobInput.resource == "dataset"))
        .outerjoin(Dataset, Dataset.id == JobInput.input_id)
    )
    rows = [row for row in session.execute(with_data) if row.ran_s > 0 and _fits(row[-2], row[-1], place)]
    if work.units is None:
        times = [row.ran_s for row in rows][:COUNTED]
        if not times:
            return None
        return Figure(median(times), SECOND, f"the median of {_jobs(len(times), kind)} on {place.words}")
    rates = [units / row.ran_s for row in rows if (units := _units(work, row.spec, row.file_count, row.info))][:COUNTED]
    if not rates:
        return None
    rate = median(rates)
    return Figure(
        work.units / rate, SECOND,
        f"{work.units:,} {work.unit}s at {rate:.4g} a second, the median of {_jobs(len(rates), kind)} like it on "
        f"{place.words}",
    )  # fmt: skip


def _name_of(modality: Any) -> Any:
    """The name of a modality that a recipe names or declares."""
    return modality["name"] if isinstance(modality, dict) else modality


def _units(work: Work, spec: dict[str, Any], files: int | None, info: dict[str, Any] | None) -> int:
    """Files or samples that an earlier job had to read; 0 for one of another recipe or modality."""
    if work.unit == "file":
        recipe = spec["recipe"]
        return (files or 0) if (recipe["name"], _name_of(recipe["modality"])) == (work.size, work.modality) else 0
    if info is None or info["modality"] != work.modality or tuple(info["sample_shape"]) != work.shape:
        return 0
    return int(info["splits"].get(spec.get("split", "train"), 0))


def _by_operations(session: Session, project_id: str, work: Work, place: Place) -> Figure:
    """From the operations, at the rate of earlier trainings or at one that is assumed."""
    assert work.operations is not None
    at_most = " and reports of full length" if work.modality == "report" else ""
    counted = f"{work.operations:.3g} floating-point operations, counted from the model's sizes{at_most}"
    earlier = _trainings(session, project_id, place, TRAININGS)
    if earlier:
        rate = place.hardware.processes * median(e.operations_per_s / e.processes for e in earlier)
        which = "earlier training" + ("s" if len(earlier) > 1 else "")
        how = f"{counted}, at {rate:.3g} a second, the median of {len(earlier)} {which} on {place.words}"
    else:
        rate, assumed = _assumed(work, place)
        how = f"{counted}, at {rate:.3g} a second: an assumption ({assumed}), no earlier job was measured"
    if work.choosing == 0:
        return Figure(work.operations / rate, SECOND, how)
    cores = min(_known(w.cpus for w in place.workers), default=1)
    choosing_s = work.choosing / (cores * CHOOSING)
    how += (
        f"; and {choosing_s:.3g} s to choose by the features, {work.choosing:.3g} multiplications at "
        f"{CHOOSING:.3g} a second on each of {cores} CPU core{'s' if cores > 1 else ''}, as k-means was measured"
    )
    return Figure(work.operations / rate + choosing_s, SECOND, how)


def _assumed(work: Work, place: Place) -> tuple[float, str]:
    if not place.hardware.on_gpu:
        cores = min(_known(w.cpus for w in place.workers), default=1)
        return cores * CORE, f"{CORE / 1e9:g} GFLOP/s for each of {cores} CPU core{'s' if cores > 1 else ''}"
    share = GPU_SHARE if work.number_bytes == 2 else SINGLE_SHARE
    peaks = [(peak * 1e12, str(w.gpu_model)) for w in place.workers if (peak := peak_tflops(w.gpu_model or ""))]
    peak, name = min(peaks, default=(UNKNOWN_GPU, "a GPU that is not known"))
    count = place.hardware.processes
    each = f", {count} of them" if count > 1 else ""
    return count * share * peak, f"{share:.0%} of the {peak / 1e12:g} TFLOP/s of {name}{each}"


def _known(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value]
