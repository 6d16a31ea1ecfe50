"""Every kind of bad input is named in the report with its reason, and the good one beside it is used."""

import io
import json
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from medcoss.run import BadInput
from medcoss.specs.preprocess import ImageFolder, OpeniReports, VolumeFolder
from medcoss.specs.recipes.dicom_export import DicomExport
from medcoss.specs.recipes.labelled_image_folder import LabelledImageFolder
from medcoss.specs.recipes.lits import Lits
from medcoss.specs.recipes.segmentation_pairs import SegmentationPairs
from tests.medcoss.preprocess.dicom_files import OBLIQUE, export
from tests.medcoss.preprocess.files import Prepare, dicom_bytes, image_bytes, itk_image, put, volume_bytes

Files = dict[str, bytes]
RNG = np.random.default_rng(0)
PNG, OTHER = (image_bytes(RNG.integers(0, 255, (32, 32), dtype=np.uint8)) for _ in range(2))
DICOM = dicom_bytes(RNG.integers(0, 255, (32, 32), dtype=np.uint8), "MONOCHROME2")
VOXELS = RNG.normal(0, 1, (16, 16, 16)).astype(np.float32)
NIFTI = volume_bytes(itk_image(VOXELS), ".nii")
PACKED = volume_bytes(itk_image(VOXELS))
LABELS = volume_bytes(itk_image((VOXELS > 1).astype(np.uint8)))


def with_voxel(value: float) -> bytes:
    changed = VOXELS.copy()
    changed[3, 4, 5] = value
    return volume_bytes(itk_image(changed))


def with_spacing(*spacing: float) -> bytes:
    changed = bytearray(NIFTI)
    struct.pack_into("<3f", changed, 80, *spacing)
    return bytes(changed)


def nrrd(*kept: str) -> bytes:
    """A volume whose header has of space and spacing what is given, and nothing else."""
    with tempfile.TemporaryDirectory() as root:
        sitk.WriteImage(itk_image(VOXELS), f"{root}/x.nrrd", useCompression=False)
        header, voxels = (Path(root) / "x.nrrd").read_bytes().split(b"\n\n", 1)
    lines = [line for line in header.split(b"\n") if not line.startswith(b"space")]
    return b"\n".join([*lines, *map(str.encode, kept)]) + b"\n\n" + voxels


def mha(spacing: str) -> bytes:
    with tempfile.TemporaryDirectory() as root:
        sitk.WriteImage(itk_image(VOXELS), f"{root}/x.mha", useCompression=False)
        header, voxels = (Path(root) / "x.mha").read_bytes().split(b"LOCAL\n", 1)
    lines = [line for line in header.split(b"\n") if not line.startswith(b"ElementSpacing")]
    return b"\n".join([*lines[:-1], *([spacing.encode()] if spacing else []), lines[-1]]) + b"LOCAL\n" + voxels


def tiff_of_pages() -> bytes:
    pages = [Image.fromarray(RNG.integers(0, 255, (32, 32), dtype=np.uint8)) for _ in range(2)]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    return file.getvalue()


def series(folder: str, uid: str, *odd: dict[str, Any], without: str = "", **tags: Any) -> Files:
    """A CT series of 11 slices in the order of their places, below `folder`, with `odd` slices and without one."""
    slices = (100 * np.arange(11)[:, None, None] + np.zeros((12, 9))).astype(np.int16)
    with tempfile.TemporaryDirectory() as root:
        export(Path(root), slices, series=uid, order=0, **tags)
        for number, changed in enumerate(odd, start=1):
            given = {"SOPInstanceUID": f"{uid}.9.{number}", "AcquisitionNumber": number} | changed
            size = given.pop("size", (12, 9))
            export(Path(root), slices[:1, : size[0], : size[1]], series=uid, order=0, **(tags | given))
        files = {path.relative_to(root).as_posix(): path.read_bytes() for path in Path(root).rglob("IM*")}
    return {f"{folder}/{name}": data for name, data in files.items() if not (without and name.endswith(without))}


IMAGES = ImageFolder(modality="xray", size=(32, 32))
MASKED = SegmentationPairs(modality="xray", size=(32, 32), label_names=("lung", "heart"))
VOLUMES = VolumeFolder(modality="mr", size=(16, 16, 16))
LABELLED = VolumeFolder(modality="mr", size=(16, 16, 16), label_suffix="_seg", label_names=("box",))
CT, GOOD_CT = DicomExport(modality="ct"), series("good", "1.2.3.8")
# the first file of the bad series, and the odd slice
FIRST, ADDED = "x/1.2.3.9-0/IM000", "x/1.2.3.9-1/IM000"
ONES = image_bytes(np.ones((32, 32), np.uint8))
PAIR = {"images/good.png": OTHER, "masks/good.png": ONES}
FOLDERS = LabelledImageFolder(size=(32, 32), table=None)
TABLE = LabelledImageFolder(size=(32, 32))
CASES: list[tuple[str, Any, Files, str, str]] = [
    ("truncated PNG", IMAGES, {"good.png": OTHER, "x.png": PNG[: len(PNG) // 2]}, "x.png", "damaged"),
    ("truncated DICOM", IMAGES, {"good.png": OTHER, "x.dcm": DICOM[:-500]}, "x.dcm", "no readable pixels"),
    ("zero bytes", IMAGES, {"good.png": OTHER, "x.png": b""}, "x.png", "an empty file"),
    ("no image", IMAGES, {"good.png": OTHER, "x.png": b"%PDF-1.7 .."}, "x.png", "a PDF document"),
    ("mask of another size", MASKED, {"images/good.png": OTHER, "masks/good.png": image_bytes(np.ones((32, 32),
     np.uint8)),
     "images/x.png": PNG, "masks/x.png": image_bytes(np.ones((31, 32), np.uint8))}, "masks/x.png",
     "expected the same size"),
    ("label out of range", MASKED, {"images/good.png": OTHER, "masks/good.png": image_bytes(np.ones((32, 32),
     np.uint8)),
     "images/x.png": PNG, "masks/x.png": image_bytes(np.full((32, 32), 7, np.uint8))}, "masks/x.png",
     "values 7; expected 0 to 2"),
    ("truncated gzip", VOLUMES, {"good.nii": NIFTI, "x.nii.gz": PACKED[: len(PACKED) // 2]}, "x.nii.gz",
     "damaged or truncated"),
    ("zero-byte volume", VOLUMES, {"good.nii": NIFTI, "x.nii": b""}, "x.nii", "the file is empty"),
    ("2D", VOLUMES, {"good.nii": NIFTI, "x.nii.gz": volume_bytes(sitk.GetImageFromArray(VOXELS[0]))}, "x.nii.gz",
     "has 2 dimensions"),
    ("4D", VOLUMES, {"good.nii": NIFTI, "x.nii.gz": volume_bytes(sitk.JoinSeries([itk_image(VOXELS)] * 2))},
     "x.nii.gz", "has 4 dimensions"),
    ("NaN", VOLUMES, {"good.nii": NIFTI, "x.nii.gz": with_voxel(np.nan)}, "x.nii.gz", "NaN or infinite"),
    ("infinite", VOLUMES, {"good.nii": NIFTI, "x.nii.gz": with_voxel(np.inf)}, "x.nii.gz", "NaN or infinite"),
    ("zero spacing", VOLUMES, {"good.nii": NIFTI, "x.nii": with_spacing(1, 0, 1)}, "x.nii", "spacing"),
    ("negative spacing", VOLUMES, {"good.nii": NIFTI, "x.nii": with_spacing(1, 1, -2)}, "x.nii", "spacing"),
    ("NRRD without spacing", VOLUMES, {"good.nii": NIFTI, "x.nrrd": nrrd()}, "x.nrrd", "gives no spacing"),
    ("NRRD in other units", VOLUMES, {"good.nii": NIFTI, "x.nrrd": nrrd("spacings: 1 1 2", 'units: "um" "um" "um"')},
     "x.nrrd", "the spacing in um; expected mm"),
    ("NRRD with a spacing of 0", VOLUMES, {"good.nii": NIFTI, "x.nrrd": nrrd("space dimension: 3",
     "space directions: (1,0,0) (0,0,0) (0,0,2)")}, "x.nrrd", "is 1, 0, 2; expected lengths above 0 mm"),
    ("MHA without spacing", VOLUMES, {"good.nii": NIFTI, "x.mha": mha("")}, "x.mha", "gives no spacing"),
    ("MHA with a negative spacing", VOLUMES, {"good.nii": NIFTI, "x.mha": mha("ElementSpacing = 1 -1 2")}, "x.mha",
     "is 1, -1, 2; expected lengths above 0 mm"),
    ("a TIFF of several pages", IMAGES, {"good.png": OTHER, "x.tif": tiff_of_pages()}, "x.tif", "has several pages"),
    ("a PNG with a damaged header", IMAGES, {"good.png": OTHER, "x.png": PNG[:16] + b"\xff" * 8 + PNG[24:]}, "x.png",
     "whose header is damaged"),
    ("CT without rescaling", CT, GOOD_CT | series("x", "1.2.3.9", RescaleIntercept=None, PatientID="P2"),
     FIRST, "has no Hounsfield units"),
    ("a rescale slope of 0", CT, GOOD_CT | series("x", "1.2.3.9", RescaleSlope=0, PatientID="P2"),
     FIRST, "RescaleSlope is 0"),
    ("duplicate names", VOLUMES, {"x.nii": NIFTI, "x.nii.gz": PACKED}, "x.nii", "x.nii.gz has the same name"),
    ("label map of another size", LABELLED, {"good.nii": NIFTI, "good_seg.nii.gz": LABELS, "x.nii.gz": with_voxel(9),
     "x_seg.nii.gz": volume_bytes(itk_image(np.zeros((15, 16, 16), np.uint8)))}, "x_seg.nii.gz",
     "expected the same grid"),
    ("label value out of range", LABELLED, {"good.nii": NIFTI, "good_seg.nii.gz": LABELS, "x.nii.gz": with_voxel(9),
     "x_seg.nii.gz": volume_bytes(itk_image(np.full((16, 16, 16), 5, np.uint8)))}, "x_seg.nii.gz",
     "holds the values 5"),
    ("a slice missing", CT, GOOD_CT | series("x", "1.2.3.9", without="IM005", PatientID="P2"), "x/1.2.3.9-0/IM004",
     "1 slice(s) are missing behind this one"),
    ("slices of two sizes", CT, GOOD_CT | series("x", "1.2.3.9", {"size": (10, 9)}, PatientID="P2"), FIRST,
     "2 sizes"),
    ("slices of two orientations", CT, GOOD_CT | series("x", "1.2.3.9", {"orientation": OBLIQUE}), ADDED,
     "orientations"),
    ("slices of two spacings", CT, GOOD_CT | series("x", "1.2.3.9", {"PixelSpacing": [1, 1]}), ADDED,
     "different spacings"),
    ("slices of two patients", CT, GOOD_CT | series("x", "1.2.3.9", {"PatientID": "P2"}), FIRST, "2 patients"),
    ("two slices at one place", CT, GOOD_CT | series("x", "1.2.3.9", {}), ADDED, "lies at the same place"),
    ("an image in no class folder", FOLDERS, {"a/good.png": OTHER, "x.png": PNG}, "x.png", "lies in no class folder"),
    ("an image twice in the table", TABLE, {"good.png": OTHER, "x.png": PNG,
     "labels.csv": b"file,label\ngood.png,a\nx.png,a\nx.png,b\n"}, "x.png", "different classes, patients or splits"),
    ("no image in the table", TABLE, {"good.png": OTHER, "x.csv": b"a,b\n",
     "labels.csv": b"file,label\ngood.png,a\nx.csv,b\n"}, "x.csv", "this is text"),
    ("two images of a mask", MASKED, {"images/x.png": PNG, "images/x.bmp": PNG, "masks/x.png": ONES},
     "images/x.bmp", "images/x.png has the same name"),
    ("two masks of an image", MASKED, PAIR | {"images/x.png": PNG, "masks/x.png": ONES, "masks/x.bmp": PNG},
     "masks/x.bmp", "masks/x.png has the same name"),
    ("a mask of fractions", MASKED, PAIR | {"images/x.png": PNG,
     "masks/x.tif": image_bytes(np.full((32, 32), 0.5, np.float32), "TIFF")}, "masks/x.tif", "whole numbers from 0 on"),
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "files", "path", "reason"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_a_bad_file_is_named_and_the_good_one_used(
    raw: Path, prepare: Callable[..., Any], recipe: Any, files: Files, path: str, reason: str
) -> None:
    for name, data in files.items():
        put(raw / name, data)
    reader, report = prepare(recipe)
    bad = {entry["path"]: entry["reason"] for entry in report["bad_files"]}
    assert bad.keys() == {path}
    assert reason in bad[path]
    assert len({row.source for row in reader.rows}) == 1
    with pytest.raises(BadInput, match="inputs cannot be used") as caught:
        prepare(recipe, max_bad_fraction=0.0)
    assert caught.value.where == path


HEADER = b"study_id,findings,impression\n"


@pytest.mark.parametrize(
    ("table", "reason"), [(b"\xff\xfe\x00bad", "not UTF-8"), (b"", "no column"), (b"uid,image\n1,x\n", "no column"),
                          (HEADER, "no rows below its header"),
                          (HEADER + b'1,"clear lungs,normal chest\n2,clear lungs,normal chest\n', "behind line 1")],
)  # fmt: skip
def test_an_unreadable_table_of_reports_ends_the_job(raw: Path, prepare: Prepare, table: bytes, reason: str) -> None:
    put(raw / "indiana_reports.csv", table)
    with pytest.raises(BadInput, match=reason):
        prepare(OpeniReports())


def test_a_report_that_a_comma_has_cut_is_named_by_its_line(raw: Path, prepare: Prepare) -> None:
    rows = b"1,the lungs are clear,normal chest\n2,the lungs, as before, are clear,normal chest\n3,the heart is big,,\n"
    put(raw / "r.csv", HEADER + rows)
    reader, report = prepare(OpeniReports())
    assert [row.source for row in reader.rows] == ["r.csv#1", "r.csv#3"]
    (bad,) = report["bad_files"]
    assert bad["path"] == "r.csv#line 3"
    assert "has 5 cells, the header 3" in bad["reason"]


def test_a_name_that_is_not_utf8_is_refused_and_the_rest_used(raw: Path, prepare: Prepare) -> None:
    put(raw / "good.png", OTHER)
    Path(os.fsdecode(os.fsencode(raw) + b"/bad\xff.png")).write_bytes(PNG)
    reader, report = prepare(IMAGES)
    assert [row.source for row in reader.rows] == ["good.png"]
    assert report["bad_files"] == [{"path": "bad\\udcff.png", "reason": "its name is not UTF-8; rename it"}]


def test_a_survey_without_a_case_tells_what_is_wrong_with_the_files(
    raw: Path, tmp_path: Path, prepare: Prepare
) -> None:
    put(raw / "x.png", PNG)
    with pytest.raises(BadInput, match="holds no NIfTI volumes"):
        prepare(Lits())
    put(raw / "volume-0.nii", NIFTI[:400])
    put(raw / "segmentation-0.nii", LABELS)
    with pytest.raises(BadInput, match=r"the first is volume-0\.nii: the file is truncated"):
        prepare(Lits())
    report = json.loads((tmp_path / "run/artifacts/report.json").read_text())
    assert [entry["path"] for entry in report["bad_files"]] == ["volume-0.nii"]
