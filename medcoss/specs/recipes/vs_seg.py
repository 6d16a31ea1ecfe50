"""Parameters of the recipe `vs_seg`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import SegmentedVolumes


class VsSeg(SegmentedVolumes):
    """Vestibular-Schwannoma-SEG: MR with the tumour, by the rules of nnU-Net."""

    suffixes: ClassVar[tuple[str, ...]] = (".nii", ".nii.gz", ".dcm")
    expected: ClassVar[str] = (
        "DICOM series with RTSTRUCT files, vs_gk_1/vs_gk_t1_refT1.nii.gz, or imagesTr and labelsTr of nnU-Net"
    )

    name: Literal["vs_seg"] = documented("always vs_seg", default="vs_seg")
    modality: Literal["mr"] = documented("always mr", default="mr")
    sequence: Literal["T1", "T2"] = documented(
        "contrast-enhanced T1 or T2, of folders of patients with both", default="T1"
    )
