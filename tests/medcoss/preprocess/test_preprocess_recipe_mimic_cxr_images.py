"""MIMIC-CXR images: the cohort of the reports, from JPEG and DICOM."""

from pathlib import Path

import numpy as np

from medcoss.specs.recipes.mimic_cxr_images import MimicCxrImages
from medcoss.specs.recipes.mimic_cxr_reports import MimicCxrReports
from tests.medcoss.preprocess.files import Prepare, dicom_bytes, image_bytes, put
from tests.medcoss.preprocess.mimic_files import put_tables

STUDY = "files/p10/p10000032/s50414267"
RAMP = np.linspace(0, 255, 60 * 50).reshape(60, 50).astype(np.uint8)


def test_the_tree_as_published(raw: Path, prepare: Prepare) -> None:
    put_tables(raw, [
        ("aa-1", "10000032", "50414267", "PA", "train"), ("aa-2", "10000032", "50414267", "LATERAL", "train"),
        ("aa-3", "10000032", "50414267", "AP", "train"), ("bb-1", "11000011", "51000001", "AP", "validate"),
        ("cc-1", "11000012", "51000002", "PA", "test"), ("dd-1", "11000012", "51000003", "PA", "test"),
    ])  # fmt: skip
    put(raw / STUDY / "aa-1.jpg", image_bytes(RAMP, "JPEG", quality=95))
    put(raw / STUDY / "aa-2.jpg", image_bytes(RAMP, "JPEG"))
    # inverted, and values outside the window, as CR machines write them
    window = {"WindowCenter": "2000", "WindowWidth": "2000", "PatientName": "Doe^Jane"}
    values = (np.linspace(4095, 0, 3000).reshape(60, 50)).astype(np.uint16)
    put(raw / STUDY / "aa-3.dcm", dicom_bytes(values, "MONOCHROME1", **window))
    put(raw / "copy" / STUDY / "aa-1.jpg", image_bytes(RAMP, "JPEG"))
    put(raw / "files/p11/p11000011/s51000001/bb-1.jpg", image_bytes(np.stack([RAMP] * 3, axis=2), "JPEG"))
    put(raw / "files/p11/p11000012/s51000002/cc-1.jpg", image_bytes(RAMP, "JPEG")[:300])
    put(raw / "files/p11/p11000012/s51000003/unknown.jpg", image_bytes(RAMP, "JPEG"))
    put(raw / "files/p11/p11000012/s51000003/dd-1.jpg", image_bytes(RAMP[::-1], "JPEG"))
    put(raw / "files/p10/p10000032/s50414267.txt", b"IMPRESSION: No acute process.\n")
    reader, report = prepare(MimicCxrImages())
    assert reader.info.sample_shape == [1, 224, 224]
    assert {Path(row.source).name: row.split for row in reader.rows} == {
        "aa-1.jpg": "train", "aa-3.dcm": "train", "bb-1.jpg": "val", "dd-1.jpg": "test"}  # fmt: skip
    dicom = reader.stored_image([Path(row.source).name for row in reader.rows].index("aa-3.dcm"))[0].astype(int)
    # darkest where the stored values are largest; flat beyond the window
    assert dicom[0, 0] == dicom[40, 100] == 0
    assert dicom[-1, -1] == dicom[-40, 100] == 255
    assert 100 < dicom[112, 112] < 155
    assert sorted(Path(entry["path"]).name for entry in report["bad_files"]) == ["cc-1.jpg", "unknown.jpg"]
    assert {entry["path"]: entry["reason"] for entry in report["left_out"]} == {
        f"{STUDY}/aa-2.jpg": "not a frontal view (PA or AP)",
        f"{STUDY}/aa-1.jpg": "an image of the same dicom_id stands before it",
    }
    reports, _ = prepare(MimicCxrReports())
    images = {row.patient for row in reader.rows if row.source.endswith(("aa-1.jpg", "aa-3.dcm"))}
    assert images == {reports.rows[0].patient}
    assert len({row.patient for row in reader.rows}) == 3
