"""What a job names: looked up, and compared with each other as far as their descriptions tell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy.orm import Session

from medcoss.specs import (
    EVERY_KIND,
    BuildBufferSpec,
    BuildIndexSpec,
    CompareSpec,
    EmbedSpec,
    EvaluateSpec,
    ExportSpec,
    FinetuneSpec,
    ForgettingSpec,
    PredictSpec,
    PretrainSpec,
    Spec,
    fit,
    fit_export,
)
from medcoss.specs.fit import Misfit
from medcoss.specs.records import DatasetInfo, ModelInfo
from medcoss.specs.runs import as_folded
from medcoss.specs.training import MeasuredOn
from services.core import aliases, served_names
from services.core.errors import FieldError, ValidationFailed
from services.core.jobs import NewJob
from services.core.scope import Scope
from services.core.specs import references
from services.core.tables import Dataset, Job, Model

Row = TypeVar("Row", Dataset, Model)
# kinds whose datasets are files as they were uploaded
_READ_RAW = frozenset({"preprocess", "import_model"})
# kinds that take any dataset
_READ_ALL = frozenset({"inspect_dataset", "predict"})
# kinds to which classes and masks do not matter
_SAMPLES_ONLY = frozenset({"pretrain", "build_buffer"})


@dataclass(frozen=True)
class Inputs:
    """The datasets and models of a spec by what it names them, ids or aliases; the model of each alias; what is wrong
    with them, each with its pointer.
    """

    datasets: Mapping[str, Dataset]
    models: Mapping[str, Model]
    aliases: Mapping[str, str]
    errors: Sequence[FieldError]

    def dataset(self, name: str | None) -> DatasetInfo | None:
        """What a prepared dataset is; None of a raw one, and when nothing is named. Bad files are left out."""
        row = self.datasets.get(name or "")
        return None if row is None or row.info is None else DatasetInfo.model_validate(row.info | {"bad_files": []})

    def model(self, name: str | None) -> ModelInfo | None:
        """What a model is; None when nothing is named."""
        row = self.models.get(name or "")
        return None if row is None else ModelInfo.model_validate(row.info)


@dataclass(frozen=True)
class Expected:
    """What jobs are going to make that others name: datasets and models by their stand-ins, as far as is known of them.
    Of the `vague` ones, neither the numbers of samples nor the classes are known.
    """

    datasets: dict[str, Dataset] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    vague: set[str] = field(default_factory=set)

    def tells(self, asked: NewJob) -> bool:
        """Whether enough is known of what a job names to see whether it fits together."""
        return asked.kind in _SAMPLES_ONLY or not self.vague & {one.id for one in references(asked.kind, asked.spec)}


def find(session: Session, asked: NewJob, *, hold: bool, expected: Expected | None = None) -> Inputs:
    """Look up what a job names in its project; `hold` keeps it there until the transaction ends. What is not made yet
    is among the `expected`, by its stand-in.
    """
    coming = expected or Expected()
    scope, named = Scope.of(asked.project_id), list(references(asked.kind, asked.spec))
    stood_for = aliases.resolved(session, asked.project_id, (reference.id for reference in named), hold=hold)
    datasets: dict[str, Dataset] = {}
    models: dict[str, Model] = {}
    errors: list[FieldError] = []
    for reference in named:
        where, known = f"/spec/{reference.field}", stood_for.get(reference.id, reference.id)
        if reference.resource == "dataset":
            dataset = coming.datasets.get(reference.id) or _found(session, scope, Dataset, reference.id, hold=hold)
            if dataset is not None:
                datasets[reference.id] = dataset
                errors += [FieldError(where, detail) for detail in _unfit(dataset, asked.kind, reference.field)]
                continue
        elif reference.id in coming.models:
            models[reference.id] = coming.models[reference.id]
            errors += [FieldError(where, m.detail) for m in _of_task(models[reference.id], asked.kind)]
            continue
        elif (model := _found(session, scope, Model, known, hold=hold)) is not None:
            models[reference.id] = model
            continue
        errors.append(FieldError(where, f"{reference.resource} {reference.id} does not exist in the job's project"))
    errors += [
        FieldError(f"/depends_on/{i}", f"job {job_id} does not exist in the job's project")
        for i, job_id in enumerate(asked.depends_on)
        if scope.find(session, Job, job_id) is None
    ]
    if asked.kind == "export" and served_names.is_taken(session, asked.spec["name"], asked.project_id):
        detail = f"the name '{asked.spec['name']}' is taken on this platform; choose another one"
        errors.append(FieldError("/spec/name", detail))
    found = Inputs(datasets, models, stood_for, errors)
    if not errors and coming.tells(asked):
        misfits = [m for m in _misfits(asked, found) if not _is_guessed(m, asked, coming)]
        errors += [FieldError(f"/spec/{m.field}", m.detail) for m in misfits]
    return found


def _is_guessed(misfit: Misfit, asked: NewJob, coming: Expected) -> bool:
    """That a dataset to be measured on has no samples to measure on, whose division is not known yet."""
    name, _, place = misfit.field.partition("/")
    return name == "measured_on" and asked.spec[name][int(place)] in coming.vague


def _of_task(model: Model, kind: str) -> Iterator[Misfit]:
    """That a model which is going to be made is no encoder where one is needed, or is one."""
    info = ModelInfo.model_validate(model.info)
    if kind == "evaluate" and info.task == "encoder":
        yield Misfit("", "this model is an encoder without a head; fine-tune it first")
    elif kind in ("pretrain", "build_buffer", "finetune", "compare"):
        yield from fit.encoder(info, "")


def _found(session: Session, scope: Scope, table: type[Row], row_id: str, *, hold: bool) -> Row | None:
    """What a session has held already stays held until it ends: jobs that are checked together ask once."""
    if not hold:
        return scope.find(session, table, row_id)
    held: dict[tuple[type[Row], str], Row] = session.info.setdefault("held", {})
    row = held.get((table, row_id))
    if row is None:
        row = session.get(table, row_id, with_for_update={"read": True})
        if row is None:
            return None
        held[table, row_id] = row
    return row if scope.sees(row.project_id) else None


def check(session: Session, asked: NewJob) -> None:
    """Everything that the job names must be there, in its project, and stays there until it is recorded; and it must
    fit together. ValidationFailed names every wrong field.
    """
    errors = find(session, asked, hold=True).errors
    if errors:
        raise ValidationFailed("; ".join(e.detail for e in errors), [*errors])


def _unfit(row: Dataset, kind: str, field: str) -> Iterator[str]:
    if row.state != "ready":
        yield f"dataset {row.id} is still {row.state}; complete its upload first"
    elif kind in _READ_ALL:
        return
    elif kind in _READ_RAW or field == "vocabulary":
        if row.role != "raw":
            yield f"dataset {row.id} is {row.role}; expected a raw dataset"
    elif row.role == "raw":
        yield f"dataset {row.id} is raw; expected a prepared dataset: preprocess it first"
    elif field.startswith("measured_on") and row.role != "prepared":
        yield f"dataset {row.id} is a {row.role}; expected a prepared dataset, which has splits to measure on"
    elif field.startswith("joint") and row.role != "prepared":
        yield f"dataset {row.id} is a {row.role}; expected a prepared dataset, which is learnt as a whole"
    elif field.startswith("rehearsal") and row.role != "buffer":
        yield f"dataset {row.id} is {row.role}; expected a rehearsal buffer: make one with build_buffer"


def typed(asked: NewJob) -> Spec:
    """The spec as the model of its kind."""
    return EVERY_KIND[asked.kind].spec.model_validate(asked.spec)


def processes(asked: NewJob) -> int:
    """How many processes share each batch of the job, or of its trainings: one a GPU of each machine."""
    kind = "finetune_run" if asked.kind == "compare" else asked.kind
    return (asked.nodes or 1) * max(asked.gpus or 1, 1) if EVERY_KIND[kind].ranks else 1


def _misfits(asked: NewJob, found: Inputs) -> Iterator[Misfit]:
    """What the trainers would refuse when the job has begun."""
    if asked.kind in _READ_RAW:
        return
    spec, dataset = typed(asked), found.dataset(asked.spec.get("dataset"))
    model = found.model(asked.spec.get("model") or asked.spec.get("init_model"))
    if isinstance(spec, ExportSpec) and model is not None:
        yield from fit_export.exporting(spec, model)
    if isinstance(spec, ForgettingSpec):
        models = [known for name in spec.models if (known := found.model(name)) is not None]
        measured = [info for name in spec.datasets if (info := found.dataset(name)) is not None]
        yield from fit.forgetting(spec, models, measured)
    if isinstance(spec, PredictSpec) and model is not None:
        yield from fit.predicting(dataset, model)
    if isinstance(spec, BuildIndexSpec) and model is not None:
        # what is wrong with the model is so for every dataset
        yield from dict.fromkeys(_of_index(spec, model, found))
    if dataset is None:
        return
    if isinstance(spec, MeasuredOn):
        yield from fit.measured_on([info for name in spec.measured_on if (info := found.dataset(name)) is not None])
    if isinstance(spec, PretrainSpec):
        yield from _of_stage(spec, dataset, model, found, processes(asked))
    elif isinstance(spec, FinetuneSpec | CompareSpec):
        yield from fit.repeated(spec, dataset)
        seen = as_folded(dataset, spec)
        if isinstance(spec, CompareSpec):
            yield from fit.comparing(spec, seen, {name: found.model(m) for name, m in spec.encoders.items()})
        else:
            yield from fit.finetuning(spec, seen, model)
        targets = {"the training split": fit.with_targets(seen, "train", spec.task)}
        yield from _shares(spec, targets, processes(asked))
    elif isinstance(spec, BuildBufferSpec) and model is not None:
        yield from fit.buffer_building(spec, dataset, model)
        yield from fit.learnt(model, dataset.modality, "model")
    elif isinstance(spec, EvaluateSpec) and model is not None:
        yield from fit.evaluation(spec, dataset, model)
    elif isinstance(spec, EmbedSpec) and model is not None:
        yield from fit.embedding(dataset, model)
    if isinstance(spec, EmbedSpec | PredictSpec):
        yield from fit.there(spec.split, dataset)


def _of_index(spec: BuildIndexSpec, model: ModelInfo, found: Inputs) -> Iterator[Misfit]:
    for place, name in enumerate(spec.datasets):
        if name in spec.datasets[:place]:
            yield Misfit(f"datasets/{place}", "the same dataset is given twice; give every dataset once")
        elif (info := found.dataset(name)) is not None:
            yield from fit.embedding(info, model, f"datasets/{place}")


def _of_stage(spec: PretrainSpec, dataset: DatasetInfo, model: ModelInfo | None, found: Inputs,
              world: int) -> Iterator[Misfit]:  # fmt: skip
    for place, name in enumerate(spec.rehearsal):
        if name in spec.rehearsal[:place]:
            yield Misfit(
                f"rehearsal/{place}",
                "the same buffer is given twice, its samples would count twice; give every buffer once",
            )
    buffers = [info for name in spec.rehearsal if (info := found.dataset(name)) is not None]
    learnt = [dataset, *(info for name in spec.joint if (info := found.dataset(name)) is not None)]
    reads = any(info.kind == "text" for info in learnt) or spec.vocabulary is not None
    # a model whose sizes are not told may have a vocabulary
    known = reads or (model is not None and model.config.get("vocabulary") != 0)
    yield from fit.pretraining(spec, learnt, model, buffers, known)
    available = {f"the dataset of '{info.modality}'": info.splits.get("train", 0) for info in learnt}
    available |= {f"the buffer of '{buffer.modality}'": buffer.samples for buffer in buffers}
    yield from _shares(spec, available, world)


def _shares(
    spec: PretrainSpec | FinetuneSpec | CompareSpec, available: Mapping[str, int], world: int
) -> Iterator[Misfit]:
    """Sources without any sample are told of elsewhere."""
    yield from fit.shares(spec.batch_size, {name: n for name, n in available.items() if n}, spec.accumulate, world)
