"""How much memory and storage a training needs, and how many operations it takes, from its options and sizes.

Memory is that of one process, the first of several. All sizes in bytes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from medcoss.modalities import Kind
from medcoss.specs import costs
from medcoss.specs.costs import Cost, Shape
from medcoss.specs.encoder import EncoderConfig
from medcoss.specs.plan import mixed_batches, passing_at_once
from medcoss.specs.training import FinetuneOptions, LoopOptions, PretrainOptions

FLOAT = 4
# AdamW keeps two numbers a parameter
MOMENTS = 2
# of a checkpoint, the newest two and the one that is being written
CHECKPOINTS = 3
# what a file says of a tensor: its name and place in safetensors; three records of an archive in the optimizer's state
_TENSOR_HEADER, _STATE_HEADER = 120, 1000
# a forward and a backward pass, the latter with a product for the inputs and one for the weights
PASSES = 3


@dataclass(frozen=True)
class Hardware:
    """What a training runs on: GPUs or a CPU, and how many processes, each with a whole model, share its batches."""

    on_gpu: bool = False
    processes: int = 1


@dataclass(frozen=True)
class Source:
    """A dataset that is trained on: the shape of its samples and how many there are; `rehearsal` for a buffer, `weight`
    for how often an epoch shows it.
    """

    shape: Shape
    samples: int
    rehearsal: bool = False
    weight: float = 1.0

    def shown(self, batch_size: int) -> int:
        """Samples that an epoch shows."""
        return mixed_batches(self.samples, batch_size, self.weight) * min(batch_size, self.samples)


@dataclass(frozen=True)
class Training:
    """What a training holds: values of all `parameters` that it stores, the part that is `updated`, a frozen `teacher`;
    `operations` of an epoch, and `activations` of the samples that pass the model at once, in bytes.
    """

    parameters: int
    updated: Cost
    teacher: int
    operations: int
    activations: int
    number_bytes: int
    accumulate: int
    hardware: Hardware
    # copies of the weights beside them: a moving average, and the best ones, which are in the CPU's memory
    average: bool = False
    best: bool = False

    def memory(self) -> dict[str, int]:
        """Bytes of the tensors at the peak of a step, by what they are. Gradients come as activations go, unless they
        are added up over several micro-batches: then both are there at once. On a CPU, a checkpoint is written from a
        copy beside them.
        """
        gradients = FLOAT * self.updated.parameters
        activations = self.activations if self.accumulate > 1 else max(self.activations - gradients, 0)
        parts = {
            "weights": FLOAT * self.parameters,
            "teacher": FLOAT * self.teacher,
            "optimizer": FLOAT * MOMENTS * self.updated.parameters,
            "16-bit weights": 2 * (self.updated.parameters + self.teacher) if self.number_bytes == 2 else 0,
            "activations": activations,
            "gradients": gradients,
            "average": FLOAT * self.parameters * self.average,
            "best weights": 0 if self.hardware.on_gpu else FLOAT * self.parameters * self.best,
            "checkpoint": 0
            if self.hardware.on_gpu
            else FLOAT * ((1 + self.average + self.best) * self.parameters + MOMENTS * self.updated.parameters),
        }
        return {name: size for name, size in parts.items() if size}

    def checkpoint(self) -> int:
        """Bytes of a checkpoint: the weights, and the optimizer's state."""
        state = FLOAT * MOMENTS * self.updated.parameters + _STATE_HEADER * self.updated.tensors
        copies = 1 + self.average + self.best
        return copies * FLOAT * self.parameters + state + _TENSOR_HEADER * self.updated.tensors

    def model(self) -> int:
        """Bytes of the model that it makes."""
        return FLOAT * self.parameters + _TENSOR_HEADER * self.updated.tensors


def number_bytes(options: LoopOptions, on_gpu: bool) -> int:
    """Bytes of a number in the matrix products."""
    chosen = options.precision if options.precision != "auto" else ("bf16" if on_gpu else "fp32")
    return FLOAT if chosen == "fp32" else 2


def pretraining(options: PretrainOptions, config: EncoderConfig, sources: Sequence[Source],
                hardware: Hardware = Hardware()) -> Training:  # fmt: skip
    """A stage of pre-training; the first source is the new modality, others are rehearsed or learnt along. Reports are
    counted at their full length.
    """
    number, head = number_bytes(options, hardware.on_gpu), _heads(options, config, sources)
    operations, activations = 0, 0
    for source in sources:
        shape, text = source.shape, source.shape.kind is Kind.TEXT
        seen = shape.tokens if text else costs.kept_patches(shape.tokens, options.mask_ratio)
        made = costs.encoded(config, shape, seen)
        if source.rehearsal:
            # the teacher's pass and its answer
            work = (PASSES + 1) * made.operations
            made += Cost(kept=costs.passed(config, seen + 1), kept32=config.dim * (seen + 1))
        else:
            made += _pretext_head(options, config, source.shape)
            work = PASSES * made.operations
        operations += source.shown(options.batch_size) * work
        activations = max(
            activations, _kept(made, number, source, options.batch_size, options.accumulate * hardware.processes)
        )
    return Training(
        parameters=costs.encoder(config).parameters + head.parameters,
        updated=_touched(config, {source.shape.kind for source in sources}) + Cost(head.parameters, head.tensors),
        teacher=costs.encoder(config).parameters if any(source.rehearsal for source in sources) else 0,
        operations=operations, activations=activations, number_bytes=number,
        accumulate=options.accumulate, hardware=hardware,
    )  # fmt: skip


def _heads(options: PretrainOptions, config: EncoderConfig, sources: Sequence[Source]) -> Cost:
    """Parameters of the heads of all that is learnt: one decoder for images and volumes, one language head."""
    learnt = {source.shape.kind: source.shape for source in reversed(sources) if not source.rehearsal}
    decoders = [shape for kind, shape in learnt.items() if kind is not Kind.TEXT]
    found = Cost()
    if Kind.TEXT in learnt:
        found += _pretext_head(options, config, learnt[Kind.TEXT])
    if decoders:
        found += _pretext_head(options, config, decoders[0])
    for shape in decoders[1:]:
        # the other kind has a table of positions and a last layer of its own
        pixels = costs.linear(config.decoder_dim, shape.patch, 0)
        found += Cost((shape.tokens + 1) * config.decoder_dim, 1) + Cost(pixels.parameters, pixels.tensors)
    return found


def _pretext_head(options: PretrainOptions, config: EncoderConfig, new: Shape) -> Cost:
    if new.kind is Kind.TEXT:
        return costs.language_head(config, max(round(new.tokens * options.text_mask_ratio), 1))
    return costs.decoder(config, new, costs.kept_patches(new.tokens, options.mask_ratio))


def finetuning(options: FinetuneOptions, config: EncoderConfig, source: Source, classes: int,
               hardware: Hardware = Hardware(), validated: bool = True) -> Training:  # fmt: skip
    """Training of a head, and of the encoder unless that is frozen. `validated`: there is a validation split."""
    number, shape, frozen = number_bytes(options, hardware.on_gpu), source.shape, options.freeze_encoder
    segments = options.task == "segmentation"
    body = costs.encoded(config, shape, shape.tokens, with_class_token=not segments)
    head = costs.segmenter_head(config, shape, classes) if segments else costs.classifier_head(config, classes)
    updated, made = Cost(head.parameters, head.tensors), head + body
    if frozen:
        made = head + Cost(kept=costs.passed(config, shape.tokens + 1))
    else:
        updated += _touched(config, {shape.kind}, class_token=not segments)
    return Training(
        parameters=costs.encoder(config).parameters + head.parameters, updated=updated, teacher=0,
        operations=source.shown(options.batch_size)
        * ((1 if frozen else PASSES) * body.operations + PASSES * head.operations),
        activations=_kept(made, number, source, options.batch_size, options.accumulate * hardware.processes),
        number_bytes=number,
        accumulate=options.accumulate, hardware=hardware,
        average=options.ema_decay is not None, best=validated and options.keep == "best",
    )  # fmt: skip


def _kept(made: Cost, number: int, source: Source, batch_size: int, parts: int) -> int:
    return passing_at_once(source.samples, batch_size, parts) * (made.kept * number + made.kept32 * FLOAT)


def _touched(config: EncoderConfig, kinds: Iterable[Kind], class_token: bool = True) -> Cost:
    """The encoder's parameters that samples of these kinds pass."""
    found, images = costs.blocks(config, 0), False
    for kind in set(kinds):
        found += costs.embedding(config, kind, 0)
        images |= kind is not Kind.TEXT
    if images:
        found += costs.norm(config.dim, 0) + (costs.class_token(config) if class_token else Cost())
    return Cost(found.parameters, found.tensors)


def inference(config: EncoderConfig, shape: Shape, task: str, classes: int, batch: int,
              on_gpu: bool) -> tuple[Cost, dict[str, int]]:  # fmt: skip
    """Reading samples without training: the model with its operations for one sample, and bytes of the tensors, by what
    they are, when `batch` samples pass it at once.
    """
    body = costs.encoded(config, shape, shape.tokens, with_class_token=task != "segmentation")
    head = Cost()
    if task == "classification":
        head = costs.classifier_head(config, classes)
    elif task == "segmentation":
        head = costs.segmenter_head(config, shape, classes)
    whole = costs.encoder(config).parameters + head.parameters
    passing = costs.passed(config, shape.tokens + 1) + (costs.segmented(config, shape) if task == "segmentation" else 0)
    parts = {"weights": FLOAT * whole, "16-bit weights": 2 * whole if on_gpu else 0,
             "activations": FLOAT * batch * (passing + shape.channels * shape.voxels)}  # fmt: skip
    return replace(body + head, parameters=whole), {name: size for name, size in parts.items() if size}
