"""What does not fit together, as far as the descriptions of data and models tell.

Trainers refuse it by these functions once they have read the descriptions, and submission before anything runs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from medcoss.modalities import Kind
from medcoss.specs.buffers import BuildBufferOptions
from medcoss.specs.encoder import PATCH, TABLE_ROWS
from medcoss.specs.forgetting import ForgettingOptions
from medcoss.specs.plan import affordable, sample_bytes, sharing
from medcoss.specs.postprocess import PostProcessing, unknown
from medcoss.specs.presets import PRESETS
from medcoss.specs.recipes import RECIPES
from medcoss.specs.records import DatasetInfo, ModelInfo
from medcoss.specs.runs import CompareSpec
from medcoss.specs.training import EvaluateSpec, FinetuneOptions, PretrainOptions, Repeats


@dataclass(frozen=True)
class Misfit:
    """The field of the spec to change, with the place in a list after a slash, and what is wrong."""

    field: str
    detail: str


def encoder(model: ModelInfo, field: str) -> Iterator[Misfit]:
    """A model that is fine-tuned already is no encoder to go on from."""
    if model.task != "encoder":
        yield Misfit(field, f"this model is a {model.task} model; expected an encoder from a pretrain job")


def learnt(model: ModelInfo, modality: str, field: str) -> Iterator[Misfit]:
    """An encoder has nothing to say of a modality that it has not seen."""
    if modality not in model.modalities:
        known = ", ".join(model.modalities) or "none yet"
        yield Misfit(field, f"the encoder has not learnt '{modality}'; it knows {known}")


def shares(batch_size: int, available: Mapping[str, int], accumulate: int, world: int = 1) -> Iterator[Misfit]:
    """A batch has to be shared by all `world` processes and their micro-batches.

    `available` names the number of samples of each source: one with fewer than a batch is used whole.
    """
    parts = accumulate * world
    how = f"{world} processes x {accumulate} micro-batches" if world > 1 else f"{accumulate} micro-batches"
    if batch_size % parts:
        yield Misfit("batch_size", f"{batch_size} samples cannot be shared equally by {how}; use a multiple of {parts}")
    for name, count in available.items():
        if count < parts:
            yield Misfit(
                "accumulate" if accumulate > 1 else "batch_size",
                f"{name} holds {count} samples, too few for {how}; lower accumulate, use fewer processes or add "
                "samples",
            )


def pretraining(options: PretrainOptions, datasets: Sequence[DatasetInfo], model: ModelInfo | None,
                buffers: Sequence[DatasetInfo], has_vocabulary: bool) -> Iterator[Misfit]:  # fmt: skip
    """`datasets` are the new one and those of `joint`; `has_vocabulary`: there are word pieces to read reports with, or
    some are going to be learnt.
    """
    if model is not None:
        yield from encoder(model, "init_model")
    for place, dataset in enumerate(datasets):
        field = f"joint/{place - 1}" if place else "dataset"
        yield from same_modality(dataset, model, field)
        yield from _learning(options, dataset, model, field)
        for other in datasets[:place]:
            yield from _together(dataset, other, field)
    for place, buffer in enumerate(buffers):
        if model is not None and buffer.modality not in model.modalities:
            known = ", ".join(model.modalities)
            yield Misfit(
                f"rehearsal/{place}",
                f"the buffer holds '{buffer.modality}', which init_model has not learnt (it knows {known})",
            )
        if buffer.kind is Kind.TEXT and not has_vocabulary:
            yield Misfit(
                "vocabulary", "init_model has no vocabulary to read reports with; give the one it was trained with"
            )
    shown = {info.modality for info in (*datasets, *buffers)}
    for name in sorted(options.mix.keys() - shown):
        yield Misfit("mix", f"there is no '{name}' in this stage, which shows {', '.join(sorted(shown))}")


def same_modality(dataset: DatasetInfo, model: ModelInfo | None, field: str) -> Iterator[Misfit]:
    """What a name stands for in the dataset it stands for in the model, too."""
    if model is None or dataset.modality not in model.modalities:
        return
    known, given = model.declared.get(dataset.modality), dataset.declared
    if (known is None) == (given is None) and (known is None or given is None or known.alike(given)):
        return
    first, second = (one.model_dump_json() if one else "built in" for one in (given, known))
    yield Misfit(
        field, f"the modality '{dataset.modality}' of the dataset is {first}, the model knows it as {second}; declare "
        "it in the same way, or by another name"
    )  # fmt: skip


def _learning(options: PretrainOptions, dataset: DatasetInfo, model: ModelInfo | None,
              field: str) -> Iterator[Misfit]:  # fmt: skip
    """What masked modelling needs of a dataset."""
    if not dataset.splits.get("train"):
        yield Misfit(field, "the dataset has no training samples; change the split of its recipe")
    if dataset.kind is Kind.TEXT:
        return
    for misfit in _patches(dataset, str(model.config.get("positions")) if model else options.positions):
        yield replace(misfit, field=field) if misfit.field == "dataset" else misfit
    sizes = dataset.sample_shape[1:]
    if all(n == PATCH for n in sizes):
        yield Misfit(field, f"samples are {sizes}, one single patch; expected several, some of them to be masked")


def _together(dataset: DatasetInfo, other: DatasetInfo, field: str) -> Iterator[Misfit]:
    """Datasets that are learnt jointly are of different modalities; those of one kind share a decoder."""
    if dataset.modality == other.modality:
        yield Misfit(field, f"'{dataset.modality}' is learnt from two datasets; put them into one, or take two stages")
    elif dataset.kind is other.kind and dataset.kind is not Kind.TEXT:
        sizes = [(_input_channels(info), *info.sample_shape[1:]) for info in (dataset, other)]
        if sizes[0] != sizes[1]:
            yield Misfit(
                field,
                f"samples are {list(sizes[0])}, those of '{other.modality}' are {list(sizes[1])}; one decoder learns "
                "both: prepare them in one size",
            )


def _input_channels(dataset: DatasetInfo) -> int:
    """Channels that an encoder sees of a sample: grey images are repeated."""
    channels = dataset.sample_shape[0]
    return 3 if dataset.kind is Kind.IMAGE2D and channels == 1 else channels


def _patches(dataset: DatasetInfo, positions: str) -> Iterator[Misfit]:
    """Samples have to be whole patches, each with a position."""
    sizes = dataset.sample_shape[1:]
    if any(n % PATCH for n in sizes):
        yield Misfit("dataset", f"samples are {sizes}; expected multiples of {PATCH} on every axis")
    tokens, rows = math.prod(n // PATCH for n in sizes), TABLE_ROWS[len(sizes)]
    if positions == "flat" and tokens > rows:
        yield Misfit("positions", f"samples are {sizes}, {tokens} patches; flat positions have {rows} rows: use grid")


def forgetting(options: ForgettingOptions, models: Sequence[ModelInfo],
               datasets: Sequence[DatasetInfo]) -> Iterator[Misfit]:  # fmt: skip
    """What the measure of a line needs: encoders that go on from each other, and held-out samples of what they know."""
    for place, model in enumerate(models):
        yield from encoder(model, f"models/{place}")
        before = models[place - 1] if place else None
        if before is not None and (before.stage >= model.stage or {*before.modalities} - {*model.modalities}):
            yield Misfit(
                f"models/{place}",
                f"stage {model.stage} ({', '.join(model.modalities)}) does not go on from stage {before.stage} "
                f"({', '.join(before.modalities)}); name the stages of one line in their order",
            )
    for place, dataset in enumerate(datasets):
        field = f"datasets/{place}"
        if not dataset.splits.get(options.split):
            yield Misfit(field, f"the dataset has no samples in the split '{options.split}'; name another split")
        yield from learnt(models[-1], dataset.modality, field)
        yield from same_modality(dataset, models[-1], field)


def measured_on(datasets: Sequence[DatasetInfo]) -> Iterator[Misfit]:
    """Datasets that a model is going to be measured on have splits to measure on."""
    for place, dataset in enumerate(datasets):
        if not (dataset.splits.get("val") or dataset.splits.get("test")):
            yield Misfit(
                f"measured_on/{place}",
                "the dataset has no samples of the splits val and test, so nothing can be measured on it; leave it out",
            )


def buffer_building(options: BuildBufferOptions, dataset: DatasetInfo, model: ModelInfo,
                    longest: int | None = None) -> Iterator[Misfit]:  # fmt: skip
    """What the choice of a rehearsal buffer needs, besides an encoder that has `learnt` the modality."""
    yield from encoder(model, "model")
    if dataset.role == "buffer" and options.buffer_budget_bytes is None:
        yield Misfit(
            "dataset",
            "this is a rehearsal buffer itself; give the prepared dataset that it was chosen from, or "
            "buffer_budget_bytes to make it smaller",
        )
    if not dataset.splits.get("train"):
        yield Misfit("dataset", "the dataset has no training samples")
    elif affordable(dataset, options, len(model.modalities), longest) == 0:
        size, count = sample_bytes(dataset, longest), sharing(options, len(model.modalities))
        yield Misfit(
            "buffer_budget_bytes",
            f"{options.buffer_budget_bytes:,} bytes shared by {count} buffers do not hold one sample of {size:,} "
            f"bytes; expected at least {size * count:,}",
        )


def finetuning(options: FinetuneOptions, dataset: DatasetInfo, model: ModelInfo | None) -> Iterator[Misfit]:
    """What fine-tuning needs: labels or masks of the training split, and an encoder that can read the samples."""
    if model is not None:
        yield from encoder(model, "init_model")
    wrong = [] if options.preset is None else list(preset(options.preset, options.task, dataset))
    yield from wrong or _window(options, dataset)
    if options.task == "segmentation" and dataset.kind is Kind.TEXT:
        yield Misfit("task", "reports cannot be segmented; expected images or volumes")
    elif options.task == "segmentation" and not dataset.has_masks:
        yield Misfit("dataset", "the dataset has no masks; preprocess it with a mask or label suffix")
    elif options.task == "classification" and (not dataset.classes or dataset.has_masks):
        yield Misfit("dataset", "the dataset has no class labels; preprocess it with labels 'folders'")
    elif not with_targets(dataset, "train", options.task):
        yield Misfit("dataset", "the dataset has no labelled training samples")
    if options.task == "segmentation":
        yield from _steps(options.postprocess, dataset)
    elif options.postprocess:
        yield Misfit("postprocess", "a classifier makes no masks; leave postprocess out")
    if options.augmentation == "strong" and dataset.kind is Kind.TEXT:
        yield Misfit("augmentation", "reports are not augmented; leave augmentation out")
    if options.early_stopping is not None and not with_targets(dataset, "val", options.task):
        yield Misfit(
            "early_stopping",
            "the dataset has no labelled samples in the split 'val' to stop by; prepare it with one, or leave "
            "early_stopping out",
        )
    if dataset.kind is Kind.TEXT and model is not None and model.config.get("vocabulary") == 0:
        yield Misfit(
            "init_model",
            "a report classifier needs an encoder that has learnt reports; give one, or none to start from scratch",
        )
    if dataset.kind is not Kind.TEXT:
        for misfit in _patches(dataset, str(model.config.get("positions")) if model else "grid"):
            # positions are the encoder's, no option of a fine-tuning
            flat = misfit.field == "positions"
            yield Misfit("init_model", f"{misfit.detail} positions, of another encoder") if flat else misfit


def repeated(spec: Repeats, dataset: DatasetInfo) -> Iterator[Misfit]:
    """What several trainings, and the scores of each, need besides; `dataset` has the splits that it was made with."""
    split = spec.score_split
    if split is not None and not with_targets(dataset, split, spec.task):
        yield Misfit(
            "score_split",
            f"the dataset has no labelled samples in the split '{split}' to score on; name another split, or null",
        )
    whole = sum(with_targets(dataset, name, spec.task) for name in ("train", "val"))
    if spec.folds is not None and whole < spec.folds:
        detail = f"the splits train and val hold {whole} samples with a target, fewer than {spec.folds} folds"
        yield Misfit("folds", f"{detail}; give fewer folds")


def comparing(spec: CompareSpec, dataset: DatasetInfo, models: Mapping[str, ModelInfo | None]) -> Iterator[Misfit]:
    """What a comparison needs: an encoder of each name that fits, and none from scratch that is of another size.

    `models` are by the names of `encoders`; None starts from scratch.
    """
    found: dict[Misfit, None] = {}
    for name, model in models.items():
        for misfit in finetuning(spec, dataset, model):
            field = f"encoders/{name}" if misfit.field == "init_model" else misfit.field
            found[Misfit(field, misfit.detail)] = None
    yield from found
    sizes = sorted({model.size for model in models.values() if model is not None})
    if sizes and None in models.values() and spec.size not in sizes:
        yield Misfit(
            "size",
            f"the encoder from scratch is '{spec.size}', the others are {', '.join(sizes)}: the table would compare "
            f"sizes; set size to {sizes[0]}",
        )


def _steps(steps: Sequence[PostProcessing], dataset: DatasetInfo) -> Iterator[Misfit]:
    """Post-processing is of classes that there are."""
    for place, name in unknown(steps, dataset.classes or []):
        known = ", ".join(dataset.classes or [])
        yield Misfit(f"postprocess/{place}", f"there is no class {name!r} in the dataset; its classes are {known}")


def cut(dataset: DatasetInfo) -> bool:
    """Whether samples were cut out of volumes of one spacing, so that those of another size show the same."""
    recipe = RECIPES.get(str(dataset.recipe.get("name")))
    return recipe is not None and recipe.cuts


def _window(options: FinetuneOptions, dataset: DatasetInfo) -> Iterator[Misfit]:
    """Windows are for segmenters, of samples that can be cut."""
    if options.window is None or tuple(dataset.sample_shape[1:]) == options.window:
        return
    if options.task != "segmentation":
        yield Misfit("window", "a classifier sees whole samples; leave window out")
    elif not cut(dataset):
        yield Misfit(
            "window",
            f"the samples are {dataset.kind} {dataset.sample_shape}, resized by their recipe, not cut out of volumes "
            "of one spacing; leave window out, or prepare them in the size of the window",
        )


def _same_samples(dataset: DatasetInfo, model: ModelInfo) -> bool:
    """Whether a model can read the samples, by a sliding window where they are of another size."""
    if dataset.kind != model.kind:
        return False
    same_recipe = model.task == "segmentation" and dataset.recipe.get("name") == model.recipe.get("name")
    return dataset.sample_shape == model.sample_shape or (same_recipe and cut(dataset))


def preset(name: str, task: str, dataset: DatasetInfo) -> Iterator[Misfit]:
    """Published settings are those of samples of one kind and size, and of so many classes."""
    wanted = PRESETS[name]
    if task != wanted.task:
        yield Misfit("task", f"the preset '{name}' is for {wanted.task}, not {task}; leave one out")
        return
    shape, classes = tuple(dataset.sample_shape), len(dataset.classes or [])
    sizes = shape[-len(wanted.shape) :]
    # windows are cut out of larger samples
    fits = all(n >= w for n, w in zip(sizes, wanted.shape, strict=True)) if cut(dataset) else sizes == wanted.shape
    if (dataset.kind, fits, classes) != (wanted.kind, True, wanted.classes):
        yield Misfit(
            "preset",
            f"the preset '{name}' is for {wanted.expected}; the samples of the dataset are {dataset.kind} {shape} with "
            f"{classes} classes; prepare the dataset in that size, or give its settings as fields without a preset",
        )


def with_targets(dataset: DatasetInfo, split: str, task: str) -> int:
    """Samples of a split that have a mask or a class; all of them where nobody has counted the classes."""
    if task == "classification" and dataset.labelled is not None:
        return dataset.labelled.get(split, 0)
    return dataset.splits.get(split, 0)


def evaluation(spec: EvaluateSpec, dataset: DatasetInfo, model: ModelInfo) -> Iterator[Misfit]:
    """What the scores of a model need: a head, samples like those that it was trained on, and targets."""
    if model.task == "encoder":
        yield Misfit("model", "this model is an encoder without a head; fine-tune it first")
        return
    if not _same_samples(dataset, model):
        yield Misfit("dataset", _other_samples(dataset, model))
    elif dataset.classes != model.classes:
        yield Misfit("dataset", f"its classes are {dataset.classes}, the model's are {model.classes}")
    elif spec.postprocess and model.task != "segmentation":
        yield Misfit("postprocess", "a classifier makes no masks; leave postprocess out")
    elif spec.postprocess:
        yield from _steps(spec.postprocess, dataset)
    elif not with_targets(dataset, spec.split, model.task):
        yield Misfit("split", f"the dataset has no labelled samples in the split '{spec.split}'")


def embedding(dataset: DatasetInfo, model: ModelInfo, field: str = "dataset") -> Iterator[Misfit]:
    """Whose features are asked for has to know the modality of the samples."""
    if model.task == "segmentation":
        yield Misfit("model", "a segmentation model has no embedding; expected an encoder or a classifier")
    elif model.task == "encoder":
        yield from learnt(model, dataset.modality, field)
    elif not _readable(dataset, model):
        yield Misfit(field, _other_samples(dataset, model))


def predicting(dataset: DatasetInfo | None, model: ModelInfo) -> Iterator[Misfit]:
    """A classifier reads prepared samples, a segmenter those, too, or the files of a raw dataset (None)."""
    if model.task == "encoder":
        yield Misfit("model", "this model is an encoder without a head; fine-tune it first, or submit an embed job")
    elif model.task == "classification" and dataset is None:
        yield Misfit("dataset", "this dataset is raw; expected one that was preprocessed with the recipe of the model")
    elif dataset is not None and not _readable(dataset, model):
        yield Misfit("dataset", _other_samples(dataset, model))


def there(split: str | None, dataset: DatasetInfo) -> Iterator[Misfit]:
    """A split that is asked for has samples."""
    if split is not None and not dataset.splits.get(split):
        known = ", ".join(name for name, count in dataset.splits.items() if count) or "none"
        yield Misfit("split", f"the dataset has no samples in the split '{split}'; its splits are {known}")


def _readable(dataset: DatasetInfo, model: ModelInfo) -> bool:
    """Whether a classifier can read the samples; of grey images it sees three equal channels."""
    images = dataset.kind is Kind.IMAGE2D and dataset.kind == model.kind
    return _same_samples(dataset, model) or (images and dataset.sample_shape[1:] == model.sample_shape[1:])


def _other_samples(dataset: DatasetInfo, model: ModelInfo) -> str:
    return (
        f"its samples are {dataset.kind} {dataset.sample_shape}, the model takes {model.kind} {model.sample_shape}; "
        "preprocess with the recipe of the model"
    )
