"""Vestibular schwannoma: folders of patients, or nnU-Net's, on the median spacing of the training cases."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from medcoss.preprocess.nnunet import median_spacing
from medcoss.specs.recipes.vs_seg import VsSeg
from tests.medcoss.preprocess.dicom_files import export
from tests.medcoss.preprocess.files import Prepare, dicom_bytes, put, volume_bytes
from tests.medcoss.preprocess.layouts import put_vs, vs_head

SIZE = (16, 64, 64)


@pytest.mark.parametrize("sequence", ["T1", "T2"])
def test_folders_of_patients(raw: Path, prepare: Prepare, sequence: str) -> None:
    for number in range(1, 6):
        put_vs(raw / "VS-SEG" / f"vs_gk_{number}", vs_head())
    (raw / "VS-SEG" / "vs_gk_5" / f"vs_gk_seg_ref{sequence}.nii.gz").unlink()
    reader, report = prepare(VsSeg(size=SIZE, sequence=sequence))
    names = {f"VS-SEG/vs_gk_{n}/vs_gk_{sequence.lower()}_ref{sequence}.nii.gz" for n in range(1, 5)}
    assert {row.source for row in reader.rows} == names
    assert len({row.source for row in reader.rows if row.split == "test"}) == 1
    assert ["/vs_gk_5/" in entry["path"] for entry in report["bad_files"]] == [True]
    other = {"T1": "vs_gk_t2_refT2.nii.gz", "T2": "vs_gk_t1_refT1.nii.gz"}[sequence]
    assert {Path(entry["path"]).name for entry in report["left_out"]} == {other, "vs_gk_t1_refT2.nii.gz"}
    image, mask = reader.stored_image(0)[0], reader.mask(0)
    assert mask is not None
    # cut to what is not 0, and as little is left only that is scored; a slice lies in the middle of its tile
    inside = image[:, 20:44, 20:44]
    assert (inside.mean(), inside.std()) == pytest.approx((0, 1), abs=1e-4)
    assert np.count_nonzero(image) == inside.size
    expected = np.zeros((1, *SIZE), np.uint8)
    expected[0, 4:8, 24:32, 26:34] = 1
    assert np.array_equal(mask, expected)


def test_the_layout_of_nnunet_and_the_median_spacing(raw: Path, prepare: Prepare) -> None:
    spacings = {"a": (0.5, 0.5, 1.5), "b": (0.5, 0.5, 1.5), "c": (1.0, 1.0, 1.5), "d": (0.5, 0.5, 1.5)}
    for name, spacing in spacings.items():
        image, labels = vs_head(spacing)
        put(raw / "Task061_VSseg" / "imagesTr" / f"{name}_0000.nii.gz", volume_bytes(image))
        put(raw / "Task061_VSseg" / "labelsTr" / f"{name}.nii.gz", volume_bytes(labels))
    put(raw / "Task061_VSseg" / "imagesTr" / "alone_0000.nii.gz", volume_bytes(image))
    reader, report = prepare(VsSeg(size=SIZE))
    assert [Path(entry["path"]).name for entry in report["bad_files"]] == ["alone_0000.nii.gz"]
    assert {row.spacing for row in reader.rows} == {(1.5, 0.5, 0.5)}
    assert len({row.patient for row in reader.rows}) == 4
    tumour = {Path(row.source).name[0]: reader.mask(n).sum() for n, row in enumerate(reader.rows)}  # type: ignore[union-attr]
    # twice the voxels an in-plane axis
    assert tumour["c"] == 4 * tumour["a"]


def structure_set(series: str, contours: list[tuple[int, list[tuple[float, float]]]], name: str = "TV") -> bytes:
    """An RTSTRUCT on a series of `export`: outlines of slice numbers and (column, row) points."""
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(np.zeros((2, 2), np.uint8), "MONOCHROME2")))
    for tag in ("PixelData", "Rows", "Columns"):
        delattr(dataset, tag)
    dataset.Modality, dataset.SOPInstanceUID, dataset.SeriesInstanceUID = "RTSTRUCT", f"{series}.77", f"{series}.7"
    of_series, study, frame, roi, drawn, other = (Dataset() for _ in range(6))
    of_series.SeriesInstanceUID, study.RTReferencedSeriesSequence = series, [of_series]
    frame.RTReferencedStudySequence, dataset.ReferencedFrameOfReferenceSequence = [study], [frame]
    roi.ROINumber, roi.ROIName, other.ROINumber, other.ROIName = 2, name, 1, "cochlea"
    dataset.StructureSetROISequence = [other, roi]
    drawn.ReferencedROINumber, drawn.ContourSequence = 2, []
    for number, points in contours:
        one = Dataset()
        one.ContourGeometricType, one.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
        one.ContourData = [v for x, y in points for v in (-30 + 0.8 * x, 20 + 0.7 * y, 7 + 2.5 * number)]
        drawn.ContourSequence.append(one)
    dataset.ROIContourSequence = [drawn]
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def box(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def put_tcia(raw: Path) -> None:
    """Two outlined cases, and those that cannot be used."""
    voxels = sitk.GetArrayFromImage(vs_head()[0]).astype(np.int16)
    outlines = [(z, box(13.5, 11.5, 21.5, 19.5)) for z in range(6, 10)]
    hole = (6, box(15.5, 13.5, 17.5, 15.5))
    bad = {
        "NOSET": None,
        "OTHER": structure_set("1.9.13", outlines, "skull"),
        "BETWEEN": structure_set("1.9.14", [(6.5, outlines[0][1])]),  # type: ignore[list-item]
        "OUTSIDE": structure_set("1.9.15", [(25, outlines[0][1])]),
        "NOTHING": structure_set("1.9.16", []),
    }
    sets = {"001": structure_set("1.9.10", [*outlines, hole]), "002": structure_set("1.9.11", outlines)} | bad
    for number, (case, structures) in enumerate(sets.items(), start=10):
        study = raw / "Vestibular-Schwannoma-SEG" / f"VS-SEG-{case}" / "06-18-2009-K Gamma-57601"
        for kind, uid in (("t1_mpr_sag", f"1.9.{number}"), ("t2_ci3d", f"1.8.{number}")):
            export(study / f"2.0-{kind}", voxels, series=uid, order=0, Modality="MR", PatientID=f"VS-SEG-{case}",
                   SeriesDescription=kind, RescaleSlope=None, RescaleIntercept=None)  # fmt: skip
        if structures:
            put(study / "1.0-RTSTRUCT" / "1-1.dcm", structures)
    put(raw / "lost" / "1-1.dcm", structure_set("1.9.99", outlines))


def test_dicom_as_tcia_hands_it_out(raw: Path, prepare: Prepare) -> None:
    put_tcia(raw)
    reader, report = prepare(VsSeg(size=SIZE), max_bad_fraction=0.9)

    of = {row.source.split("/")[1]: n for n, row in enumerate(reader.rows)}
    assert of.keys() == {"VS-SEG-001", "VS-SEG-002"}
    assert len({row.patient for row in reader.rows}) == 2
    assert reader.rows[0].spacing == pytest.approx((2.5, 0.7, 0.8))
    expected = np.zeros((1, *SIZE), np.uint8)
    expected[0, 4:8, 24:32, 26:34] = 1
    assert np.array_equal(reader.mask(of["VS-SEG-002"]), expected)
    expected[0, 4, 26:28, 28:30] = 0
    assert np.array_equal(reader.mask(of["VS-SEG-001"]), expected)
    reasons = {
        (e["path"].split("/")[1].removeprefix("VS-SEG-"), Path(e["path"]).suffix): e["reason"]
        for e in report["bad_files"]
    }
    told = {("NOSET", ""): "0 RTSTRUCT files refer", ("OTHER", ".dcm"): "none of its 2 structures is called TV",
            ("BETWEEN", ".dcm"): "between the slices", ("OUTSIDE", ".dcm"): "outside its series",
            ("NOTHING", ".dcm"): "no voxel is outlined", ("1-1.dcm", ".dcm"): "not in the dataset"}  # fmt: skip
    assert reasons.keys() == told.keys()
    for key, reason in told.items():
        assert reason in reasons[key], key
    assert {e["reason"] for e in report["left_out"]} == {"not a T1 series"} and len(report["left_out"]) == 7


def test_a_coarse_axis_is_not_made_coarser_than_need_be() -> None:
    spacings = np.array([[z, 0.5, 0.5] for z in (2.0, 4.0, 6.0)])
    shapes = np.array([[30, 200, 200]] * 3)
    assert median_spacing(spacings, shapes) == pytest.approx((2.4, 0.5, 0.5))
    # as many slices as rows: the axis is no stack of thick slices
    assert median_spacing(spacings, shapes * [5, 1, 1]) == (4.0, 0.5, 0.5)
