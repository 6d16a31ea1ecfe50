"""Parameters of the recipe `mimic_cxr_reports`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import RecipeSpec


class MimicCxrReports(RecipeSpec):
    """Reports of MIMIC-CXR: text files with the split and metadata tables of MIMIC-CXR-JPG, or MGCA's master.csv."""

    suffixes: ClassVar[tuple[str, ...]] = (".txt", "master.csv")
    expected: ClassVar[str] = "report text files sNNN.txt or a master.csv"

    name: Literal["mimic_cxr_reports"] = documented("always mimic_cxr_reports", default="mimic_cxr_reports")
    modality: Literal["report"] = documented("always report", default="report")
    min_tokens: int = documented("reports with fewer tokens are left out", "token", default=3, ge=1, le=100)
