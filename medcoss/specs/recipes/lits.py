"""Parameters of the recipe `lits`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import SegmentedVolumes


class Lits(SegmentedVolumes):
    """LiTS: abdominal CT with liver and liver tumours, by the rules of nnU-Net."""

    suffixes: ClassVar[tuple[str, ...]] = (".nii", ".nii.gz")
    expected: ClassVar[str] = "NIfTI volumes volume-0.nii with label maps segmentation-0.nii"

    name: Literal["lits"] = documented("always lits", default="lits")
    modality: Literal["ct"] = documented("always ct", default="ct")
    intensity: Literal["fingerprint", "window"] = documented(
        "fingerprint: clipped to the 0.5 and 99.5 percentiles of liver and tumour in the training cases, less their "
        "mean, over their deviation; window: clipped to [-325, 325] HU, over 325, as MedCoSS does",
        default="fingerprint",
    )
