"""Parameters of `pretrain`, `finetune` and `evaluate` jobs."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from medcoss.modalities import ModalityName
from medcoss.specs.base import DatasetRef, ModelRef, Name, Seed, Spec, documented
from medcoss.specs.postprocess import Steps
from medcoss.specs.presets import PRESETS, PresetName, Task, filled_in
from medcoss.specs.recipes.base import Pixels

ModelSize = Literal["tiny", "small", "base", "large"]
Method = Literal["rehearsal", "none"]
Weight = Annotated[float, Field(gt=0, le=100)]


class LeakageOptions(Spec):
    """What a job says about patients that are trained on and measured on."""

    allow_leakage: str | None = documented(
        "why patients may be trained on who stand in a split that is measured on; it is recorded. None refuses them",
        default=None,
        min_length=1,
        max_length=500,
    )


class MeasuredOn(Spec):
    """What a model is going to be measured on, besides the dataset that it is trained on."""

    measured_on: tuple[DatasetRef, ...] = documented(
        "prepared datasets that the model, or one that starts from it, is going to be measured on: patients of their "
        "splits val and test are not to be trained on, as those of the dataset itself",
        default=(),
        max_length=64,
    )


class LoopOptions(LeakageOptions):
    """What the training loop does, whatever it trains."""

    accumulate: int = documented(
        "micro-batches that a batch is cut into when it does not fit into memory at once",
        "micro-batch", default=1, ge=1, le=1024,
    )  # fmt: skip
    precision: Literal["auto", "bf16", "fp16", "fp32"] = documented(
        "number format of the matrix products; auto: bf16 where the GPU has it, fp16 on older GPUs, fp32 on CPUs",
        default="auto",
    )
    compile: bool = documented("compile the transformer blocks: slow to start, then faster", default=False)
    checkpoint_minutes: float = documented("time between two checkpoints", "minute", default=10, gt=0, le=1440)
    checkpoint_every: int | None = documented(
        "steps between two checkpoints, besides those by time", "step", default=None, ge=1, le=1_000_000
    )
    log_every: int = documented("steps between two metric rows", "step", default=10, ge=1, le=1_000_000)


class _PretrainScience(Spec):
    size: ModelSize = documented("model size when starting from scratch; ignored with init_model", default="base")
    attention: Literal["bidirectional", "published", "published_batched"] = documented(
        "of reports, when starting from scratch: bidirectional over the real tokens; published: causal, padding "
        "counted; published_batched: padding masks mixed up within a batch, too",
        default="bidirectional",
    )
    positions: Literal["grid", "flat"] = documented(
        "position tables, when starting from scratch: read by row and column, interpolated for other sizes (grid), or "
        "by flat token index as published (flat)",
        default="grid",
    )
    epochs: int = documented("passes over the dataset", "epoch", default=300, ge=1, le=10_000)
    max_steps: int | None = documented(
        "end after so many optimizer steps; the schedule of the learning rate is shortened with it",
        "step",
        default=None,
        ge=1,
        le=100_000_000,
    )
    batch_size: int = documented(
        "samples of an optimizer step, all of one modality, over all processes", "sample", default=32, ge=1, le=8192
    )
    base_lr: float = documented("learning rate for a batch of 256, scaled linearly", default=1.5e-4, gt=0, le=1)
    min_lr: float = documented("learning rate at the end of the cosine", default=0.0, ge=0, le=1)
    warmup_epochs: float = documented(
        "linear warm-up; at most a quarter of the run", "epoch", default=40, ge=0, le=10_000
    )
    weight_decay: float = documented("AdamW weight decay of matrices and embeddings", default=0.05, ge=0, le=1)
    clip_norm: float | None = documented(
        "largest gradient norm; None, as published, does not clip", default=None, gt=0, le=1e6
    )
    mask_ratio: float = documented("share of image patches that are masked", "fraction", default=0.75, gt=0, lt=1)
    text_mask_ratio: float = documented("share of tokens that are masked", "fraction", default=0.15, gt=0, lt=1)
    drop_path: float = documented("drop path rate of every encoder block", "fraction", default=0.1, ge=0, le=0.9)
    method: Method = documented(
        "rehearsal: earlier modalities are distilled on their buffers, as published; none: they are not, buffers are "
        "refused: the baseline that forgets",
        default="rehearsal",
    )
    distill_weight: float = documented(
        "weight of the loss of rehearsed batches; 1 as published", "factor", default=1.0, ge=0, le=1000
    )
    mixup: bool = documented("mix rehearsal samples within a batch", default=True)
    mix: dict[ModalityName, Weight] = documented(
        "how often an epoch shows the batches of a modality, its buffer's included: 2 twice, 0.5 every other epoch; 1 "
        "where a modality is not named",
        "factor", default={}, max_length=64,
    )  # fmt: skip
    vocabulary_size: int = documented(
        "word pieces trained on the reports when the encoder has no vocabulary yet",
        "token",
        default=30_522,
        ge=256,
        le=100_000,
    )
    sampling: Literal["without_replacement", "with_replacement"] = documented(
        "without_replacement shows every sample once an epoch; with_replacement draws every batch from all samples, as "
        "published",
        default="without_replacement",
    )
    augment: bool = documented("random resized crops and mirroring", default=True)
    seed: Seed = documented("seed of weights, order, masks and augmentation", default=0)
    reconstructions: int = documented("samples drawn masked / reconstructed / original", default=4, ge=0, le=64)
    picture_every: int = documented(
        "epochs between two held-out losses and pictures of reconstructed images; the last are at the end", "epoch",
        default=20, ge=1, le=10_000,
    )  # fmt: skip


# fields are served in the order of the bases, the last one first
class PretrainOptions(LoopOptions, _PretrainScience):
    """How a stage of pre-training trains: every parameter but its inputs."""


class _PretrainInputs(Spec):
    dataset: DatasetRef = documented("prepared dataset of the new modality")
    init_model: ModelRef | None = documented(
        "encoder to go on from; it is also the frozen teacher of the rehearsal. None starts from scratch", default=None
    )
    rehearsal: tuple[DatasetRef, ...] = documented(
        "rehearsal buffers of the earlier stages (needs init_model)", default=(), max_length=64
    )
    joint: tuple[DatasetRef, ...] = documented(
        "prepared datasets of other modalities that are learnt in the same stage, by masked modelling like the first",
        default=(), max_length=64,
    )  # fmt: skip
    vocabulary: DatasetRef | None = documented(
        "raw dataset that holds a BERT vocab.txt, for an encoder without one; None learns one from the reports",
        default=None,
    )


class PretrainSpec(MeasuredOn, PretrainOptions, _PretrainInputs):
    """One stage of continual pre-training: masked modelling on a dataset, with rehearsal of earlier ones.

    Defaults are those of MedCoSS (CVPR 2024) where a single small server can bear them.
    """

    output_name: Name | None = documented("name of the model", default=None)

    @model_validator(mode="after")
    def _rehearsal_needs_teacher(self) -> "PretrainSpec":
        if self.rehearsal and self.init_model is None:
            raise ValueError("rehearsal needs init_model: the buffers are distilled from the encoder that knows them")
        return self

    @model_validator(mode="after")
    def _inputs_fit_the_method(self) -> "PretrainSpec":
        if self.method == "none" and self.rehearsal:
            raise ValueError("method 'none' rehearses nothing; leave rehearsal out, or set method rehearsal")
        return self


def _task_or_preset(schema: dict[str, Any]) -> None:
    """A preset tells the task: one of the two has to be given."""
    schema["required"] = [name for name in schema.get("required", []) if name != "task"]
    named = {"required": ["preset"], "properties": {"preset": {"type": "string"}}}
    schema["anyOf"] = [{"required": ["task"]}, named]


class _FinetuneScience(Spec):
    model_config = ConfigDict(json_schema_extra=_task_or_preset)

    preset: PresetName | None = documented(
        "published settings of a downstream task; fields that are given win over it", default=None
    )
    task: Task = documented("what the head predicts; may be left out with a preset")
    size: ModelSize = documented("model size when starting from scratch; ignored with init_model", default="base")
    vocabulary_size: int = documented(
        "word pieces that are learnt from the training reports when starting from scratch", "token", default=30_522,
        ge=256, le=100_000,
    )  # fmt: skip
    epochs: int = documented("passes over the training split", "epoch", default=100, ge=1, le=10_000)
    steps_per_epoch: int | None = documented(
        "optimizer steps that count as an epoch, whatever the size of the training split; None: one pass over it",
        "step", default=None, ge=1, le=1_000_000,
    )  # fmt: skip
    max_steps: int | None = documented(
        "end after so many optimizer steps; the schedule of the learning rate is shortened with it",
        "step",
        default=None,
        ge=1,
        le=100_000_000,
    )
    batch_size: int = documented("samples of an optimizer step, over all processes", "sample", default=8, ge=1, le=8192)
    lr: float = documented("learning rate at the start of the polynomial decay (power 0.9)", default=1e-4, gt=0, le=1)
    weight_decay: float = documented("AdamW weight decay", default=1e-4, ge=0, le=1)
    clip_norm: float | None = documented("largest gradient norm; None does not clip", default=12.0, gt=0, le=1e6)
    drop_path: float = documented("drop path rate of every encoder block", "fraction", default=0.1, ge=0, le=0.9)
    freeze_encoder: bool = documented("train the head alone (linear probe)", default=False)
    layer_decay: float = documented(
        "each block learns at this fraction of the rate of the block after it, the last one at that of the rate of "
        "the head; 1: all at the same rate",
        "fraction", default=1.0, gt=0, le=1,
    )  # fmt: skip
    ema_decay: float | None = documented(
        "share of the past in a moving average of the weights, which is then validated and kept; it rises from 0 to "
        "this. None keeps no average", "fraction", default=None, gt=0, lt=1,
    )  # fmt: skip
    validate_every: int = documented(
        "epochs between two validations; one more is at the end", "epoch", default=1, ge=1, le=10_000
    )
    keep: Literal["best", "last"] = documented(
        "weights that become the model: those with the best validation score (macro F1, or Dice), or the last ones. "
        "Without a validation split, the last ones",
        default="best",
    )
    early_stopping: int | None = documented(
        "end after so many epochs without a better validation score; None trains to the end",
        "epoch", default=None, ge=1, le=10_000,
    )  # fmt: skip
    augment: bool = documented("augmentation of the training split", default=True)
    augmentation: Literal["light", "strong"] = documented(
        "light: resized crops and mirroring of images, mirroring and grey values of volumes; strong: rotation, scale, "
        "noise, blur, brightness, contrast, resolution, gamma and mirroring, as in nnU-Net",
        default="light",
    )
    window: tuple[Pixels, Pixels, Pixels] | None = documented(
        "depth, height and width of what a segmenter sees: a random part of each sample, larger ones of which may be "
        "whole slices of recipes that cut volumes of one spacing (lits, vs_seg). None: whole samples",
        "voxel", default=None,
    )  # fmt: skip
    postprocess: Steps = documented(
        "steps, one after the other, that the masks of a segmenter go through when it is evaluated; they are recorded "
        "with the model and change nothing of the training",
        default=(), max_length=64,
    )  # fmt: skip
    seed: Seed = documented("seed of weights, order and augmentation", default=0)

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        return filled_in(given)

    @property
    def asked(self) -> dict[str, Any]:
        """The fields that validate to this spec: those of the preset, and what is not at its default."""
        own = PRESETS[self.preset].fields if self.preset else ()
        return self.model_dump(exclude_defaults=True) | {name: getattr(self, name) for name in own}


class FinetuneOptions(LoopOptions, _FinetuneScience):
    """How fine-tuning trains: every parameter but its inputs."""


class _FinetuneInputs(Spec):
    dataset: DatasetRef = documented("prepared dataset with labels or masks")
    init_model: ModelRef | None = documented("encoder to start from; None starts from scratch", default=None)


class Repeats(FinetuneOptions):
    """Several trainings as one job."""

    seeds: tuple[Seed, ...] = documented(
        "train once with each of these seeds, which take the place of `seed`, as one job; the scores come with mean "
        "and standard deviation. Empty: one training",
        default=(), max_length=32,
    )  # fmt: skip
    folds: int | None = documented(
        "cross-validation by patient: the splits train and val are divided anew into so many folds, by the seed, and "
        "each training leaves one out and is scored on it. None keeps the splits",
        "fold", default=None, ge=2, le=20,
    )  # fmt: skip
    score_split: Literal["val", "test"] | None = documented(
        "split that each trained model is scored on as by an evaluate job, besides the scores of the training; None "
        "scores none",
        default=None,
    )

    @property
    def repeated(self) -> bool:
        """True where the job is shared out among trainings, were it one."""
        return bool(self.seeds) or self.folds is not None

    @property
    def chooses(self) -> bool:
        """True where validation decides which weights are kept, or when to end."""
        return self.keep == "best" or self.early_stopping is not None

    @model_validator(mode="after")
    def _runs_apart(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: the same seed is given twice, which makes the same model twice; give each once")
        if self.folds is not None and self.folds < 3 and self.chooses:
            raise ValueError(
                "folds: one fold is scored and, with keep 'best' or early_stopping, another one chooses the weights: "
                "none of 2 is left to train on; give at least 3, or keep 'last' without early_stopping"
            )
        if self.folds is not None and self.score_split == "val":
            raise ValueError("score_split: with folds, the split val is divided among them; give test or leave it out")
        return self


class FinetuneSpec(MeasuredOn, Repeats, _FinetuneInputs):
    """Train a classifier or a segmenter on an encoder of the registry."""

    output_name: Name | None = documented("name of the model", default=None)


class WindowOptions(Spec):
    """How a segmenter sees images and volumes that are larger than what it was trained on."""

    overlap: float = documented(
        "share of a window that the next one along an axis covers again; what both say is averaged, by a Gaussian of "
        "the distance from their middles",
        "fraction", default=0.5, ge=0, le=0.9,
    )  # fmt: skip
    mirror: bool = documented(
        "average the probabilities of every window over all mirrorings, 4 of images and 8 of volumes: as published, "
        "at so many times the work",
        default=False,
    )


class EvaluateSpec(WindowOptions, LeakageOptions):
    """Score a classifier or a segmenter on one split of a prepared dataset."""

    model: ModelRef = documented("fine-tuned model")
    dataset: DatasetRef = documented("prepared dataset with labels or masks")
    split: Literal["train", "val", "test"] = documented("split to score", default="test")
    batch_size: int = documented("samples in a batch, or windows of a segmenter", "sample", default=8, ge=1, le=8192)
    postprocess: Steps | None = documented(
        "steps that the masks of a segmenter go through before they are scored; None: those that the model was "
        "fine-tuned with, an empty list: none",
        default=None, max_length=64,
    )  # fmt: skip
    bootstrap: int = documented(
        "draws of the cases that the 95 % intervals of the scores are made of; 0 makes none",
        "resample", default=1000, ge=0, le=100_000,
    )  # fmt: skip
    seed: Seed = documented("seed of the draws of the intervals", default=0)
