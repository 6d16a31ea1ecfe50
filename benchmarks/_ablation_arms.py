"""The arms of `ablation.py`: data, stages and measures of one seed."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from medcoss.evaluation.forgetting import measure_forgetting
from medcoss.preprocess.run import preprocess
from medcoss.run import LocalRun
from medcoss.specs.buffers import BuildBufferOptions, Strategy
from medcoss.specs.forgetting import ForgettingOptions
from medcoss.specs.preprocess import PreprocessOptions
from medcoss.specs.training import PretrainOptions
from medcoss.training.pretrain import pretrain
from medcoss.training.rehearsal import build_buffer

Say = Callable[[str], None]
Result = dict[str, Any]
# the order of the published curriculum
MODALITIES = ("report", "xray", "ct", "mr", "pathology")
DONE = "done.json"


@dataclass(frozen=True)
class Arm:
    """What a row of the table differs in; `strategy` None rehearses nothing, `joint` learns all data in one stage."""

    strategy: Strategy | None = None
    mixup: bool = False
    joint: bool = False


ARMS: dict[str, Arm] = {
    "no rehearsal": Arm(),
    "random": Arm("random"),
    "k-means": Arm("kmeans"),
    "k-means + mixup": Arm("kmeans", mixup=True),
    "joint": Arm(joint=True),
}


@dataclass(frozen=True)
class Plan:
    """Everything that decides the figures, but the seed.

    Each stage has `steps` optimizer steps, rehearsal included, and joint training as many as all stages together.
    `peak_lr` is the learning rate at the end of the warm-up; a half-cosine to 0 follows. Without drop path, so few
    steps go further.
    """

    size: str = "tiny"
    image: tuple[int, int] = (96, 96)
    volume: tuple[int, int, int] = (16, 64, 64)
    stride: int = 8
    steps: int = 400
    batch_size: int = 16
    peak_lr: float = 1e-3
    centers_fraction: float = 0.01
    buffer_fraction: float = 0.05
    vocabulary_size: int = 1000
    samples: int = 256
    masks: int = 2


def inputs(plan: Plan) -> dict[str, tuple[list[str], dict[str, Any]]]:
    """Folders of the data and the recipe of each modality."""
    split = {"method": "random", "val_fraction": 0.2, "test_fraction": 0.0}
    volumes = {"name": "volume_folder", "size": plan.volume, "stride": plan.stride, "splits": split}
    images = {"name": "image_folder", "size": plan.image}
    return {
        "report": (["reports"], {"name": "openi_reports"}),
        "xray": (["xray/train", "xray/validation"], images | {"labels": "folders"}),
        "ct": (["ct"], volumes | {"modality": "ct"}),
        "mr": (["la_mr", "brain_mr"], volumes | {"modality": "mr"}),
        "pathology": (["path"], images | {"modality": "pathology", "splits": split}),
    }


def prepare(plan: Plan, source: Path, folder: Path, say: Say) -> dict[str, Path]:
    """Preprocess the five modalities of `source` into `folder`, once."""
    for name, (parts, recipe) in inputs(plan).items():
        if (folder / name / "meta.json").is_file():
            continue
        raw = folder / "raw" / name
        for path in (p for part in parts for p in sorted((source / part).rglob("*"))):
            if path.is_file() and not path.name.endswith("_label.nii.gz"):
                link = raw / path.relative_to(source)
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(path.resolve())
        options = PreprocessOptions.model_validate({"recipe": recipe, "max_bad_fraction": 0.5})
        info = preprocess(options, raw, folder / name, LocalRun(folder / "run" / name))
        say(f"prepared {name}: {info.splits}, {len(info.bad_files)} files left out")
    return {name: folder / name for name in MODALITIES}


class Trainer:
    """Runs the stages of one seed below `folder`; what is done is not done again, what was begun goes on."""

    def __init__(self, plan: Plan, seed: int, data: dict[str, Path], folder: Path, say: Say) -> None:
        self.plan, self.seed, self.data, self.folder, self.say = plan, seed, data, folder, say

    def options(self, arm: Arm, steps: int) -> PretrainOptions:
        """What all stages share, and what the arm differs in."""
        return PretrainOptions(
            size=self.plan.size, epochs=10_000, max_steps=steps, batch_size=self.plan.batch_size,
            base_lr=self.plan.peak_lr * 256 / self.plan.batch_size, vocabulary_size=self.plan.vocabulary_size,
            seed=self.seed, drop_path=0.0, mixup=arm.mixup,
            reconstructions=0, log_every=max(steps // 8, 1), picture_every=10_000, checkpoint_minutes=2,
        )  # fmt: skip

    def stage(self, place: str, arm: Arm, modality: str, before: Path | None, buffers: list[Path],
              joint: list[Path], steps: int) -> Path:  # fmt: skip
        """Train a stage; returns its model folder."""
        root = self.folder / place
        if not (root / DONE).is_file():
            began = time.monotonic()
            run = LocalRun(root)
            info = pretrain(self.options(arm, steps), self.data[modality], before, buffers, root / "model", run,
                            joint_dirs=joint)  # fmt: skip
            spent = time.monotonic() - began
            (root / DONE).write_text(json.dumps({"seconds": spent, "metrics": info.metrics}))
            self.say(f"seed {self.seed}, {place}: {steps} steps in {spent:.0f} s")
        return root / "model"

    def buffer(self, place: str, arm: Arm, modality: str, model: Path) -> Path:
        """Choose a rehearsal buffer; returns its folder."""
        root = self.folder / place
        if not (root / DONE).is_file():
            assert arm.strategy is not None
            options = BuildBufferOptions(
                strategy=arm.strategy, centers_fraction=self.plan.centers_fraction,
                buffer_fraction=self.plan.buffer_fraction, seed=self.seed,
            )  # fmt: skip
            info = build_buffer(options, model, self.data[modality], root / "buffer", LocalRun(root))
            (root / DONE).write_text(json.dumps({"samples": info.samples}))
        return root / "buffer"

    def line(self, name: str, arm: Arm) -> list[Path]:
        """All stages of an arm; the first one is the same for all that train one modality after the other."""
        plan, first = self.plan, MODALITIES[0]
        if arm.joint:
            others = [self.data[modality] for modality in MODALITIES[1:]]
            return [self.stage(name, arm, first, None, [], others, plan.steps * len(MODALITIES))]
        models = [self.stage("first", Arm(), first, None, [], [], plan.steps)]
        buffers: list[Path] = []
        for before, modality in pairwise(MODALITIES):
            if arm.strategy is not None:
                buffers.append(self.buffer(f"{name}/buffer {before}", arm, before, models[-1]))
            models.append(self.stage(f"{name}/{modality}", arm, modality, models[-1], buffers, [], plan.steps))
        return models

    def measured(self, name: str, models: list[Path]) -> dict[str, float]:
        """Numbers of the last model of an arm, on held-out samples of all modalities."""
        options = ForgettingOptions(samples=self.plan.samples, masks=self.plan.masks, seed=self.seed)
        folder = self.folder / name / "report"
        found = measure_forgetting(options, models, [*self.data.values()], folder, LocalRun(folder / "run"))
        return found.metrics


def run_seed(plan: Plan, seed: int, data: dict[str, Path], folder: Path, arms: list[str], say: Say) -> Result:
    """The numbers of each arm with one seed; an arm whose numbers are there is not measured again."""
    trainer, found = Trainer(plan, seed, data, folder, say), {}
    for name in arms:
        kept = folder / name / "numbers.json"
        if not kept.is_file():
            numbers = trainer.measured(name, trainer.line(name, ARMS[name]))
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(numbers, indent=1))
            say(f"seed {seed}, {name}: " + ", ".join(f"{k} {v:.3f}" for k, v in numbers.items() if "/" not in k))
        found[name] = json.loads(kept.read_text())
    return found


def smaller(plan: Plan) -> Plan:
    """The same in seconds: to see that all of it runs."""
    return replace(plan, image=(32, 32), volume=(16, 32, 32), stride=16, steps=3, batch_size=8, samples=16, masks=1)
