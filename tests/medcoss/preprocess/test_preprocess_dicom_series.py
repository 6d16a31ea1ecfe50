"""A PACS export becomes volumes: grouped by headers, sorted by place, checked, read as GDCM reads it."""

import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import SecondaryCaptureImageStorage

from medcoss.preprocess.dicom_headers import NoSlice, SliceHeader
from medcoss.preprocess.dicom_series import Stack, group_series, stacks
from medcoss.preprocess.dicom_volume import on_slices, read_stack
from medcoss.preprocess.io import read_image
from medcoss.preprocess.volumes import to_lps
from medcoss.run import BadInput
from tests.medcoss.preprocess.dicom_files import AXIAL, OBLIQUE, enhanced, export, voxels
from tests.medcoss.preprocess.files import put

KEY = b"secret"


def grouped(root: Path) -> tuple[dict[str, list[SliceHeader]], dict[str, str]]:
    rejected: dict[str, str] = {}
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    found = group_series(root, paths, KEY, lambda path, error: rejected.__setitem__(path, error.message))
    return found, rejected


def only_stacks(root: Path) -> list[Stack]:
    series, rejected = grouped(root)
    assert not rejected and len(series) == 1
    return stacks(next(iter(series.values())))


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_voxels_and_geometry_are_those_of_gdcm(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    export(tmp_path, voxels(), orientation)
    (stack,) = only_stacks(tmp_path)
    mine = read_stack(stack, tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(next(tmp_path.iterdir()))))
    other = reader.Execute()
    assert stack.tilt == 0 and mine.GetSpacing() == pytest.approx((0.8, 0.7, 2.5), abs=1e-6)
    assert np.array_equal(sitk.GetArrayFromImage(mine), 2.0 * voxels() - 1024)
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(to_lps(mine), name)() == pytest.approx(getattr(to_lps(other), name)(), abs=1e-5), name
    assert np.array_equal(sitk.GetArrayFromImage(to_lps(mine)), sitk.GetArrayFromImage(to_lps(other)))


@pytest.mark.parametrize(
    ("folder", "nifti"),
    [("ct_dicom", "ct/totalseg_upper_abdomen_slab_512.nii.gz"), ("brain_mr_dicom", "brain_mr/brainix_flair.nii.gz")],
)
def test_real_series_are_those_of_gdcm_and_of_their_nifti(real_data: Path, folder: str, nifti: str) -> None:
    (stack,) = only_stacks(real_data / folder)
    mine = to_lps(read_stack(stack, real_data / folder))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(real_data / folder)))
    for other in (reader.Execute(), sitk.ReadImage(str(real_data / nifti))):
        turned = to_lps(other)
        assert np.array_equal(sitk.GetArrayFromImage(mine), sitk.GetArrayFromImage(turned))
        for name in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(mine, name)() == pytest.approx(getattr(turned, name)(), abs=1e-5), name


LOSSLESS = "1.2.840.10008.1.2.4.70"


def jpeg_lossless(path: Path) -> None:
    """Write a file again in the transfer syntax of many archives."""
    image = sitk.ReadImage(str(path), sitk.sitkInt16, imageIO="GDCMImageIO")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    reader.ReadImageInformation()
    for tag in reader.GetMetaDataKeys():
        image.SetMetaData(tag, reader.GetMetaData(tag))
    writer = sitk.ImageFileWriter()
    writer.SetFileName(f"{path}.dcm")
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.KeepOriginalImageUIDOn()
    writer.Execute(image)
    Path(f"{path}.dcm").replace(path)


def test_jpeg_lossless_slices_are_the_same(tmp_path: Path) -> None:
    export(tmp_path, voxels())
    for path in tmp_path.rglob("IM*"):
        jpeg_lossless(path)
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == LOSSLESS
    (stack,) = only_stacks(tmp_path)
    assert np.array_equal(sitk.GetArrayFromImage(read_stack(stack, tmp_path)), 2.0 * voxels() - 1024)
    image = read_image(path.read_bytes(), "a.dcm")
    assert image.shape == (12, 9) and (image.min(), image.max()) == (0, 255)
    path.write_bytes(path.read_bytes()[:-150])
    with pytest.raises(BadInput, match="no readable pixels"):
        read_stack(stack, tmp_path)


def test_series_are_grouped_over_folders_and_hashed(tmp_path: Path) -> None:
    export(tmp_path / "a", voxels(), series="1.2.3.4")
    export(tmp_path / "b", voxels(), series="1.2.3.5")
    put(tmp_path / "b" / "copy", next((tmp_path / "b" / "1.2.3.5-0").iterdir()).read_bytes())
    put(tmp_path / "DICOMDIR", b"no dicom")
    series, rejected = grouped(tmp_path)
    assert sorted(map(len, series.values())) == [6, 6]
    assert "copy of b/" in rejected["b/copy"] or any("copy of b/copy" in reason for reason in rejected.values())
    assert "no readable DICOM" in rejected["DICOMDIR"] and len(rejected) == 2
    headers = [header for headers in series.values() for header in headers]
    assert len({header.patient for header in headers}) == 1
    assert not any("P1" in repr(h) or "1.2.3.4." in h.series for h in headers)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda root: next(iter(root.glob("*/IM010"))).unlink(), r"1 slice\(s\) are missing behind this one"),
        (lambda root: export(root, voxels()[:1, :10], series="1.2.3.4", SOPInstanceUID="1.9",
                             ImagePositionPatient=[0, 0, 99], AcquisitionNumber=2), "2 sizes"),
        (lambda root: export(root, voxels()[:1], OBLIQUE, SOPInstanceUID="1.9", AcquisitionNumber=2), "orientations"),
        (lambda root: export(root, voxels()[:1], SOPInstanceUID="1.9", PixelSpacing=[1, 1], AcquisitionNumber=2),
         "different spacings"),
        (lambda root: export(root, voxels()[:1], SOPInstanceUID="1.9", PatientID="P2", AcquisitionNumber=2),
         "2 patients"),
        (lambda root: export(root, voxels()[:1], SOPInstanceUID="1.9", AcquisitionNumber=2), "lies at the same place"),
        (lambda root: export(root, voxels()[:1], SOPInstanceUID="1.9", ImagePositionPatient=[-30, 20, 8],
                             AcquisitionNumber=2), "mm apart; expected one distance|missing"),
        (lambda root: export(root, voxels()[:1], SOPInstanceUID="1.9", ImagePositionPatient=[-20, 20, 22],
                             AcquisitionNumber=2), "straight line"),
    ],
    ids=["gap", "size", "orientation", "spacing", "patient", "double", "uneven", "aside"],
)  # fmt: skip
def test_what_is_no_even_stack_is_refused(tmp_path: Path, change: Any, reason: str) -> None:
    export(tmp_path, voxels())
    change(tmp_path)
    with pytest.raises(BadInput, match=reason) as caught:
        only_stacks(tmp_path)
    assert caught.value.where and (tmp_path / caught.value.where).is_file()


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ImagePositionPatient": None}, "no ImagePositionPatient"),
        ({"SeriesInstanceUID": None}, "belongs to no series"),
        ({"PixelSpacing": [0, 1]}, "lengths above 0"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "right angles"),
    ],
)
def test_what_is_no_slice_is_rejected(tmp_path: Path, tags: dict[str, Any], reason: str) -> None:
    export(tmp_path, voxels()[:1], **tags)
    series, rejected = grouped(tmp_path)
    assert not series
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(*rejected.values())


def test_a_single_slice_is_refused(tmp_path: Path) -> None:
    export(tmp_path, voxels()[:1])
    with pytest.raises(BadInput, match="single slice"):
        only_stacks(tmp_path)


def test_what_exports_hold_beside_slices_is_left_out_and_is_not_bad(tmp_path: Path) -> None:
    export(tmp_path, voxels())
    beside = {
        "scout": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
        "radiograph": {"Modality": "DX", "ImagePositionPatient": None},
        "capture": {"SOPClassUID": SecondaryCaptureImageStorage, "ImagePositionPatient": None},
        "loop": {"NumberOfFrames": 3},
        "copy": {"SOPInstanceUID": "1.2.3.4.0.0"},
    }
    for number, (name, tags) in enumerate(beside.items(), 1):
        export(tmp_path / name, voxels()[:1], **({"SOPInstanceUID": f"1.9.{number}"} | tags))
    left_out: dict[str, BadInput] = {}
    # the copy comes last
    paths = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("IM*"))
    paths.sort(key=lambda path: "copy" in path)
    (series,) = group_series(tmp_path, paths, KEY, lambda path, error: left_out.update({path: error})).values()
    assert sorted(path.split("/")[0] for path in left_out) == sorted(beside)
    assert all(isinstance(error, NoSlice) and "left out" in error.message for error in left_out.values())
    assert len(stacks(series)[0].slices) == 6


def test_time_points_become_volumes(tmp_path: Path) -> None:
    for number in (10, 9):
        export(tmp_path, voxels(number), AcquisitionNumber=number, order=2)
    found = only_stacks(tmp_path)
    assert [stack.time for stack in found] == ["AcquisitionNumber 1", "AcquisitionNumber 2"]
    for stack, number in zip(found, (9, 10), strict=True):
        assert np.array_equal(sitk.GetArrayFromImage(read_stack(stack, tmp_path)), 2.0 * voxels(number) - 1024)


@pytest.mark.parametrize("shift", [-1.1, 0.7])
def test_a_tilted_gantry_is_put_upright(tmp_path: Path, shift: float) -> None:
    # a rod along z: in each slice it lies `shift` mm higher up than in the one before
    volume = np.zeros((6, 40, 9), np.int16)
    for number in range(6):
        place = 20 - number * shift / 0.7
        low = math.floor(place)
        volume[number, low : low + 2, 4] = [round(1000 * (low + 1 - place)), round(1000 * (place - low))]
    export(tmp_path, volume, shift=shift)
    (stack,) = only_stacks(tmp_path)
    assert stack.tilt == pytest.approx(math.degrees(math.atan(abs(shift) / 2.5)), abs=1e-3)
    image = read_stack(stack, tmp_path)
    array = sitk.GetArrayFromImage(image) + 1024
    rows = (array[:, :, 4] * np.arange(array.shape[1])).sum(axis=1) / array[:, :, 4].sum(axis=1)
    assert rows == pytest.approx(rows[0], abs=0.02)
    assert array.sum() == pytest.approx(2 * volume.sum(), rel=1e-3)
    assert image.TransformContinuousIndexToPhysicalPoint((4.0, rows[0], 0.0)) == pytest.approx(
        (-30 + 4 * 0.8, 20 + 20 * 0.7, 7.0), abs=0.02
    )
    # a mask of the upright rod lies in the stored slices where the rod does
    (back,) = on_slices((array > 600)[None], stack)
    assert back.shape == volume.shape
    for number, one in enumerate(back):
        (found, _) = np.nonzero(one)
        assert found.mean() == pytest.approx(20 - number * shift / 0.7, abs=1.01)


def test_frames_of_an_enhanced_file_are_slices(tmp_path: Path) -> None:
    volume = voxels()
    order = [3, 0, 5, 1, 4, 2]
    put(tmp_path / "many.dcm", enhanced(volume, order))
    (stack,) = only_stacks(tmp_path)
    image = read_stack(stack, tmp_path)
    assert image.GetSpacing() == (0.8, 0.7, 2.0) and image.GetOrigin() == (1.0, 2.0, 3.0)
    assert np.array_equal(sitk.GetArrayFromImage(image), volume - 1000.0)
    put(tmp_path / "many.dcm", enhanced(volume, order, NumberOfFrames=7))
    assert "describes 6 of 7 frames" in grouped(tmp_path)[1]["many.dcm"]


def test_headers_are_all_that_grouping_keeps_in_memory(tmp_path: Path) -> None:
    large = np.zeros((8, 1024, 1024), np.int16)
    export(tmp_path, large)
    tracemalloc.start()
    series, _ = grouped(tmp_path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(next(iter(series.values()))) == 8
    assert peak < large[0].nbytes / 4 and kept < 500_000


def test_pixels_that_are_cut_off_are_told_without_header_values(tmp_path: Path) -> None:
    export(tmp_path, voxels(), PatientName="Marker^Name")
    path = next(tmp_path.rglob("IM007"))
    path.write_bytes(path.read_bytes()[:-60])
    (stack,) = only_stacks(tmp_path)
    with pytest.raises(BadInput, match="no readable pixels") as caught:
        read_stack(stack, tmp_path)
    assert "Marker" not in str(caught.value)
    assert pydicom.dcmread(path, stop_before_pixels=True).PatientName == "Marker^Name"
