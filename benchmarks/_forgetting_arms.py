"""The arms of `forgetting.py`: data, stages and measures of one seed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.evaluation.probes import (
    PretextHead,
    fit_head,
    frozen_features,
    linear_probe,
    pretext_head,
    pretext_loss,
)
from medcoss.models.encoder import Encoder
from medcoss.models.registry import load_encoder
from medcoss.preprocess.run import preprocess
from medcoss.run import LocalRun
from medcoss.specs.buffers import BuildBufferOptions
from medcoss.specs.encoder import SIZES
from medcoss.specs.preprocess import ImageFolder, OpeniReports, PreprocessOptions, VolumeFolder
from medcoss.specs.training import PretrainOptions
from medcoss.training.pretrain import pretrain
from medcoss.training.rehearsal import build_buffer

PROBED = 11  # heads that are fitted for one seed
Measures = dict[str, float]
Say = Callable[[str, int], None]
Result = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Everything that decides the figures, but the seed.

    `steps` are the optimizer steps of the three stages, rehearsal included. `peak_lr` is the learning rate at the
    end of the warm-up, a quarter of each stage; a half-cosine to 0 follows. Without drop path, so few steps go further.
    """

    size: str = "tiny"
    xray_size: tuple[int, int] = (96, 96)
    mr_size: tuple[int, int, int] = (16, 64, 64)
    mr_stride: int = 4
    batch_size: int = 16
    steps: tuple[int, int, int] = (700, 1000, 600)
    peak_lr: float = 1e-3
    drop_path: float = 0.0
    centers_fraction: float = 0.01
    buffer_fraction: float = 0.05
    vocabulary_size: int = 1000
    probe_steps: int = 120
    masks: int = 1


@dataclass(frozen=True)
class Data:
    """Prepared datasets by modality, and the held-out samples of reports and X-rays."""

    folders: dict[str, Path]
    reports: ShardReader
    xrays: ShardReader
    held_out_reports: NDArray[np.int64]
    held_out_xrays: NDArray[np.int64]

    @classmethod
    def of(cls, folders: dict[str, Path]) -> "Data":
        """Open the datasets; a held-out report whose words also occur in training is left out."""
        reports, xrays = ShardReader(folders["report"]), ShardReader(folders["xray"])
        seen = {reports.text(int(i)) for i in reports.indices("train")}
        held_out = [i for i, row in enumerate(reports.rows) if row.split != "train" and row.text not in seen]
        return cls(folders, reports, xrays, np.array(held_out, dtype=np.int64), xrays.indices("val"))


def prepare(plan: Plan, source: Path, folder: Path) -> Data:
    """Preprocess the three modalities of `source` into `folder`, once."""
    inputs = {
        "report": (["reports"], OpeniReports()),
        "xray": (["xray/train", "xray/validation"], ImageFolder(size=plan.xray_size, labels="folders")),
        "mr": (["la_mr", "brain_mr"], VolumeFolder(size=plan.mr_size, stride=plan.mr_stride)),
    }
    for name, (parts, recipe) in inputs.items():
        if (folder / name / "meta.json").is_file():
            continue
        raw = folder / "raw" / name
        for path in (p for part in parts for p in (source / part).rglob("*")):
            if path.is_file() and not path.name.endswith("_label.nii.gz"):
                link = raw / path.relative_to(source)
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(path.resolve())
        info = preprocess(PreprocessOptions(recipe=recipe), raw, folder / name, LocalRun(folder / "run"))
        print(f"prepared {name}: {info.splits}, {len(info.bad_files)} files left out", flush=True)
    return Data.of({name: folder / name for name in inputs})


class Trainer:
    """Runs the stages of one seed below `folder`, keeps their wall time and says how it goes."""

    def __init__(self, plan: Plan, seed: int, data: Data, folder: Path, say: Say) -> None:
        self.plan, self.seed, self.data, self.folder, self.say = plan, seed, data, folder, say
        self.seconds: dict[str, float] = {}
        self.last: dict[str, dict[str, float]] = {}

    def stage(self, name: str, modality: str, steps: int, before: Path | None = None,
              buffers: tuple[Path, ...] = (), vocabulary: Path | None = None) -> Path:  # fmt: skip
        """Train a stage; returns its model folder."""
        began = time.monotonic()
        run = LocalRun(self.folder / name)
        options = PretrainOptions(
            size=self.plan.size, epochs=10_000, max_steps=steps, batch_size=self.plan.batch_size,
            base_lr=self.plan.peak_lr * 256 / self.plan.batch_size, vocabulary_size=self.plan.vocabulary_size,
            seed=self.seed, drop_path=self.plan.drop_path, log_every=max(steps // 8, 1), reconstructions=0,
        )  # fmt: skip
        model = run.root / "model"
        pretrain(options, self.data.folders[modality], before, list(buffers), model, run, vocabulary)
        self.seconds[name] = time.monotonic() - began
        self.last[name] = {k: v for _, row in run.history for k, v in row.items() if "/" in k}
        self.say(f"{name}: {steps} steps in {self.seconds[name]:.0f} s, {self._losses(name)}", steps)
        return model

    def _losses(self, name: str) -> str:
        return ", ".join(f"{k} {v:.3f}" for k, v in self.last[name].items())

    def buffer(self, name: str, modality: str, model: Path) -> Path:
        """Choose the rehearsal buffer of a modality; returns its folder."""
        options = BuildBufferOptions(
            centers_fraction=self.plan.centers_fraction, buffer_fraction=self.plan.buffer_fraction, seed=self.seed
        )
        target = self.folder / name
        build_buffer(options, model, self.data.folders[modality], target / "buffer", LocalRun(target))
        return target / "buffer"


def xray_probe(data: Data, encoder: Encoder, seed: int) -> Measures:
    """Scores of a linear probe of the X-ray classes, fitted on the training folder."""
    parts = (data.xrays.indices("train"), data.held_out_xrays)
    train, held_out = (frozen_features(encoder, data.xrays, part) for part in parts)
    train_labels, labels = (np.array([data.xrays.label(int(i)) for i in part]) for part in parts)
    return linear_probe(train, train_labels, held_out, labels, seed)


class Judge:
    """Measures encoders of one seed on the held-out samples."""

    def __init__(self, plan: Plan, seed: int, data: Data, tokenizer: Tokenizer, say: Say) -> None:
        self.plan, self.seed, self.data, self.tokenizer, self.say = plan, seed, data, tokenizer, say

    def own(self, encoder: Encoder, modality: str, model: Path) -> Measures:
        """The pretext loss of a modality with the head of its own stage, kept in the folder `model`."""
        return {f"{modality}_own": self._loss(encoder, pretext_head(model), modality)}

    def fresh(self, encoder: Encoder, modality: str, learnt: bool) -> Measures:
        """The pretext loss of a modality with a new head; what has not `learnt` it gets a new embedding, too."""
        reader, words = self._reader(modality)
        probed, head = fit_head(
            encoder, reader, reader.indices("train"), tokenizer=words, steps=self.plan.probe_steps, seed=self.seed,
            learn_embedding=not learnt,
        )  # fmt: skip
        loss = self._loss(probed, head, modality)
        self.say(f"{modality} with a fresh head: {loss:.3f}", self.plan.probe_steps)
        return {f"{modality}_fresh": loss}

    def probe(self, encoder: Encoder) -> Measures:
        """The linear probe of the X-ray classes."""
        return xray_probe(self.data, encoder, self.seed)

    def _reader(self, modality: str) -> tuple[ShardReader, Tokenizer | None]:
        return (self.data.reports, self.tokenizer) if modality == "report" else (self.data.xrays, None)

    def _loss(self, encoder: Encoder, head: PretextHead, modality: str) -> float:
        reader, words = self._reader(modality)
        # the few X-rays are seen under more masks
        chosen, masks = (self.data.held_out_reports, 1) if words else (self.data.held_out_xrays, 4)
        return pretext_loss(encoder, head, reader, chosen, tokenizer=words, repeats=masks * self.plan.masks)


def run_seed(plan: Plan, seed: int, data: Data, folder: Path, say: Say) -> Result:
    """All arms of one seed: measures by moment and arm, and the seconds of every stage."""
    trainer = Trainer(plan, seed, data, folder, say)
    first, second, third = plan.steps
    report = trainer.stage("report", "report", first)
    reports = trainer.buffer("buffer_report", "report", report)
    xray = {
        "continual": trainer.stage("continual_xray", "xray", second, report, (reports,)),
        "sequential": trainer.stage("sequential_xray", "xray", second, report),
    }
    xrays = trainer.buffer("buffer_xray", "xray", xray["continual"])
    mr = {
        "continual": trainer.stage("continual_mr", "mr", third, xray["continual"], (reports, xrays)),
        "sequential": trainer.stage("sequential_mr", "mr", third, xray["sequential"]),
        "scratch": trainer.stage("scratch_mr", "mr", sum(plan.steps), vocabulary=report / "vocab.txt"),
    }
    judge = Judge(plan, seed, data, Tokenizer(report / "vocab.txt"), say)
    sizes = {name: len(ShardReader(path)) for name, path in (("report", reports), ("xray", xrays))}
    return {
        "seed": seed,
        "measures": {
            "after report": {"both": _report_stage(judge, report)},
            "after xray": {arm: _xray_stage(judge, model, report) for arm, model in xray.items()},
            "after mr": {arm: _last_stage(judge, mr[arm], report, xray[arm]) for arm in xray}
            | {"scratch": _never_learnt(judge, load_encoder(mr["scratch"])[0])}
            | {"untrained": _never_learnt(judge, untrained(plan, seed, judge.tokenizer.size))},
        },
        "seconds": trainer.seconds,
        "training": trainer.last,
        "buffers": sizes,
    }


def untrained(plan: Plan, seed: int, words: int) -> Encoder:
    """An encoder as every arm starts from."""
    torch.manual_seed(seed)
    return Encoder(replace(SIZES[plan.size], vocabulary=words)).eval()


def _report_stage(judge: Judge, report: Path) -> Measures:
    encoder, _ = load_encoder(report)
    return judge.own(encoder, "report", report) | judge.fresh(encoder, "report", learnt=True)


def _xray_stage(judge: Judge, xray: Path, report: Path) -> Measures:
    encoder, _ = load_encoder(xray)
    own = judge.own(encoder, "report", report) | judge.own(encoder, "xray", xray)
    return own | judge.fresh(encoder, "xray", learnt=True) | judge.probe(encoder)


def _last_stage(judge: Judge, mr: Path, report: Path, xray: Path) -> Measures:
    encoder, _ = load_encoder(mr)
    own = judge.own(encoder, "report", report) | judge.own(encoder, "xray", xray)
    fresh = judge.fresh(encoder, "report", learnt=True) | judge.fresh(encoder, "xray", learnt=True)
    return own | fresh | judge.probe(encoder)


def _never_learnt(judge: Judge, encoder: Encoder) -> Measures:
    fresh = judge.fresh(encoder, "report", learnt=False) | judge.fresh(encoder, "xray", learnt=False)
    return fresh | judge.probe(encoder)
