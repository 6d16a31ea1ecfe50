"""A PACS export as it comes: names that tell nothing, all series in one heap, scouts, copies and a DICOMDIR beside."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from medcoss.specs.recipes.dicom_export import DicomExport
from tests.medcoss.preprocess.dicom_files import export
from tests.medcoss.preprocess.files import Prepare, dicom_bytes, put

SECRETS = ("SECRETID", "SECRET^NAME", "SECRETPLACE", "1.2.840.99")
IDENTITY = {"PatientName": SECRETS[1], "InstitutionName": SECRETS[2], "StudyInstanceUID": SECRETS[3]}
LEVELS = np.arange(11, dtype=np.int16)[:, None, None] * np.ones((12, 9), np.int16)


def written(tmp_path: Path) -> bytes:
    """All that a run leaves: shards, manifest, tables, report and log."""
    places = [tmp_path / "out", tmp_path / "run"]
    return b"".join(path.read_bytes() for place in places for path in place.rglob("*") if path.is_file())


def test_ct_series_are_grouped_sorted_and_without_identity(raw: Path, prepare: Prepare, tmp_path: Path) -> None:
    export(raw / "heap", 512 + 20 * LEVELS, series="1.2.3.1", PatientID="SECRETID-1", **IDENTITY)
    export(raw / "heap", 512 + 20 * LEVELS, series="1.2.3.2", PatientID="SECRETID-1", **IDENTITY)
    export(raw / "heap", 700 + LEVELS, series="1.2.3.3", PatientID="SECRETID-2", **IDENTITY)
    export(raw / "gap", LEVELS, series="1.2.3.4", order=0, PatientID="SECRETID-3", **IDENTITY)
    (raw / "gap" / "1.2.3.4-0" / "IM009").unlink()
    export(raw / "mr", LEVELS, series="1.2.3.5", PatientID="SECRETID-4", Modality="MR", **IDENTITY)
    export(raw / "scout", LEVELS[:1], series="1.2.3.6", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **IDENTITY)
    export(raw / "thin", LEVELS[:3], series="1.2.3.7", PatientID="SECRETID-5", **IDENTITY)
    export(raw / "burned", LEVELS, series="1.2.3.8", PatientID="SECRETID-6", BurnedInAnnotation="YES", **IDENTITY)
    shutil.copy(raw / "heap" / "1.2.3.1-0" / "IM000", raw / "copy")
    put(raw / "DICOMDIR.txt", b"of the viewer")
    put(raw / "broken.dcm", b"no DICOM")

    reader, report = prepare(DicomExport(modality="ct"), max_bad_fraction=0.6)

    assert reader.info.sample_shape == [1, 16, 192, 192]
    assert {row.source for row in reader.rows} == {"volume 000001", "volume 000002", "volume 000003"}
    patients = {row.source: row.patient for row in reader.rows}
    assert patients["volume 000001"] == patients["volume 000002"] != patients["volume 000003"]
    assert len({row.split for row in reader.rows if row.patient == patients["volume 000001"]}) == 1
    first = [i for i, row in enumerate(reader.rows) if row.source == "volume 000001"]
    means = reader.stored_image(first[0])[0].mean(axis=(1, 2))
    # slope 2, intercept -1024: slices 40 HU and 2.5 mm apart, though files are in another order
    assert (np.diff(means) > 0).all()
    assert np.diff(means)[4:-4].mean() * 1024 == pytest.approx(40 / 2.5 * 24 / 16, rel=0.05)
    assert reader.rows[first[0]].slices == 28

    bad = {entry["path"]: entry["reason"] for entry in report["bad_files"]}
    assert set(bad) == {"gap/1.2.3.4-0/IM008", "broken.dcm"} | {path for path in bad if path.startswith("burned/")}
    assert "1 slice(s) are missing" in bad["gap/1.2.3.4-0/IM008"]
    assert len(bad) == 3
    out = " ".join(entry["reason"] for entry in report["left_out"])
    assert all(reason in out for reason in ("another modality", "localizer", "copy", "12 mm"))
    assert report["ignored"] == ["DICOMDIR.txt"]
    left = written(tmp_path)
    assert not [secret for secret in SECRETS if secret.encode() in left]
    assert not any(secret in repr(reader.rows) for secret in (*SECRETS, "1.2.3."))


def test_phases_of_mr_are_volumes_of_their_own(raw: Path, prepare: Prepare) -> None:
    for phase in (1, 2):
        export(raw, 100 * phase + LEVELS, Modality="MR", AcquisitionNumber=phase, RescaleSlope=None,
               RescaleIntercept=None)  # fmt: skip
    reader, report = prepare(DicomExport(modality="mr"))
    assert sorted({row.source for row in reader.rows}) == ["volume 000001", "volume 000002"]
    assert {row.slices for row in reader.rows} == {11}
    assert len({row.patient for row in reader.rows}) == 1
    assert not report["bad_files"]


def test_radiographs(raw: Path, prepare: Prepare, tmp_path: Path) -> None:
    bright = np.zeros((40, 30), np.uint8)
    bright[:20] = 200
    same = {"PatientID": SECRETS[0], "PatientName": SECRETS[1], "Modality": "DX"}
    put(raw / "SECRETID" / "1", dicom_bytes(bright, "MONOCHROME1", SOPInstanceUID="1.1", **same))
    put(raw / "SECRETID" / "2", dicom_bytes(bright, "MONOCHROME2", SOPInstanceUID="1.2", **same))
    put(raw / "b" / "1", dicom_bytes(bright, "MONOCHROME2", SOPInstanceUID="1.2", **same))
    put(raw / "b" / "2", dicom_bytes(bright, "MONOCHROME2", SOPInstanceUID="1.3", Modality="US"))
    put(raw / "b" / "3", dicom_bytes(bright, "MONOCHROME2", SOPInstanceUID="1.4", **same)[:-500])
    reader, report = prepare(DicomExport(modality="xray"))
    assert [row.source for row in reader.rows] == ["image 000001", "image 000002"]
    inverted, plain = (reader.stored_image(i) for i in range(2))
    assert inverted.shape == (1, 224, 224)
    assert inverted[0, 0, 0] == 0 == plain[0, -1, 0]
    assert inverted[0, -1, 0] == 255 == plain[0, 0, 0]
    assert len({row.patient for row in reader.rows}) == 1
    assert [entry["path"] for entry in report["bad_files"]] == ["b/3"]
    assert sorted(entry["path"] for entry in report["left_out"]) == ["b/1", "b/2"]
    assert not [secret for secret in SECRETS if secret.encode() in written(tmp_path)]
