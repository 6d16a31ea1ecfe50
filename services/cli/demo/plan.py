"""What the demo runs: recipes and settings, small enough for two CPU cores and ten minutes."""

from dataclasses import dataclass, field
from typing import Any

SIZE_2D = [128, 128]
SIZE_3D = [16, 96, 96]
PRETRAIN = {
    "size": "tiny", "batch_size": 32, "base_lr": 8e-3, "warmup_epochs": 2, "drop_path": 0.0,
    "vocabulary_size": 2000, "log_every": 5, "checkpoint_every": 100, "reconstructions": 3,
}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One modality: its sample folder, its recipe, and how it is pre-trained and rehearsed later.

    The fractions give buffers of about 16 samples, one batch.
    """

    modality: str
    folder: str
    recipe: dict[str, Any]
    epochs: int
    centers_fraction: float
    buffer_fraction: float
    settings: dict[str, Any] = field(default_factory=dict)


def _images(modality: str) -> dict[str, Any]:
    return {
        "name": "image_folder", "modality": modality, "size": SIZE_2D, "labels": "folders",
        "splits": {"method": "folders"},
    }  # fmt: skip


def _volumes(modality: str, *labels: str) -> dict[str, Any]:
    return {
        "name": "volume_folder", "modality": modality, "size": SIZE_3D, "stride": 8, "label_suffix": "_label",
        "label_names": [*labels], "splits": {"method": "random", "val_fraction": 0.15, "test_fraction": 0.2},
    }  # fmt: skip


# the learning rate is scaled by the batch: these keep it at 1e-3
REPORTS = {"batch_size": 16, "base_lr": 1.6e-2}
VOLUMES = {"batch_size": 16, "base_lr": 1.6e-2}

# the published order of the stages
STAGES = [
    Stage("report", "reports", {"name": "openi_reports", "label_column": "label"}, 3, 0.01, 0.04, REPORTS),
    Stage("xray", "xray", _images("xray"), 20, 0.03, 0.1),
    Stage("ct", "ct", _volumes("ct", "liver", "tumour"), 45, 0.1, 0.5, VOLUMES),
    Stage("mr", "mr", _volumes("mr", "left_atrium"), 30, 0.1, 0.4, VOLUMES),
    Stage("pathology", "pathology", _images("pathology"), 14, 0.05, 0.15),
]

CLASSIFIER: dict[str, Any] = {
    "task": "classification", "epochs": 1000, "max_steps": 180, "batch_size": 16, "lr": 1e-3, "drop_path": 0.0,
    "validate_every": 10,
    "output_name": "demo-tissue",
}  # fmt: skip
SEGMENTER: dict[str, Any] = {
    "task": "segmentation", "epochs": 1000, "max_steps": 90, "batch_size": 4, "lr": 2e-3, "drop_path": 0.0,
    "validate_every": 10,
    "output_name": "demo-atrium",
}  # fmt: skip


def pretrain_spec(stage: Stage, dataset: str, init_model: str | None, buffers: list[str]) -> dict[str, Any]:
    """Parameters of one stage of pre-training, with the rehearsal buffers of the stages before it."""
    spec = PRETRAIN | stage.settings | {"dataset": dataset, "epochs": stage.epochs}
    spec["output_name"] = f"demo-{stage.modality}"
    if init_model is not None:
        spec |= {"init_model": init_model, "rehearsal": buffers}
    return spec


def buffer_spec(stage: Stage, dataset: str, model: str) -> dict[str, Any]:
    """Parameters of the rehearsal buffer of a stage."""
    return {
        "model": model, "dataset": dataset, "centers_fraction": stage.centers_fraction,
        "buffer_fraction": stage.buffer_fraction, "output_name": f"demo-{stage.modality}-buffer",
    }  # fmt: skip
