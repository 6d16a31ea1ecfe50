"""Parameters of the recipe `openi_reports`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import OR_DECLARED, OwnPatients, TextModality


class OpeniReports(OwnPatients):
    """A CSV table of radiology reports with findings and impression columns (OpenI, MIMIC-CXR master tables)."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    expected: ClassVar[str] = "CSV tables of reports"

    name: Literal["openi_reports"] = documented("always openi_reports", default="openi_reports")
    modality: TextModality = documented("report" + OR_DECLARED % "text", default="report")
    id_column: str = documented("column that identifies a study", default="study_id", max_length=64)
    findings_column: str = documented("column with the findings", default="findings", max_length=64)
    impression_column: str = documented("column with the impression", default="impression", max_length=64)
    label_column: str | None = documented("column with a class name, if any", default=None, max_length=64)
    split_column: str | None = documented(
        "column with train, val or test; without it a seeded hash decides", default="split", max_length=64
    )
    patient_column: str | None = documented(
        "column with the patient, who stays in one split where a seeded hash decides; null: the content of a report "
        "stands for its patient",
        default=None,
        max_length=64,
    )
    min_tokens: int = documented("reports with fewer tokens are left out", "token", default=3, ge=1, le=100)
