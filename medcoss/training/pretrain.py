"""One stage of continual pre-training (MedCoSS, Ye et al., CVPR 2024).

Each step handles one batch of one modality: of the new one, masked modelling; of an earlier
one, feature distillation from the frozen previous encoder on mixed samples of its buffer.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from medcoss.data import patients
from medcoss.data.fingerprints import fingerprints
from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer, learn_vocabulary
from medcoss.modalities import Kind
from medcoss.models.embeddings import TextEmbedding
from medcoss.models.encoder import Encoder
from medcoss.models.pretext import LanguageHead, image_kind, random_mask, reconstruction_loss
from medcoss.models.registry import load_encoder, save_model
from medcoss.run import BadInput, RunContext, refuse
from medcoss.specs import fit
from medcoss.specs.encoder import SIZES
from medcoss.specs.records import DatasetInfo, ModelInfo
from medcoss.specs.training import PretrainOptions
from medcoss.training.batches import check_parts, moved, named, samples
from medcoss.training.distributed import Ranks
from medcoss.training.environment import environment
from medcoss.training.heldout import held_out_loss
from medcoss.training.ignored import log_ignored
from medcoss.training.loop import Loop, LoopSettings
from medcoss.training.masking import IGNORED
from medcoss.training.optim import adamw, warmup_cosine
from medcoss.training.reconstruct import write_reconstructions
from medcoss.training.stage_heads import named_heads, stage_heads
from medcoss.training.steps import Batch, PretrainSteps, Source
from medcoss.training.telemetry import Telemetry


class PretrainTask:
    """Losses of a stage: `modules` holds the student encoder and the `heads`, that of the new modality first.

    The loss of rehearsed batches counts `distill_weight` times; what is reported of it does not.
    """

    def __init__(self, encoder: Encoder, heads: Sequence[nn.Module], teacher: Encoder | None, sources: list[Source],
                 mask_ratio: float, distill_weight: float = 1.0) -> None:  # fmt: skip
        head, *others = heads
        self.modules = nn.ModuleDict({"encoder": encoder, "head": head})
        if others:
            self.modules["other"] = others[0]
        self.encoder, self.head, self.heads = encoder, head, heads
        self.teacher, self.sources, self.mask_ratio = teacher, sources, mask_ratio
        self.distill_weight = distill_weight

    @property
    def frozen(self) -> nn.Module | None:
        """The teacher."""
        return self.teacher

    def loss(self, batch: Batch, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
        """Masked modelling or distillation, by the batch's source."""
        source = self.sources[batch.source]
        if source.kind is Kind.TEXT:
            value = self._reports(batch, source, device)
        else:
            value = self._images(batch, source, device)
        if source.rehearsal:
            return value * self.distill_weight, {f"distill/{source.modality}": value.detach()}
        return value, {f"loss/{source.modality}": value.detach()}

    def head_of(self, kind: Kind) -> nn.Module:
        """The head that samples of a kind are learnt with."""
        return next(head for head in self.heads if isinstance(head, LanguageHead) == (kind is Kind.TEXT))

    def terms(self, batch: Batch) -> int:
        """Images, masked tokens or distilled tokens: what the loss is the mean over."""
        if batch.ids is None:
            return samples(batch)
        return len(self._places(batch, self.sources[batch.source]))

    def _images(self, batch: Batch, source: Source, device: torch.device) -> Tensor:
        images = moved(batch.images, device)
        kept, removed = random_mask(moved(batch.noise, device), self.mask_ratio)
        encoded = self.encoder.encode_image(images, kept, source.modality)
        if source.rehearsal:
            assert self.teacher is not None
            with torch.no_grad():
                target = self.teacher.encode_image(images, kept, source.modality)
            return F.mse_loss(encoded, target)
        predicted = self.head_of(source.kind)(encoded, kept, removed, image_kind(images))
        return reconstruction_loss(predicted, images, removed)

    def _reports(self, batch: Batch, source: Source, device: torch.device) -> Tensor:
        ids, attention = moved(batch.ids, device), moved(batch.attention, device)
        # found on the host: a GPU would have to be waited for
        chosen = self._places(batch, source)
        places = moved(chosen, device)
        encoded = self.encoder.encode_text(ids, attention).flatten(0, 1)[places]
        if source.rehearsal:
            assert self.teacher is not None
            with torch.no_grad():
                target = self.teacher.encode_text(ids, attention).flatten(0, 1)[places]
            return F.mse_loss(encoded, target)
        assert batch.labels is not None
        labels = moved(np.asarray(batch.labels).ravel()[chosen], device)
        # a micro-batch may hold no masked token: nothing to learn, but no 0 / 0
        logits = self.head_of(source.kind)(encoded)
        return F.cross_entropy(logits.float(), labels, reduction="sum") / max(len(chosen), 1)

    def _places(self, batch: Batch, source: Source) -> NDArray[np.int64]:
        """The tokens that count, in the flattened batch: to distil, the real ones; to predict, the masked ones."""
        assert batch.attention is not None and batch.labels is not None
        if not source.rehearsal:
            return np.flatnonzero(np.asarray(batch.labels) != IGNORED)
        assert self.teacher is not None
        return np.flatnonzero((np.asarray(batch.attention) != 0) | self.teacher.config.counts_padding)


@dataclass
class _Start:
    """Where a stage begins: the student, the frozen teacher, what the model knows, its vocabulary."""

    encoder: Encoder
    teacher: Encoder | None
    previous: ModelInfo | None
    size: str
    vocabulary: Path | None


def _vocabulary(spec: PretrainOptions, learnt: list[ShardReader], encoder: Encoder | None, own: Path | None,
                given: Path | None, work: Path) -> Path | None:  # fmt: skip
    """The encoder's own vocabulary, the given one, or, for a stage on reports, one learnt from them."""
    reports = [reader for reader in learnt if reader.info.kind is Kind.TEXT]
    if own is not None and given is not None:
        raise BadInput("init_model has a vocabulary, its embeddings mean nothing with another; leave it out",
                       "vocabulary")  # fmt: skip
    known = own or given
    if known is not None or not reports:
        return known
    if encoder is not None and encoder.text_embedding is not None:
        raise BadInput("init_model has word embeddings but no vocabulary; give the one they belong to", "vocabulary")
    texts = (reader.text(int(i)) for reader in reports for i in reader.indices("train"))
    return learn_vocabulary(texts, spec.vocabulary_size, work)


def _start(spec: PretrainOptions, learnt: list[ShardReader], init_model_dir: Path | None, rehearses: bool,
           given: Path | None, work: Path) -> _Start:  # fmt: skip
    torch.manual_seed(spec.seed)
    encoder, previous, own = None, None, None
    if init_model_dir is not None:
        encoder, previous = load_encoder(init_model_dir)
        own = init_model_dir / "vocab.txt" if (init_model_dir / "vocab.txt").is_file() else None
    vocabulary = _vocabulary(spec, learnt, encoder, own, given, work)
    teacher = copy.deepcopy(encoder).eval().requires_grad_(False) if encoder is not None and rehearses else None
    words = Tokenizer(vocabulary).size if vocabulary else 0
    if encoder is not None and encoder.text_embedding is not None and words > encoder.config.vocabulary:
        raise BadInput(f"{words} word pieces for an encoder with {encoder.config.vocabulary} embeddings; give the "
                       "vocabulary that it was trained with", "vocabulary")  # fmt: skip
    if encoder is None:
        config = replace(SIZES[spec.size], vocabulary=words, attention=spec.attention, positions=spec.positions)
        encoder = Encoder(config)
    elif words and encoder.text_embedding is None:
        encoder.config = encoder.config.with_vocabulary(words)
        encoder.text_embedding = TextEmbedding(words, encoder.config.dim)
        for table in (encoder.text_embedding.words, encoder.text_embedding.positions, encoder.text_embedding.types):
            nn.init.normal_(table.weight, std=0.02)
    for info in (reader.info for reader in learnt):
        if info.declared is not None and info.declared.has_own_embedding:
            encoder.gain_embedding(info.modality, info.kind)
    encoder.set_drop_path(spec.drop_path)
    return _Start(encoder, teacher, previous, previous.size if previous else spec.size, vocabulary)


def _sources(learnt: list[ShardReader], buffers: list[ShardReader], start: _Start) -> list[Source]:
    tokenizer = Tokenizer(start.vocabulary) if start.vocabulary else None
    if len({buffer.root.resolve() for buffer in buffers}) < len(buffers):
        raise BadInput("the same buffer is given twice, its samples would count twice; give every buffer once",
                       "rehearsal")  # fmt: skip
    sources = [Source(reader, False, reader.indices("train"), tokenizer) for reader in learnt]
    for buffer in buffers:
        indices = buffer.indices(None if buffer.info.role == "buffer" else "train")
        sources.append(Source(buffer, True, indices, tokenizer))
    return sources


def _seen(learnt: Sequence[tuple[str, Path]], spec: PretrainOptions, init_model_dir: Path | None,
          buffers: list[ShardReader]) -> patients.Seen:  # fmt: skip
    """Whose data the encoder has seen at the end of the stage; `learnt` are names and folders of its datasets."""
    seen = patients.of_model(init_model_dir)
    for called, folder in learnt:
        seen |= patients.of_training(folder, called)
    names = getattr(spec, "rehearsal", [patients.title(buffer.root) for buffer in buffers])
    for buffer, called in zip(buffers, names, strict=True):
        seen |= patients.of_training(buffer.root, called, None if buffer.info.role == "buffer" else ["train"])
    return seen


def pretrain(spec: PretrainOptions, dataset_dir: Path, init_model_dir: Path | None, buffer_dirs: list[Path],
             output_dir: Path, context: RunContext, vocabulary: Path | None = None,
             measured_on: Sequence[Path] = (), joint_dirs: Sequence[Path] = ()) -> ModelInfo:  # fmt: skip
    """Train one stage and write the encoder, with the new modality's head, as a model folder.

    `joint_dirs` are datasets of other modalities that are learnt along, by masked modelling.

    `vocabulary` is a BERT `vocab.txt` for an encoder that has none; without it, a stage on reports learns one.
    `measured_on` are folders with the `samples.parquet` of other datasets that the encoder is going to be measured on.
    Raises BadInput for data that does not fit and for patients that are measured on, Stopped when asked to stop.
    """
    ranks = Ranks.join()
    learnt = [ShardReader(folder) for folder in (dataset_dir, *joint_dirs)]
    with ranks.folder(output_dir) as work:
        start = _start(spec, learnt, init_model_dir, bool(buffer_dirs), vocabulary, work)
        if start.previous and ranks.main:
            log_ignored(spec, start.previous, context)
        buffers = [ShardReader(folder) for folder in buffer_dirs]
        known, infos = [buffer.info for buffer in buffers], [reader.info for reader in learnt]
        refuse(fit.pretraining(spec, infos, start.previous, known, start.vocabulary is not None))
        sources = _sources(learnt, buffers, start)
        along = [*zip(getattr(spec, "joint", map(patients.title, joint_dirs)), joint_dirs, strict=True)]
        seen = _seen([(patients.called(spec, dataset_dir), dataset_dir), *along], spec, init_model_dir, buffers)
        measured = [*patients.held_out(spec, dataset_dir, measured_on), *along]
        leakage = patients.check_leakage(seen, measured, spec.allow_leakage, context if ranks.main else None)
        available = {f"the dataset of '{s.modality}'": len(s.indices) for s in sources}
        check_parts(spec.batch_size, available, spec.accumulate, ranks.world)
        heads = stage_heads(start.encoder, learnt)
        task = PretrainTask(start.encoder, heads, start.teacher, sources, spec.mask_ratio, spec.distill_weight)
        metrics = _train(spec, task, ranks, output_dir.parent, context)
        start.encoder.set_drop_path(0.0)
        if ranks.main:
            metrics |= write_reconstructions(task, spec, output_dir.parent, context, ranks.device)
        info = _describe(start, infos, ranks.from_main(metrics))
        info.made_with = environment(ranks.device)
        info.leakage += leakage
        if ranks.main:
            save_model(start.encoder, info, output_dir, start.vocabulary, named_heads(heads))
            patients.write(seen, output_dir)
    return info


def _train(spec: PretrainOptions, task: PretrainTask, ranks: Ranks, folder: Path,
           context: RunContext) -> dict[str, float]:  # fmt: skip
    """Run the stage; pictures are drawn in `folder` on the way. Returns the held-out numbers of its end."""
    for module in (task.modules, task.teacher):
        if module is not None:
            module.to(ranks.device)
    steps = PretrainSteps(
        task.sources, batch_size=spec.batch_size, epochs=spec.epochs, seed=spec.seed,
        text_mask_ratio=spec.text_mask_ratio, mixup=spec.mixup, augment=spec.augment,
        replacement=spec.sampling == "with_replacement", padding=task.encoder.config.counts_padding,
        max_steps=spec.max_steps, mix=spec.mix,
    )  # fmt: skip
    total = len(steps)
    epochs = total / steps.per_epoch
    warmup = min(spec.warmup_epochs, epochs / 4)
    peak = spec.base_lr * spec.batch_size / 256

    def describe(step: int) -> str:
        epoch, place = divmod(step, steps.per_epoch)
        number, positions = steps.plan(epoch)[place]
        source = steps.sources[number]
        return named(source.modality, source.indices[positions])

    def pictures(done: int) -> None:
        write_reconstructions(task, spec, folder, context, ranks.device, done // steps.per_epoch)

    measure = held_out_loss(task, spec, ranks.context(context), ranks.device, ranks.world)
    last: dict[str, float] = {}

    def held_out() -> dict[str, float]:
        last.clear()
        last.update(measure())
        return dict(last)

    loop = Loop(
        task, adamw(task.modules, peak, spec.weight_decay, (0.9, 0.95)), steps, total,
        lambda step: warmup_cosine(step / steps.per_epoch, warmup, epochs, peak, spec.min_lr), context,
        LoopSettings.of(spec, "base_lr"), ranks, describe=describe,
        picture_every=spec.picture_every * steps.per_epoch, pictures=pictures,
        held_out=held_out, inputs=_inputs(task.sources),
        group_of=lambda batch: str(steps.sources[batch.source].modality),
        telemetry=Telemetry(steps.seen, total, spec.log_every, ranks.context(context)),
    )  # fmt: skip
    loop.context.log(
        f"{total} steps, {steps.per_epoch} an epoch, batch {spec.batch_size}, on {ranks.world} x {ranks.device.type}"
    )
    loop.run()
    # a run that was stopped after its last step has no step left to measure at
    return last if last or not ranks.main else held_out()


def _inputs(sources: Sequence[Source]) -> dict[str, str]:
    """The fingerprints of the dataset and the buffers, by the fields that name them."""
    roots = [source.reader.root for source in sources if source.rehearsal]
    dataset, *along = (source.reader.root for source in sources if not source.rehearsal)
    more = {f"rehearsal/{place}": root for place, root in enumerate(roots)}
    return fingerprints(dataset=dataset, **more, **{f"joint/{place}": root for place, root in enumerate(along)})


def _describe(start: _Start, learnt: list[DatasetInfo], metrics: dict[str, float]) -> ModelInfo:
    """About the model; what was learnt jointly comes after what the dataset names, in the order of the spec."""
    new, previous = learnt[0], start.previous
    earlier = previous.modalities if previous else []
    return ModelInfo(
        task="encoder",
        size=start.size,
        config=start.encoder.config.to_dict(),
        modalities=[*dict.fromkeys([*earlier, *(info.modality for info in learnt)])],
        stage=previous.stage + 1 if previous else 1,
        modality=new.modality,
        kind=new.kind,
        sample_shape=new.sample_shape,
        recipe=new.recipe,
        recipes=(previous.recipes if previous else {}) | {info.modality: info.recipe for info in learnt},
        metrics=metrics,
        leakage=[*previous.leakage] if previous else [],
        learnt=[info.modality for info in learnt] if len(learnt) > 1 else [],
        declared=(previous.declared if previous else {})
        | {info.modality: info.declared for info in learnt if info.declared is not None},
    )
