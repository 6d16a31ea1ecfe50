"""What the stages of a line of models have left of each modality: the table behind every claim about forgetting.

Backward transfer is that of Lopez-Paz and Ranzato (Gradient Episodic Memory, NIPS 2017), average forgetting that of
Chaudhry et al. (Riemannian Walk, ECCV 2018). Both were defined for accuracies; a pretext loss enters them as the
negative of its ratio to the loss right after the modality was learnt, so that modalities can be averaged. Drift of the
features is linear CKA (Kornblith et al., ICML 2019) and the mean cosine to the stage before.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medcoss.data import patients
from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.evaluation.forgetting_picture import draw_forgetting
from medcoss.evaluation.probes import (
    FOLDS,
    PretextHead,
    fit_head,
    frozen_features,
    linear_probe,
    nearest_neighbours,
    pretext_head,
    pretext_loss,
)
from medcoss.models.encoder import Encoder
from medcoss.models.pretext import MaskedImageDecoder
from medcoss.models.registry import load_encoder, read_info
from medcoss.run import BadInput, RunContext, Stopped, refuse
from medcoss.specs import fit
from medcoss.specs.forgetting import ForgettingOptions, labels
from medcoss.specs.forgetting_records import ForgettingInfo, Kept, Measured, StageTold
from medcoss.specs.records import EvaluationInfo, ModelInfo
from medcoss.training.precision import pick_device

PICTURE, FILE = "forgetting.png", "forgetting.json"
_SAMPLES, _TRAIN = 11, 12
Indices = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass
class _Data:
    """The data of one modality, or a further dataset of it, by its `name` in the report; and what has been seen of it
    so far.
    """

    name: str
    reader: ShardReader
    held_out: Indices
    train: Indices
    head: PretextHead | None = None
    features: Floats | None = None

    @property
    def modality(self) -> str:
        return self.reader.info.modality

    @property
    def labelled(self) -> bool:
        return bool(self.reader.info.classes) and not self.reader.info.has_masks


@dataclass
class _Run:
    """What all measures share."""

    options: ForgettingOptions
    context: RunContext
    device: torch.device
    told: set[str] = field(default_factory=set)

    def say(self, line: str) -> None:
        """Log a warning once."""
        if line not in self.told:
            self.told.add(line)
            self.context.log(line, "warning")


def measure_forgetting(options: ForgettingOptions, model_dirs: Sequence[Path], dataset_dirs: Sequence[Path],
                       output_dir: Path, context: RunContext) -> EvaluationInfo:  # fmt: skip
    """Measure the models, stage after stage, on the datasets' held-out samples; write `forgetting.json` and
    `forgetting.png` to `output_dir`, which are artifacts, too.

    Every stage is measured on what it knows of these modalities. Raises BadInput for a model that is no encoder, a
    dataset without held-out samples, or patients that have been trained on, and Stopped when asked to stop.
    """
    infos, run = [read_info(folder) for folder in model_dirs], _Run(options, context, pick_device())
    data = _opened(options, dataset_dirs)
    refuse(fit.forgetting(options, infos, [one.reader.info for one in data]))
    measured = [*zip(getattr(options, "datasets", map(patients.title, dataset_dirs)), dataset_dirs, strict=True)]
    seen = patients.of_model(model_dirs[-1])
    leakage = patients.check_leakage(seen, measured, options.allow_leakage, context, [options.split])
    total = sum(one.modality in info.modalities for info in infos for one in data)
    table: list[Measured] = []
    for place, folder in enumerate(model_dirs):
        encoder, info = load_encoder(folder, f"models/{place}")
        encoder.to(run.device)
        for one in data:
            if one.modality not in info.modalities:
                continue
            if context.should_stop():
                raise Stopped
            table.append(_measured(run, place, folder, encoder, info, one))
            context.progress(len(table), total, f"stage {info.stage}, {one.name}")
    titles = getattr(options, "models", [patients.title(folder) for folder in model_dirs])
    stages = [StageTold(model=name, stage=info.stage, learnt=info.learnt_here)
              for name, info in zip(titles, infos, strict=True)]  # fmt: skip
    names = {one.name: name for one, (name, _) in zip(data, measured, strict=True)}
    samples = {one.name: len(one.held_out) for one in data}
    found = summary(stages, table, options, names, samples, [*map(patients.datasets_of, model_dirs)])
    result = EvaluationInfo(
        schema_version=2, metrics=numbers(found), classes=[], forgetting=found, leakage=leakage
    )  # fmt: skip
    _tell(found, options.forgotten_above, context)
    _write(result, output_dir, context)
    return result


def _tell(found: ForgettingInfo, above: float, context: RunContext) -> None:
    """Say of which modalities more is forgotten than is allowed."""
    for one in found.kept:
        if one.forgetting is not None and one.forgetting > above:
            context.log(
                f"'{one.modality}' is forgotten: its loss has risen by {one.forgetting:.1%} of that right after it was "
                f"learnt, {above:.1%} are allowed; rehearse more of it, or raise distill_weight", "warning",
            )  # fmt: skip
            context.event("forgotten", one.modality, {"forgetting": one.forgetting, "allowed": above})


def _write(result: EvaluationInfo, folder: Path, context: RunContext) -> None:
    assert result.forgetting is not None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(result.model_dump_json(indent=1))
    context.artifact(folder / FILE, FILE, "application/json")
    draw_forgetting(result.forgetting, folder / PICTURE)
    context.artifact(folder / PICTURE, PICTURE, "image/png")
    context.metrics(0, result.metrics)


def _opened(options: ForgettingOptions, folders: Sequence[Path]) -> list[_Data]:
    found, readers = [], [ShardReader(folder) for folder in folders]
    for name, reader in zip(labels(reader.info.modality for reader in readers), readers, strict=True):
        held_out = _some(reader.indices(options.split), options.samples, options.seed, _SAMPLES)
        train = _some(reader.indices("train"), options.probe_samples, options.seed, _TRAIN)
        found.append(_Data(name, reader, held_out, train))
    return found


def _some(indices: Indices, most: int, seed: int, what: int) -> Indices:
    if len(indices) <= most:
        return indices
    return np.sort(np.random.default_rng([seed, what]).choice(indices, most, replace=False))


def _measured(run: _Run, place: int, folder: Path, encoder: Encoder, info: ModelInfo, one: _Data) -> Measured:
    """What a stage's model makes of one modality; remembers its features and, where it has learnt it, its head."""
    options, text = run.options, folder / "vocab.txt"
    words = Tokenizer(text) if one.reader.info.kind == "text" and text.is_file() else None
    if one.modality in info.learnt_here:
        one.head = _head(run, folder, one)
    usual = {"tokenizer": words, "seed": options.seed, "batch_size": options.batch_size}
    found = Measured(stage=place, modality=one.name)
    if one.head is not None:
        head = one.head.to(run.device)
        found.loss = pretext_loss(encoder, head, one.reader, one.held_out, repeats=options.masks, **usual)
    if options.fresh_steps and len(one.train):
        probed, head = fit_head(encoder, one.reader, one.train, steps=options.fresh_steps, **usual)
        found.fresh_loss = pretext_loss(probed, head, one.reader, one.held_out, repeats=options.masks, **usual)
    features = frozen_features(encoder, one.reader, one.held_out, tokenizer=words, batch_size=options.batch_size)
    if one.features is not None:
        found.cka, found.cosine = linear_cka(one.features, features), mean_cosine(one.features, features)
    one.features = features
    if one.labelled and options.probe != "none":
        found.accuracy = _probed(run, encoder, one, words)
    return found


def _head(run: _Run, folder: Path, one: _Data) -> PretextHead | None:
    """The head that a stage has learnt a modality with, if it fits the samples."""
    try:
        head = pretext_head(folder, one.reader.info.kind)
    except BadInput as error:
        run.say(f"no loss of '{one.name}': {error.message}")
        return None
    if isinstance(head, MaskedImageDecoder) and not head.reads(one.reader.info.sample_shape[1:]):
        run.say(f"no loss of '{one.name}': the stage was trained on samples of another size than "
                f"{one.reader.info.sample_shape}")  # fmt: skip
        return None
    return head


def _probed(run: _Run, encoder: Encoder, one: _Data, words: Tokenizer | None) -> float | None:
    """Balanced accuracy of a probe that learns from training samples and is scored on held-out ones."""
    options = run.options
    known = [[i for i in part if one.reader.label(int(i)) >= 0] for part in (one.train, one.held_out)]
    train, test = (np.array(part, np.int64) for part in known)
    labels, truth = (np.array([one.reader.label(int(i)) for i in part], np.int64) for part in (train, test))
    counts = np.bincount(labels, minlength=len(one.reader.info.classes or []))
    if (counts > 0).sum() < 2 or len(test) == 0:
        run.say(f"no accuracy of '{one.name}': a probe needs samples of two classes in train, and some in "
                f"{options.split}")  # fmt: skip
        return None
    pair = [frozen_features(encoder, one.reader, part, tokenizer=words, batch_size=options.batch_size)
            for part in (train, test)]  # fmt: skip
    if options.probe == "linear" and counts[np.unique(truth)].min() >= FOLDS and counts.min() >= FOLDS:
        return linear_probe(pair[0], labels, pair[1], truth, options.seed)["balanced_accuracy"]
    if options.probe == "linear":
        run.say(f"a class of '{one.name}' has fewer than {FOLDS} training samples: nearest neighbours tell them apart")
    return nearest_neighbours(pair[0], labels, pair[1], truth, options.neighbours)


def linear_cka(first: NDArray[np.floating], second: NDArray[np.floating]) -> float | None:
    """Linear centred kernel alignment of two sets of features (N, d) and (N, e) of the same samples, between 0 and 1.

    It does not change with rotations and scales of either (Kornblith et al., ICML 2019). None where one of them is the
    same for all samples.
    """
    x, y = (np.asarray(one, np.float64) - np.asarray(one, np.float64).mean(axis=0) for one in (first, second))
    scale = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return float(np.square(x.T @ y).sum()) / scale if scale > 0 else None


def mean_cosine(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Mean cosine between the features (N, d) of the same samples before and after."""
    x, y = (np.asarray(one, np.float64) for one in (first, second))
    scale = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return float(((x * y).sum(axis=1) / np.maximum(scale, 1e-30)).mean())


def summary(stages: list[StageTold], table: list[Measured], options: ForgettingOptions, datasets: dict[str, str],
            samples: dict[str, int], seen: Sequence[Set[str]] = ()) -> ForgettingInfo:  # fmt: skip
    """What the newest stage has kept of each modality that an earlier one has learnt; `seen` are the datasets that each
    stage and those before it were trained on.
    """
    kept, last = [], len(stages) - 1
    for modality, dataset in datasets.items():
        rows = [row for row in table if row.modality == modality]
        # a second hospital's X-rays were learnt when its stage was, not when X-rays were
        learnt = next((stage for stage, names in enumerate(seen) if dataset in names), 0)
        rows = [row for row in rows if row.stage >= learnt]
        if rows and rows[0].stage < last:
            kept.append(_kept(modality, rows))
    forgetting = [one.forgetting for one in kept if one.forgetting is not None]
    transfer = [one.backward_transfer for one in kept if one.backward_transfer is not None]
    return ForgettingInfo(
        stages=stages, datasets=datasets, samples=samples, table=table, kept=kept,
        average_forgetting=float(np.mean(forgetting)) if forgetting else None,
        backward_transfer=float(np.mean(transfer)) if transfer else None, probe=options.probe,
    )  # fmt: skip


def _kept(modality: str, rows: list[Measured]) -> Kept:
    """`rows` are those of one dataset, from the stage that has learnt it to the newest one."""
    first, now, before = rows[0], rows[-1], rows[:-1]
    found = Kept(modality=modality, learnt_at=first.stage)
    name = "loss" if first.loss is not None else "fresh_loss"
    losses = [value for row in before if (value := getattr(row, name)) is not None]
    start, end = getattr(first, name), getattr(now, name)
    if start and end is not None:
        found.backward_transfer = 1 - end / start
        found.forgetting = (end - min(losses)) / start
    accuracies = [row.accuracy for row in before if row.accuracy is not None]
    if first.accuracy is not None and now.accuracy is not None:
        found.accuracy_backward_transfer = now.accuracy - first.accuracy
        found.accuracy_forgetting = max(accuracies) - now.accuracy
    return found


def numbers(found: ForgettingInfo) -> dict[str, float]:
    """The newest stage's numbers by name, for lists, comparisons and bounds."""
    last = len(found.stages) - 1
    told: dict[str, float | None] = {
        # with nothing to forget, nothing was
        "backward_transfer": found.backward_transfer or 0.0, "average_forgetting": found.average_forgetting or 0.0,
    }  # fmt: skip
    for one in found.kept:
        for name in ("forgetting", "backward_transfer", "accuracy_forgetting", "accuracy_backward_transfer"):
            told[f"{name}/{one.modality}"] = getattr(one, name)
    for row in (row for row in found.table if row.stage == last):
        for name in ("loss", "fresh_loss", "accuracy", "cka", "cosine"):
            told[f"{name}/{row.modality}"] = getattr(row, name)
    return {name: value for name, value in told.items() if value is not None}
