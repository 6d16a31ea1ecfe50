"""Parameters of the recipe `dicom_export`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import OwnPatients, Splits


class DicomExport(OwnPatients):
    """A PACS export: any folder of DICOM files, whatever their names, with all studies of all patients mixed."""

    # exports seldom give their files an ending
    suffixes: ClassVar[tuple[str, ...]] = ("",)
    expected: ClassVar[str] = "DICOM files"

    name: Literal["dicom_export"] = documented("always dicom_export", default="dicom_export")
    modality: Literal["ct", "mr", "xray"] = documented(
        "which images of the export are taken: ct and mr as volumes, xray as images; the rest is left out"
    )
    splits: Splits = documented(
        "division into train, val and test, by PatientID with method random", default=Splits(method="random")
    )
