"""The tables of MIMIC-CXR-JPG, as published."""

import gzip
from pathlib import Path

from tests.medcoss.preprocess.files import put


def put_tables(folder: Path, rows: list[tuple[str, str, str, str, str]]) -> None:
    """Write the split and the metadata table of images (dicom, subject, study, view, split)."""
    tables = {
        "split": ["dicom_id,study_id,subject_id,split", *(f"{d},{s},{p},{split}" for d, p, s, _, split in rows)],
        "metadata": [
            "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns",
            *(f'{d},{p},{s},"CHEST (PA, LAT)",{view},3056,2544' for d, p, s, view, _ in rows),
        ],
    }
    for name, lines in tables.items():
        put(folder / f"mimic-cxr-2.0.0-{name}.csv.gz", gzip.compress("\n".join(lines).encode()))
