"""Fine-tuning of a classifier or a segmenter on an encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from medcoss.data import patients
from medcoss.data.augment import augment_image, augment_volume
from medcoss.data.crops import random_window
from medcoss.data.fingerprints import fingerprints
from medcoss.data.sampler import epoch_batches, sample_rng
from medcoss.data.shards import ShardReader, three_channels
from medcoss.data.tokenizer import Tokenizer, learn_vocabulary
from medcoss.evaluation.metrics import classification_scores, dice
from medcoss.evaluation.predict import class_features, class_probabilities, mask_probabilities
from medcoss.evaluation.windows import Sliding, slide
from medcoss.modalities import Kind
from medcoss.models.encoder import Encoder
from medcoss.models.heads import Classifier, Segmenter
from medcoss.models.registry import load_encoder, save_model
from medcoss.run import BadInput, RunContext, refuse
from medcoss.specs import fit
from medcoss.specs.encoder import SIZES
from medcoss.specs.plan import training_steps, whole_batches
from medcoss.specs.records import ModelInfo
from medcoss.specs.training import FinetuneOptions
from medcoss.training.augment_strong import augment_strongly
from medcoss.training.batches import check_parts, moved, named
from medcoss.training.distributed import Ranks
from medcoss.training.environment import environment
from medcoss.training.features import model_inputs
from medcoss.training.ignored import log_ignored
from medcoss.training.loading import stacked
from medcoss.training.loop import Loop, LoopSettings
from medcoss.training.losses import UNKNOWN, segmentation_loss
from medcoss.training.optim import adamw, polynomial
from medcoss.training.precision import pick_device
from medcoss.training.selection import Selection
from medcoss.training.targets import STARTED_FROM, check_targets

SCORED_AT_MOST = 512
SMALLEST_STANDARDISED = 8
Pair = tuple[tuple[Tensor, ...], Tensor]


class FinetuneSteps(Dataset[Pair]):
    """Inputs and targets by step number; `share` says which rows of each batch are made: those of one rank."""

    share = slice(None)

    def __init__(self, reader: ShardReader, indices: NDArray[np.int64], spec: FinetuneOptions,
                 tokenizer: Tokenizer | None) -> None:  # fmt: skip
        self.reader, self.indices, self.spec, self.tokenizer = reader, indices, spec, tokenizer
        planned = training_steps([len(indices)], spec.batch_size, spec.epochs, spec.max_steps, spec.steps_per_epoch)
        self.per_epoch, self.total = planned.per_epoch, planned.total
        # passes go on from one epoch into the next where steps_per_epoch is not a pass
        self.per_pass = whole_batches(len(indices), spec.batch_size)
        self._plan: tuple[int, list[NDArray[np.int64]]] | None = None

    def plan(self, number: int) -> list[NDArray[np.int64]]:
        """The batches of a pass over the samples in order: positions among the indices."""
        if self._plan is None or self._plan[0] != number:
            self._plan = (number, epoch_batches(len(self.indices), self.spec.batch_size, self.spec.seed, number))
        return self._plan[1]

    def chosen(self, step: int) -> NDArray[np.int64]:
        """Places in the dataset of the samples of a step."""
        number, place = divmod(step, self.per_pass)
        return self.indices[self.plan(number)[place]]

    def __getitem__(self, step: int) -> Pair:
        number, chosen = step // self.per_pass, self.chosen(step)[self.share]
        if self.reader.info.kind is Kind.TEXT:
            return model_inputs(self.reader, chosen, self.tokenizer), self._labels(chosen)
        pairs = [self._sample(int(i), number) for i in chosen]
        images = torch.from_numpy(stacked([image for image, _ in pairs]))
        if self.spec.task == "classification":
            return (images,), self._labels(chosen)
        return (images,), torch.from_numpy(np.stack([np.asarray(m) for _, m in pairs])).float()

    def _labels(self, indices: NDArray[np.int64]) -> Tensor:
        return torch.tensor([self.reader.label(int(i)) for i in indices])

    def _sample(self, index: int, number: int) -> tuple[NDArray[np.float32], NDArray[np.integer] | None]:
        image = self.reader.planes(index)
        mask: NDArray[np.integer] | None = self.reader.mask(index) if self.spec.task == "segmentation" else None
        rng, volume = sample_rng(self.spec.seed, number, index), image.ndim == 4
        if self.spec.window is not None and mask is not None:
            image, mask = random_window(image, np.asarray(mask), self.spec.window, rng)
        if self.spec.augment and self.spec.augmentation == "strong":
            image, mask = augment_strongly(image, rng, mask)
        elif self.spec.augment and volume:
            image, mask = augment_volume(image, rng, mask, intensity=0.1)
        elif self.spec.augment:
            image, mask = augment_image(image, rng, mask, scale=(0.6, 1.0))
        return image if volume else three_channels(image), mask


class FinetuneTask:
    """Cross-entropy for a classifier; soft Dice plus binary cross-entropy for a segmenter."""

    frozen: nn.Module | None = None

    def __init__(self, model: Classifier | Segmenter) -> None:
        self.modules: nn.Module = model

    def loss(self, batch: Pair, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch and its value as `loss`."""
        inputs, target = batch
        output = self.modules(*(moved(x, device) for x in inputs))
        target = moved(target, device)
        if isinstance(self.modules, Classifier):
            logits = output[0].float()
            value = F.cross_entropy(logits, target)
            accuracy = (logits.detach().argmax(dim=1) == target).float().mean()
            return value, {"loss": value.detach(), "batch_accuracy": accuracy}
        value = segmentation_loss(output.float(), target)
        return value, {"loss": value.detach()}

    def terms(self, batch: Pair) -> int:
        """Number of samples, or of (sample, channel) pairs of which anything is known."""
        target = batch[1]
        return len(target) if target.ndim == 1 else int((target != UNKNOWN).flatten(2).any(2).sum())


def _encoder(spec: FinetuneOptions, reader: ShardReader, init_model_dir: Path | None,
             work: Path) -> tuple[Encoder, ModelInfo | None, Path | None]:  # fmt: skip
    """The encoder to start from, what is known of it, and the word pieces that it reads reports with."""
    torch.manual_seed(spec.seed)
    reads = reader.info.kind is Kind.TEXT
    if init_model_dir is not None:
        encoder, previous = load_encoder(init_model_dir)
        own = init_model_dir / "vocab.txt" if reads else None
        if own and not own.is_file():
            raise BadInput("a report classifier needs an encoder that has learnt reports; its folder has no vocab.txt",
                           "init_model")  # fmt: skip
        return encoder, previous, own
    if not reads:
        return Encoder(SIZES[spec.size]), None, None
    texts = (reader.text(int(i)) for i in reader.indices("train"))
    vocabulary = learn_vocabulary(texts, spec.vocabulary_size, work)
    return Encoder(SIZES[spec.size].with_vocabulary(Tokenizer(vocabulary).size)), None, vocabulary


def _training_indices(spec: FinetuneOptions, reader: ShardReader) -> NDArray[np.int64]:
    indices = reader.indices("train")
    if spec.task == "classification":
        indices = indices[[reader.label(int(i)) >= 0 for i in indices]]
    # datasets of earlier versions do not tell how many of their samples have a class
    if len(indices) == 0:
        raise BadInput("the dataset has no labelled training samples", "dataset")
    return indices


def finetune(spec: FinetuneOptions, dataset_dir: Path, init_model_dir: Path | None, output_dir: Path,
             context: RunContext, measured_on: Sequence[Path] = ()) -> ModelInfo:  # fmt: skip
    """Train a head on the encoder of `init_model_dir` and write the model folder.

    `measured_on` are folders with the `samples.parquet` of other datasets that the model is going to be measured on.
    Raises BadInput when the dataset does not fit the task, or holds patients that are measured on, Stopped when asked
    to stop.
    """
    ranks = Ranks.join()
    reader = ShardReader(dataset_dir)
    with ranks.folder(output_dir) as work:
        encoder, previous, vocabulary = _encoder(spec, reader, init_model_dir, work)
        tokenizer = Tokenizer(vocabulary) if vocabulary else None
    refuse(fit.finetuning(spec, reader.info, previous))
    indices = _training_indices(spec, reader)
    check_targets(spec, reader, indices, context if ranks.main else None)
    seen = patients.of_model(init_model_dir) | patients.of_training(dataset_dir, patients.called(spec, dataset_dir))
    measured = patients.held_out(spec, dataset_dir, measured_on)
    leakage = patients.check_leakage(seen, measured, spec.allow_leakage, context if ranks.main else None)
    check_parts(spec.batch_size, {"the training split": len(indices)}, spec.accumulate, ranks.world)
    if previous and ranks.main:
        log_ignored(spec, previous, context)
    # the features of a frozen encoder must not be noisy
    encoder.set_drop_path(0.0 if spec.freeze_encoder else spec.drop_path)
    encoder.requires_grad_(not spec.freeze_encoder)
    head = Classifier if spec.task == "classification" else Segmenter
    model = head(encoder, reader.info.kind, len(reader.info.classes or []))
    _start_head(model, reader, indices, spec, min(spec.batch_size, len(indices)) // (spec.accumulate * ranks.world))
    steps = FinetuneSteps(reader, indices, spec, tokenizer)
    inputs = fingerprints(dataset=dataset_dir, init_model=init_model_dir)
    done = _train(spec, model, steps, ranks, context, inputs)
    encoder.set_drop_path(0.0)
    model.requires_grad_(True)
    metrics: dict[str, float] = {}
    if ranks.main:
        if isinstance(model, Classifier):
            known = np.random.default_rng(spec.seed).permutation(indices)[:SCORED_AT_MOST]
            model.fold(class_features(model, reader, known, spec.batch_size, tokenizer))
        for split in ("train", "val"):
            metrics |= {f"{split}/{n}": v for n, v in _scores(spec, model, reader, split, tokenizer).items()}
        context.metrics(done, metrics)
    info = _describe(spec, encoder, previous, reader, ranks.from_main(metrics))
    info.made_with = environment(ranks.device)
    info.leakage += leakage
    if ranks.main:
        save_model(model, info, output_dir, vocabulary)
        patients.write(seen, output_dir)
    return info


def _train(spec: FinetuneOptions, model: Classifier | Segmenter, steps: FinetuneSteps, ranks: Ranks,
           context: RunContext, inputs: dict[str, str]) -> int:  # fmt: skip
    """Train, and leave the main rank's model with the weights to keep; the number of steps made."""
    model.to(ranks.device)
    total, reader = steps.total, steps.reader
    judged = len(_scored(spec, model, reader, "val")) > 0
    metric = "f1" if isinstance(model, Classifier) else "dice"

    def scores(present: Any) -> dict[str, float]:
        return _scores(spec, present, reader, "val", steps.tokenizer)

    selection = Selection(model, spec, metric, scores if judged else None, ranks.main, steps.per_epoch)
    optimizer = adamw(model, spec.lr, spec.weight_decay, (0.9, 0.999), spec.layer_decay)
    loop = Loop(
        FinetuneTask(model), optimizer, steps, total,
        lambda step: polynomial(step, total, spec.lr), context, LoopSettings.of(spec, "lr"), ranks,
        describe=lambda step: named(reader.info.modality, steps.chosen(step)),
        picture_every=steps.per_epoch * spec.validate_every if judged else None,
        held_out=selection.validate, follower=selection, inputs=inputs,
    )  # fmt: skip
    loop.context.log(
        f"{total} steps, {steps.per_epoch} an epoch, batch {spec.batch_size}, on {ranks.world} x {ranks.device.type}"
    )
    if spec.keep == "best" and not judged:
        loop.context.log("there are no labelled validation samples: the last weights are kept", "warning")
    loop.run()
    if selection.ended:
        loop.context.log(f"ended at step {loop.done}: no better val/{metric} for {spec.early_stopping} epochs")
    kept = selection.apply() if ranks.main else ""
    loop.context.log(kept)
    return loop.done


def _start_head(model: Classifier | Segmenter, reader: ShardReader, indices: NDArray[np.int64],
                spec: FinetuneOptions, together: int) -> None:  # fmt: skip
    """Give the head a start from which short runs do not dwell on a plateau.

    `together` samples pass the model at once.
    """
    if isinstance(model, Classifier):
        # the statistics of a few samples would be noise
        if together >= SMALLEST_STANDARDISED:
            model.standardise()
    else:
        chosen = np.random.default_rng(spec.seed).permutation(indices)[:STARTED_FROM]
        masks = np.stack([np.asarray(reader.mask(int(i))) for i in chosen])
        model.set_prior(torch.from_numpy(masks).float().flatten(2).mean(dim=(0, 2)))


def _scored(spec: FinetuneOptions, model: nn.Module, reader: ShardReader, split: str) -> NDArray[np.int64]:
    """At most 512 samples of a split that have a target, drawn with the seed."""
    indices = reader.indices(split)
    if isinstance(model, Classifier):
        indices = indices[[reader.label(int(i)) >= 0 for i in indices]]
    if len(indices) > SCORED_AT_MOST:
        indices = np.sort(np.random.default_rng(spec.seed).choice(indices, SCORED_AT_MOST, replace=False))
    return indices


def _scores(spec: FinetuneOptions, model: Classifier | Segmenter, reader: ShardReader, split: str,
            tokenizer: Tokenizer | None) -> dict[str, float]:  # fmt: skip
    """Scores on some samples of a split, without augmentation."""
    indices = _scored(spec, model, reader, split)
    if len(indices) == 0:
        return {}
    if isinstance(model, Classifier):
        probabilities = class_probabilities(model, reader, indices, spec.batch_size, tokenizer)
        return classification_scores(probabilities, np.array([reader.label(int(i)) for i in indices]))
    overlaps = []
    for start in range(0, len(indices), spec.batch_size):
        chosen = indices[start : start + spec.batch_size]
        if spec.window is None:
            predicted = mask_probabilities(model, reader, chosen, spec.batch_size) > 0.5
        else:
            model.to(pick_device()).eval()
            how = Sliding(spec.window, spec.batch_size)
            predicted = np.stack([slide(model, reader.image(int(i)), how) > 0.5 for i in chosen])
        reference = np.stack([np.asarray(reader.mask(int(i))) > 0 for i in chosen])
        # tiles without the structure would count as perfect; they say nothing here
        overlaps += [dice(p, r) for p, r in zip(predicted, reference, strict=True) if r.any()]
    return {"dice": float(np.mean(overlaps))} if overlaps else {}


def _describe(spec: FinetuneOptions, encoder: Encoder, previous: ModelInfo | None, reader: ShardReader,
              metrics: dict[str, float]) -> ModelInfo:  # fmt: skip
    return ModelInfo(
        task=spec.task,
        size=previous.size if previous else spec.size,
        config=encoder.config.to_dict(),
        modalities=previous.modalities if previous else [],
        stage=previous.stage if previous else 0,
        modality=reader.info.modality,
        kind=reader.info.kind,
        classes=reader.info.classes,
        sample_shape=[reader.info.sample_shape[0], *spec.window] if spec.window else reader.info.sample_shape,
        recipe=reader.info.recipe,
        findings=reader.info.findings,
        recipes=previous.recipes if previous else {},
        postprocess=spec.postprocess,
        metrics=metrics,
        leakage=[*previous.leakage] if previous else [],
        declared=(previous.declared if previous else {})
        | ({reader.info.modality: reader.info.declared} if reader.info.declared is not None else {}),
    )
