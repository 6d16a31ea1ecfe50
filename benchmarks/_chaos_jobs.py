"""What users ask of the platform: their data, the specs they know, and their stories, by seed."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcoss.phantoms import mr, xray

Ids = dict[str, str]
IMAGES_PER_CLASS = 8
VOLUMES = 3
_TRAINING: dict[str, Any] = {
    "size": "tiny", "batch_size": 4, "base_lr": 8e-3, "warmup_epochs": 1, "drop_path": 0.0, "log_every": 2,
    "checkpoint_every": 8, "reconstructions": 1,
}  # fmt: skip


def write_data(folder: Path) -> dict[str, Path]:
    """Phantom X-rays and MR volumes, and a folder of files that no recipe can read; by name, each a folder."""
    wanted = [
        item for name in xray.CLASSES
        for item in [i for i in xray.items(0) if i.path.startswith(f"xray/train/{name}/")][:IMAGES_PER_CLASS]
    ]  # fmt: skip
    for item in wanted + list(mr.items(0))[:VOLUMES]:
        item.write(folder)
    broken = folder / "broken"
    broken.mkdir(parents=True)
    for number in range(4):
        (broken / f"scan_{number}.png").write_text("this is no picture\n" * 20)
    return {name: folder / name for name in ("xray", "mr", "broken")}


@dataclass(frozen=True)
class Template:
    """A job that users know: its kind, the templates whose outputs it names, and its spec.

    `resource` is what it makes.
    """

    kind: str
    needs: tuple[str, ...]
    spec: Callable[[Ids], dict[str, Any]]
    resource: str


def _preprocess(raw: str, recipe: dict[str, Any]) -> Template:
    return Template("preprocess", (), lambda ids: {"dataset": ids[raw], "recipe": recipe}, "dataset")


# in an order in which they can be run
TEMPLATES = {
    "images": _preprocess(
        "raw xray", {"name": "image_folder", "modality": "xray", "size": [32, 32], "labels": "folders"}
    ),
    "volumes": _preprocess(
        "raw mr",
        {"name": "volume_folder", "modality": "mr", "size": [16, 32, 32], "stride": 16, "label_suffix": "_label",
         "label_names": ["left_atrium"]},
    ),
    "encoder": Template(
        "pretrain", ("images",), lambda ids: _TRAINING | {"dataset": ids["images"], "epochs": 4}, "model"
    ),
    "buffer": Template(
        "build_buffer", ("encoder", "images"),
        lambda ids: {"model": ids["encoder"], "dataset": ids["images"], "centers_fraction": 0.2,
                     "buffer_fraction": 0.4}, "dataset",
    ),
    "second stage": Template(
        "pretrain", ("volumes", "encoder", "buffer"),
        lambda ids: _TRAINING | {"dataset": ids["volumes"], "init_model": ids["encoder"], "rehearsal": [ids["buffer"]],
                                 "epochs": 12}, "model",
    ),
    "classifier": Template(
        "finetune", ("images", "encoder"),
        lambda ids: {"task": "classification", "dataset": ids["images"], "init_model": ids["encoder"], "epochs": 4,
                     "batch_size": 4, "drop_path": 0.0, "checkpoint_every": 8, "log_every": 2}, "model",
    ),
    "scores": Template(
        "evaluate", ("classifier", "images"),
        lambda ids: {"model": ids["classifier"], "dataset": ids["images"], "split": "train"}, "evaluation",
    ),
}  # fmt: skip


def endless(ids: Ids) -> dict[str, Any]:
    """A spec of `pretrain` that takes hours: it is submitted to be cancelled."""
    return TEMPLATES["encoder"].spec(ids) | {"epochs": 10_000}


def broken(ids: Ids) -> dict[str, Any]:
    """A spec of `preprocess` whose every file is bad."""
    return {"dataset": ids["raw broken"], "recipe": {"name": "image_folder", "modality": "xray", "size": [32, 32]}}


@dataclass(frozen=True)
class Story:
    """What one user does. `template` is the job that it is about; `after_s` and `pause_s` are the user's pauses."""

    number: int
    kind: str
    template: str
    after_s: float
    pause_s: float


# how often each stands in a deck of stories
DECK = {
    "plain": 7, "paused": 3, "cancelled": 3, "wrong data": 2, "doomed": 2, "dependent": 2, "stages": 1,
    "set aside": 1,
}  # fmt: skip
_TRAININGS = ("encoder", "second stage", "classifier")


def stories(seed: int, templates: tuple[str, ...]) -> Iterator[Story]:
    """The endless sequence of stories of a seed, about these templates and what follows from them."""
    rng = random.Random(f"stories {seed}")
    trainings = [name for name in _TRAININGS if name in templates]
    number = 0
    while True:
        deck = [kind for kind, often in DECK.items() for _ in range(often)]
        rng.shuffle(deck)
        for kind in deck:
            template = rng.choice(trainings if kind == "paused" else templates)
            after_s, pause_s = rng.uniform(0, 8), rng.uniform(0, 6)
            if kind == "stages" and set(templates) != set(TEMPLATES):
                continue
            number += 1
            yield Story(number, kind, template, after_s, pause_s)
