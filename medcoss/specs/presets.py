"""The published fine-tuning settings of MedCoSS (CVPR 2024), by the names of its nine downstream tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from medcoss.modalities import Kind
from medcoss.specs.postprocess import LargestComponent, Within

Task = Literal["classification", "segmentation"]
PresetName = Literal["pubmed20k", "chestxr", "qata", "ricord", "lits", "vs", "la", "nct_crc", "glas"]


@dataclass(frozen=True)
class Preset:
    """The dataset that a preset is for, and the fields that it fills in.

    `shape` is a sample's without channels, as in `Modality.size`; `classes` counts classes, or channels of the mask.
    """

    data: str
    task: Task
    kind: Kind
    shape: tuple[int, ...]
    classes: int
    fields: Mapping[str, Any]

    @property
    def expected(self) -> str:
        """The samples in words."""
        size = f"reports of {self.shape[0]} tokens"
        if self.kind is not Kind.TEXT:
            what = "images" if self.kind is Kind.IMAGE2D else "volumes"
            size = f"{what} of {' x '.join(map(str, self.shape))}"
        return f"{size} with {self.classes} {'classes' if self.classes > 1 else 'class'} ({self.data})"


def _preset(data: str, task: Task, kind: Kind, shape: tuple[int, ...], classes: int, **fields: Any) -> Preset:
    common = {"task": task, "weight_decay": 1e-4, "clip_norm": 12.0}
    return Preset(data, task, kind, shape, classes, MappingProxyType(common | fields))


_PIXELS, _VOXELS = (224, 224), (64, 192, 192)
_IMAGE, _VOLUME = Kind.IMAGE2D, Kind.VOLUME3D
# by their places: datasets may call them otherwise
_ORGAN = (LargestComponent(of=0),)
_LIVER = (*_ORGAN, Within(of=1, organ=0))

PRESETS: dict[str, Preset] = {
    "pubmed20k": _preset("PubMed 20k RCT: the role of a sentence in an abstract", "classification", Kind.TEXT, (112,),
                         5, epochs=5, lr=2e-4, batch_size=64),
    "chestxr": _preset("ChestXR: COVID-19, pneumonia, normal", "classification", _IMAGE, _PIXELS,
                       3, epochs=80, lr=5e-5, batch_size=32),
    "qata": _preset("QaTa-COV19: infected regions in X-rays", "segmentation", _IMAGE, _PIXELS,
                    1, epochs=100, lr=1e-4, batch_size=16),
    "ricord": _preset("RICORD: COVID-19 in CT", "classification", _VOLUME, _VOXELS,
                      2, epochs=200, lr=1e-5, batch_size=8),
    "lits": _preset("LiTS: liver and tumour in CT", "segmentation", _VOLUME, _VOXELS,
                    2, epochs=100, steps_per_epoch=250, lr=1e-4, batch_size=2, window=_VOXELS,
                    postprocess=_LIVER),
    "vs": _preset("vestibular schwannoma in MR", "segmentation", _VOLUME, _VOXELS,
                  1, epochs=100, steps_per_epoch=250, lr=1e-4, batch_size=2, window=_VOXELS),
    "la": _preset("left atrium in MR", "segmentation", _VOLUME, _VOXELS,
                  1, epochs=80, steps_per_epoch=250, lr=5e-5, batch_size=2, postprocess=_ORGAN),
    "nct_crc": _preset("NCT-CRC-HE: tissue of colorectal cancer", "classification", _IMAGE, _PIXELS,
                       9, epochs=10, lr=1e-4, batch_size=32),
    "glas": _preset("GlaS: glands in pathology", "segmentation", _IMAGE, (512, 512),
                    1, epochs=100, lr=1e-4, batch_size=4),
}  # fmt: skip


def filled_in(given: Any) -> Any:
    """What a spec is given, with the fields of its preset where they are not; anything else is left to validation."""
    name = given.get("preset") if isinstance(given, dict) else None
    if name is None:
        return given
    known = isinstance(name, str) and name in PRESETS
    # of a preset that there is not, its own error is enough
    return (dict(PRESETS[name].fields) if known else {"task": "classification"}) | given
