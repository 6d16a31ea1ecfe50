"""What a job is going to take, from its spec and the descriptions of what it names; every number says how it is known.

The numbers come from the same functions that the trainers count by (medcoss.specs.plan) and from the sizes of the
models (medcoss.specs.footprint).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import singledispatch

from medcoss.modalities import Kind
from medcoss.specs import (
    EvaluateSpec,
    ExportSpec,
    FinetuneSpec,
    ImportModelSpec,
    InspectDatasetSpec,
    PreprocessSpec,
    PretrainSpec,
    Spec,
    fit,
    raw,
)
from medcoss.specs.costs import Shape
from medcoss.specs.encoder import SIZES, EncoderConfig
from medcoss.specs.footprint import CHECKPOINTS, FLOAT, Hardware, Source, Training, finetuning, inference, pretraining
from medcoss.specs.plan import Steps, all_batches, training_steps, whole_batches
from medcoss.specs.records import DatasetInfo, ModelInfo
from medcoss.specs.runs import as_folded
from services.core.inputs import Inputs

BYTE, SECOND = "byte", "s"
# word pieces of a BERT vocabulary, where only its file could tell
WORDS = 30_522
AT_MOST_WORDS = ", with {:,} word pieces, at most as many as there are going to be"
UNKNOWN_SIZES = "the model's record does not tell its sizes"


@dataclass(frozen=True)
class Figure:
    """A number, its unit, and in one sentence how it is known; None when nobody can know it, and why. `parts` add up
    to it.
    """

    value: float | None
    unit: str
    how: str
    parts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What a job does in all, for its duration: `units` of `unit`, with floating-point `operations` where they count.
    `number_bytes` of the matrix products, 2 or 4. `size` and `shape` tell which earlier jobs were alike. `choosing` are
    the multiplications besides by which samples are chosen from their features, on CPU cores wherever the model is.
    """

    units: int | None = None
    unit: str = "sample"
    operations: float | None = None
    number_bytes: int = FLOAT
    modality: str | None = None
    size: str | None = None
    shape: tuple[int, ...] | None = None
    choosing: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """What a job takes, but for its duration; `warnings` are what its owner should know of, as fields and words. `runs`
    are the trainings that it is shared out among.
    """

    samples: Figure
    batches: Figure
    steps: Figure
    parameters: Figure
    memory: Figure
    storage: Figure
    work: Work = Work()
    runs: int = 1
    warnings: tuple[fit.Misfit, ...] = ()


def blank(unit: str, why: str) -> Figure:
    """A number that nobody can know, and why."""
    return Figure(None, unit, why)


@singledispatch
def forecast(spec: Spec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    """What a job takes. `paths` are the files of its raw dataset, `hardware` is what it is going to run on."""
    raise TypeError(f"there is no forecast of {type(spec).__name__}")


def _config(model: ModelInfo | None, fallback: EncoderConfig) -> EncoderConfig | None:
    """The sizes of the encoder that a job begins with; None when the model's record does not tell."""
    if model is None:
        return fallback
    try:
        return EncoderConfig(**model.config)
    except TypeError:
        return None


def _seen(dataset: DatasetInfo, window: Sequence[int]) -> DatasetInfo:
    """A dataset whose samples a model sees in windows."""
    return dataset.model_copy(update={"sample_shape": [dataset.sample_shape[0], *window]})


def _source(info: DatasetInfo, samples: int, rehearsal: bool = False) -> Source:
    return Source(Shape.of(info.kind, info.sample_shape), samples, rehearsal)


def _named(found: Inputs, names: Sequence[str]) -> list[DatasetInfo]:
    return [info for name in names if (info := found.dataset(name)) is not None]


def _stage_sources(spec: PretrainSpec, learnt: Sequence[DatasetInfo], buffers: Sequence[DatasetInfo]) -> list[Source]:
    """What a stage trains on, with the weights of its mix."""
    whole = [_source(info, info.splits.get("train", 0)) for info in learnt]
    kept = [_source(info, info.samples, rehearsal=True) for info in buffers]
    weights = [spec.mix.get(info.modality, 1.0) for info in (*learnt, *buffers)]
    return [replace(source, weight=weight) for source, weight in zip([*whole, *kept], weights, strict=True)]


@forecast.register
def _(spec: PretrainSpec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    dataset, model = found.dataset(spec.dataset), found.model(spec.init_model)
    assert dataset is not None
    learnt, buffers = [dataset, *_named(found, spec.joint)], _named(found, spec.rehearsal)
    sources = _stage_sources(spec, learnt, buffers)
    parts = Counter({info.modality: info.splits.get("train", 0) for info in learnt})
    for buffer in buffers:
        parts[f"{buffer.modality} (rehearsal)"] += buffer.samples
    where = "training samples of the datasets that are learnt" if spec.joint else "training samples of the dataset"
    where += ", and all samples of the rehearsal buffers" if buffers else ""
    steps = training_steps(
        [source.samples for source in sources], spec.batch_size, spec.epochs, spec.max_steps,
        weights=[source.weight for source in sources],
    )  # fmt: skip
    scratch = replace(SIZES[spec.size], attention=spec.attention, positions=spec.positions)
    config, words = _config(model, scratch), ""
    reads = spec.vocabulary is not None or any(info.kind is Kind.TEXT for info in learnt)
    if config is not None and config.vocabulary == 0 and reads:
        count = WORDS if spec.vocabulary else spec.vocabulary_size
        config = config.with_vocabulary(count)
        words = AT_MOST_WORDS.format(count)
    training = None if config is None else pretraining(spec, config, sources, hardware)
    text = any(source.shape.kind is Kind.TEXT for source in sources)
    at_most = "; reports are counted at their full length, so it is an upper bound" if text else ""
    made = _of_training(spec, training, steps, words, at_most)
    size = model.size if model else spec.size
    return replace(
        made,
        samples=Figure(parts.total(), "sample", where, dict(parts)),
        work=_training_work(training, sources, steps, spec.batch_size, dataset, size),
        warnings=(*_forgetting([*learnt, *buffers], model), *_without_val(dataset, "val_loss")),
    )  # fmt: skip


def _forgetting(shown: Sequence[DatasetInfo], model: ModelInfo | None) -> Iterator[fit.Misfit]:
    """Modalities that an encoder has learnt and that nothing shown reminds it of."""
    earlier = set(model.modalities if model else ()) - {info.modality for info in shown}
    if earlier:
        names = ", ".join(sorted(earlier))
        yield fit.Misfit("rehearsal", f"init_model has learnt {names}; without rehearsal buffers of it, it forgets it")


def _without_val(dataset: DatasetInfo, what: str) -> Iterator[fit.Misfit]:
    if not dataset.splits.get("val"):
        yield fit.Misfit("dataset", f"the dataset has no samples of the split val: there is going to be no {what}")


def _training_work(training: Training | None, sources: list[Source], steps: Steps, batch_size: int,
                   dataset: DatasetInfo, size: str) -> Work:  # fmt: skip
    epochs = steps.total / steps.per_epoch if steps.per_epoch else 0.0
    shown = sum(source.shown(batch_size) for source in sources)
    return Work(
        units=round(shown * epochs), operations=None if training is None else training.operations * epochs,
        number_bytes=FLOAT if training is None else training.number_bytes, modality=dataset.modality, size=size,
        shape=tuple(dataset.sample_shape),
    )  # fmt: skip


def _of_training(spec: PretrainSpec | FinetuneSpec, training: Training | None, steps: Steps, words: str,
                 at_most: str) -> Forecast:  # fmt: skip
    """Batches, steps, parameters, memory and storage of a training; its samples and work are the caller's."""
    ended = f", ended by max_steps {spec.max_steps}" if spec.max_steps and spec.max_steps == steps.total else ""
    held = (
        "of each dataset for itself; a dataset with fewer samples is one batch, and the shorter last batch is left out"
    )
    if getattr(spec, "steps_per_epoch", None):
        held = "as many as steps_per_epoch says"
    batches = Figure(steps.per_epoch, "batch", f"whole batches of {spec.batch_size} in an epoch, {held}")
    total = Figure(steps.total, "step", f"{steps.per_epoch} batches an epoch, {spec.epochs} epochs, a step each{ended}")
    nothing = blank("sample", "the caller counts them")
    if training is None:
        sizes = (blank("parameter", UNKNOWN_SIZES), blank(BYTE, UNKNOWN_SIZES), blank(BYTE, UNKNOWN_SIZES))
        return Forecast(nothing, batches, total, *sizes)
    trained = training.updated.parameters
    parameters = Figure(
        training.parameters, "parameter",
        f"counted from the model's sizes{words}; {trained:,} of them take part and are trained",
    )  # fmt: skip
    memory, checkpoint = training.memory(), training.checkpoint()
    processes = training.hardware.processes
    where = "tensors of the process, with the copy that a checkpoint needs"
    if training.hardware.on_gpu:
        where = f"tensors on each of {processes} GPUs" if processes > 1 else "tensors on the GPU"
    at_once = spec.batch_size // (spec.accumulate * processes)
    return Forecast(
        nothing, batches, total, parameters,
        Figure(sum(memory.values()), BYTE,
               f"{where}, counted from the model's sizes and {at_once} samples at once"
               f"{at_most}; libraries and their workspaces come on top", memory),
        Figure(CHECKPOINTS * checkpoint + training.model(), BYTE,
               f"the newest two checkpoints and one being written, {checkpoint:,} bytes each, until it has succeeded; "
               "then the model stays", {"checkpoints": CHECKPOINTS * checkpoint, "model": training.model()}),
    )  # fmt: skip


@forecast.register
def _(spec: FinetuneSpec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    dataset, model = found.dataset(spec.dataset), found.model(spec.init_model)
    assert dataset is not None
    dataset = as_folded(dataset, spec)
    in_split, count = dataset.splits.get("train", 0), fit.with_targets(dataset, "train", spec.task)
    source = _source(dataset if spec.window is None else _seen(dataset, spec.window), count)
    steps = training_steps([count], spec.batch_size, spec.epochs, spec.max_steps, spec.steps_per_epoch)
    passes = Steps(whole_batches(count, spec.batch_size), steps.total)
    scratch, words = SIZES[spec.size], ""
    if dataset.kind is Kind.TEXT and model is None:
        scratch = scratch.with_vocabulary(spec.vocabulary_size)
        words = AT_MOST_WORDS.format(spec.vocabulary_size)
    config, classes = _config(model, scratch), len(dataset.classes or [])
    training = (
        None
        if config is None
        else finetuning(spec, config, source, classes, hardware, fit.with_targets(dataset, "val", spec.task) > 0)
    )
    how = "training samples of the dataset"
    if spec.folds is not None:
        how = f"samples of train and val that are left for training when folds of {spec.folds} are left out"
    if spec.task == "classification":
        uncounted = dataset.labelled is None
        how += ", all of which are supposed to have a class: nobody has counted" if uncounted else " that have a class"
    return replace(
        _of_training(spec, training, steps, words, ""),
        samples=Figure(count, "sample", how),
        work=_training_work(training, [source], passes, spec.batch_size, dataset, model.size if model else spec.size),
        warnings=(*_not_learnt(dataset, model), *_unlabelled(in_split, count), *_without_val(dataset, "val score")),
    )  # fmt: skip


def _not_learnt(dataset: DatasetInfo, model: ModelInfo | None) -> Iterator[fit.Misfit]:
    if model is not None and dataset.modality not in model.modalities:
        known = ", ".join(model.modalities) or "none yet"
        yield fit.Misfit("init_model", f"it has not learnt '{dataset.modality}' (it knows {known}): little is gained")


def _unlabelled(in_split: int, count: int) -> Iterator[fit.Misfit]:
    if count < in_split:
        yield fit.Misfit("dataset", f"{in_split - count} of {in_split} training samples have no class and are left out")


def reading(model: ModelInfo, dataset: DatasetInfo, count: int, batch_size: int,
            on_gpu: bool, passes: int = 1) -> tuple[Figure, Figure, Work]:  # fmt: skip
    """Parameters, memory and work of a model that only reads samples."""
    config, work = _config(model, SIZES["tiny"]), Work(count, modality=dataset.modality, size=model.size)
    if config is None:
        return blank("parameter", UNKNOWN_SIZES), blank(BYTE, UNKNOWN_SIZES), work
    shape = Shape.of(dataset.kind, dataset.sample_shape)
    cost, memory = inference(config, shape, model.task, len(model.classes or []), min(batch_size, count), on_gpu)
    return (
        Figure(cost.parameters, "parameter", "counted from the model's sizes; nothing is trained"),
        Figure(sum(memory.values()), BYTE, f"weights, and what {min(batch_size, count)} samples at once need in one "
               "pass, counted from the model's sizes; libraries and their workspaces come on top", memory),
        replace(work, operations=float(count * passes * cost.operations), number_bytes=2 if on_gpu else FLOAT,
                shape=tuple(dataset.sample_shape)),
    )  # fmt: skip


@forecast.register
def _(spec: EvaluateSpec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    dataset, model = found.dataset(spec.dataset), found.model(spec.model)
    assert dataset is not None and model is not None
    count = fit.with_targets(dataset, spec.split, model.task)
    parameters, memory, work = reading(model, dataset, count, spec.batch_size, hardware.on_gpu)
    batches = Figure(all_batches(count, spec.batch_size), "batch", f"{spec.batch_size} samples at once, each once")
    if model.task == "segmentation":
        # 4 or 8 passes a window
        passes = 2 ** len(model.sample_shape[1:]) if spec.mirror else 1
        parameters, memory, work = reading(model, _seen(dataset, model.sample_shape[1:]), count, spec.batch_size,
                                           hardware.on_gpu, passes)  # fmt: skip
        batches = blank("batch", "every image or volume is scored for itself, and how many tiles each has is not known")
    return Forecast(
        samples=Figure(count, "sample", f"samples of the split '{spec.split}' with a class or a mask"),
        batches=batches, steps=blank("step", "nothing is trained"), parameters=parameters, memory=memory, work=work,
        storage=blank(BYTE, "a table of the cases and a picture, whose sizes depend on what is found; no checkpoints"),
    )  # fmt: skip


@forecast.register
def _(spec: PreprocessSpec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    recipe, count, row = spec.recipe, raw.inputs_of(paths, spec), found.datasets[spec.dataset]
    shown = recipe.modality_name
    no_model, archives, most = "no model takes part", raw.packed(paths), raw.most_images(paths, spec)
    if most is not None:
        samples = Figure(most.count, "sample", "images of the dataset by name; those that cannot be read, or that the "
                         "recipe leaves out, make no sample: an upper bound")  # fmt: skip
        channels, height, width = most.shape
        storage = Figure(most.total_bytes, BYTE, f"{most.count} images of {channels} x {height} x {width} bytes, masks "
                         "included, before they are compressed: an upper bound")  # fmt: skip
    else:
        what = "rows" if recipe.shows.kind is Kind.TEXT else "images or tiles"
        why = f"{count} files by their names; how many {what} they hold is known once they are read"
        if archives:
            why = f"what {archives[0]} holds is known once it is unpacked"
        samples, storage = blank("sample", why), blank(BYTE, why)
    told = row.modality is not None and row.modality != shown
    return Forecast(
        samples=samples, batches=blank("batch", "files are read one by one"), steps=blank("step", "nothing is trained"),
        parameters=blank("parameter", no_model), memory=Figure(0, BYTE, f"no accelerator is used: {no_model}"),
        storage=storage, work=Work(None if archives else count, "file", modality=shown, size=recipe.name),
        warnings=(fit.Misfit("recipe/modality", f"the recipe makes {shown} of a dataset that was uploaded as "
                             f"{row.modality}"),) * told,
    )  # fmt: skip


@forecast.register
def _(spec: InspectDatasetSpec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    dataset, no_model = found.dataset(spec.dataset), "no model takes part"
    count = len(paths) if dataset is None else dataset.samples
    samples = blank("sample", f"{count} files; how many samples they hold is known once they are read")
    if dataset is not None:
        samples = Figure(count, "sample", "samples of the dataset, each is read once")
    return Forecast(
        samples=samples, batches=blank("batch", "files are read one by one"), steps=blank("step", "nothing is trained"),
        parameters=blank("parameter", no_model), memory=Figure(0, BYTE, f"no accelerator is used: {no_model}"),
        storage=blank(BYTE, "a report, pictures and samples to go through, whose sizes depend on what is found"),
        work=Work(count, "file" if dataset is None else "sample", modality=dataset.modality if dataset else None),
    )  # fmt: skip


@forecast.register
def _(spec: ExportSpec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    model = found.model(spec.model)
    assert model is not None
    none, sizes = "no dataset is read", blank(BYTE, UNKNOWN_SIZES)
    parameters = blank("parameter", UNKNOWN_SIZES)
    config = _config(model, SIZES["tiny"])
    if config is not None:
        shape = Shape.of(model.kind, model.sample_shape)
        cost, _memory = inference(config, shape, model.task, len(model.classes or []), 1, on_gpu=False)
        parameters = Figure(cost.parameters, "parameter", "counted from the model's sizes; nothing is trained")
        sizes = Figure(FLOAT * cost.parameters, BYTE, "the weights of the graph; parts that the served modality does "
                       "not use are left out, so it is an upper bound")  # fmt: skip
    return Forecast(
        samples=blank("sample", none), batches=blank("batch", none), steps=blank("step", "nothing is trained"),
        parameters=parameters,
        memory=blank(BYTE, "the graph is written and compared on the CPU; Triton holds it afterwards"), storage=sizes,
    )  # fmt: skip


@forecast.register
def _(spec: ImportModelSpec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    none, why = "no dataset is read", "known once the checkpoint is read"
    size = found.datasets[spec.dataset].total_bytes
    return Forecast(
        samples=blank("sample", none), batches=blank("batch", none), steps=blank("step", "nothing is trained"),
        parameters=blank("parameter", why), memory=Figure(0, BYTE, "no accelerator is used: tensors are only copied"),
        storage=Figure(size, BYTE, "the size of the dataset: every tensor of the checkpoint is kept, at most"),
    )  # fmt: skip
