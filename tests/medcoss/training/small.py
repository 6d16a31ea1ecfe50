"""Small datasets in every modality and runs that stop where a test wants them to."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medcoss.data.shards import Sample, ShardWriter
from medcoss.modalities import Kind
from medcoss.run import LocalRun
from medcoss.specs.preprocess import ImageFolder, OpeniReports, Recipe, VolumeFolder
from medcoss.specs.records import DatasetInfo

DATASET, MODEL = "ds_00000000", "mdl_00000000"
SENTENCES = [
    "the lungs are clear", "no pleural effusion is seen", "the heart is enlarged", "no acute disease",
    "there is a small nodule in the left lung", "the bones are intact", "mild edema is present",
]  # fmt: skip


@dataclass
class StopsAfter(LocalRun):
    """A run that is asked to stop after some steps."""

    steps: int = 10**9

    def should_stop(self) -> bool:
        """True from the given call on; the loop asks once a step."""
        self.steps -= 1
        return self.steps <= 0


class Killed(BaseException):
    """Stands for SIGKILL: nothing is saved."""


@dataclass
class KilledAt(LocalRun):
    """A run that dies when it reports the metrics of a step."""

    step: int = 10**9

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Die, or remember."""
        if step >= self.step:
            raise Killed
        super().metrics(step, values)


def _close(writer: ShardWriter, recipe: Recipe, shape: list[int], kind: Kind, classes: list[str] | None,
           masks: bool) -> None:  # fmt: skip
    writer.close(
        DatasetInfo(
            modality=recipe.modality, kind=kind, samples=len(writer), splits=writer.split_counts(), classes=classes,
            has_masks=masks, sample_shape=shape, recipe=recipe.model_dump(mode="json"),
        )
    )  # fmt: skip


def tiles(folder: Path, count: int = 12, size: tuple[int, int] = (32, 48), held_out: int = 4) -> Path:
    """Pink tissue with round, blue nuclei: the class is how large they are."""
    rng = np.random.default_rng(4)
    writer = ShardWriter(folder)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for i in range(count + 2 * held_out):
        image = np.array([225, 150, 190])[:, None, None] + rng.normal(0, 6, (3, *size))
        for row, column in rng.uniform((0, 0), size, (8, 2)):
            nucleus = np.hypot(rows - row, columns - column) < 3 + 3 * (i % 2)
            image[:, nucleus] = np.array([90, 60, 150])[:, None] + rng.normal(0, 6, (3, int(nucleus.sum())))
        split = "train" if i < count else "val" if i < count + held_out else "test"
        writer.add(
            Sample(id=f"{i}", split=split, source=f"{split}{i}.png", group=f"{split}{i}", label=i % 2),
            np.clip(image, 0, 255).astype(np.uint8),
        )
    recipe = ImageFolder(modality="pathology", size=(64, 64), labels="folders")
    _close(writer, recipe, [3, *size], Kind.IMAGE2D, ["small", "large"], False)
    return folder


def xrays(folder: Path, count: int = 12, size: tuple[int, int] = (32, 48), *, masks: bool = False,
          classes: int = 2, held_out: int = 4) -> Path:  # fmt: skip
    """Striped images: the class is the direction of the stripes, the mask a bright box."""
    rng = np.random.default_rng(0)
    writer = ShardWriter(folder)
    for i in range(count + 2 * held_out):
        label = i % classes
        rows, columns = np.mgrid[: size[0], : size[1]]
        waves = np.sin((rows if label == 0 else columns if label == 1 else rows + columns) * 0.9 + rng.uniform(0, 6))
        image = 90 + 40 * waves + rng.normal(0, 8, size)
        box = np.zeros(size, np.uint8)
        top, left = (int(rng.integers(0, n // 2)) for n in size)
        box[top : top + size[0] // 2, left : left + size[1] // 3] = 1
        if masks:
            image[box > 0] += 70
        split = "train" if i < count else "val" if i < count + held_out else "test"
        name = f"{split}{i}"
        writer.add(
            Sample(id=f"{i}", split=split, source=f"{name}.png", group=name, label=-1 if masks else label),
            np.clip(image, 0, 255).astype(np.uint8)[None],
            box[None] if masks else None,
        )
    names = ["foreground"] if masks else [f"class{i}" for i in range(classes)]
    recipe = ImageFolder(size=(64, 64), mask_suffix="_mask" if masks else None, labels="none" if masks else "folders")
    _close(writer, recipe, [1, *size], Kind.IMAGE2D, names, masks)
    return folder


def volumes(folder: Path, count: int = 4, size: tuple[int, int, int] = (16, 32, 32), *, masks: bool = False,
            tiles: int = 2, modality: str = "mr") -> Path:  # fmt: skip
    """Noisy volumes of overlapping tiles, with a bright box that is the label; in CT the box is a dark one."""
    rng = np.random.default_rng(1)
    writer = ShardWriter(folder)
    depth = size[0] + (tiles - 1) * size[0] // 2
    for case in range(count + 2):
        whole = rng.normal(0, 0.3, (depth, *size[1:])).astype(np.float32)
        box = np.zeros(whole.shape, np.uint8)
        low = [int(rng.integers(0, n // 2)) for n in whole.shape]
        box[tuple(slice(a, a + n // 2) for a, n in zip(low, whole.shape, strict=True))] = 1
        whole[box > 0] += 2 if modality == "mr" else -2
        split = ("train", "val", "test")[max(0, case - count + 1)]
        for tile in range(tiles):
            start = tile * size[0] // 2
            window = slice(start, start + size[0])
            row = Sample(
                id=f"{case}-{tile}", split=split, source=f"{case}.nii.gz", group=f"case{case}", offset=start,
                slices=depth, spacing_z=2.0, spacing_y=1.5, spacing_x=0.5,
            )  # fmt: skip
            writer.add(row, whole[window][None], box[window][None] if masks else None)
    recipe = VolumeFolder(
        modality=modality, size=size, label_suffix="_label" if masks else None, label_names=("box",) if masks else (),
    )  # fmt: skip
    _close(writer, recipe, [1, *size], Kind.VOLUME3D, ["box"] if masks else None, masks)
    return folder


def reports(folder: Path, count: int = 16, held_out: int = 4) -> Path:
    """Reports of two sentences; the class is whether the first one begins with `no`."""
    rng = np.random.default_rng(2)
    writer = ShardWriter(folder)
    for i in range(count + 2 * held_out):
        text = " ".join(rng.choice(SENTENCES, 2, replace=False))
        split = "train" if i < count else "val" if i < count + held_out else "test"
        label = int(text.startswith("no "))
        writer.add(Sample(id=f"{i}", split=split, source="a.csv", group=f"{i}", label=label, text=text))
    _close(writer, OpeniReports(label_column="finding"), [112], Kind.TEXT, ["something", "nothing"], False)
    return folder
