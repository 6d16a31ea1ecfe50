"""Every format of an answer says the same, and says where it belongs."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import highdicom as hd
import httpx
import numpy as np
import pyarrow as pa
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image

from medcoss.client.streams import events
from tests.inference.test_inference_answers import nifti, png
from tests.inference.test_inference_problems import problem
from tests.medcoss.preprocess.dicom_files import OBLIQUE, enhanced, export

NIFTI, ATRIUM, LUNGS = "application/gzip", "/v1/models/atrium/segment", "/v1/models/lungs/segment"
CLASSES = ["left_atrium", "wall"]


def zipped(folder: Path, pattern: str = "*") -> bytes:
    """The files of a folder as a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.glob(pattern)):
            archive.write(path, path.name)
    return buffer.getvalue()


def volume_of(answer: httpx.Response, folder: Path) -> sitk.Image:
    assert answer.status_code == 200, answer.text
    path = folder / "answer.nii.gz"
    path.write_bytes(answer.content)
    return sitk.ReadImage(str(path))


@pytest.fixture(scope="module")
def series(real_data: Path) -> Path:
    return real_data / "brain_mr_dicom"


@pytest.mark.parametrize("model", ["chest", "volumes"])
def test_vectors_are_the_same_in_every_format(gateway: httpx.Client, tmp_path: Path, model: str) -> None:
    data, url = png(5) if model == "chest" else nifti(tmp_path), f"/v1/models/{model}/embed"
    expected = np.array(gateway.post(url, content=data).json()["embedding"], np.float32)
    by_name = gateway.post(f"{url}?format=npy", content=data)
    by_accept = gateway.post(url, content=data, headers={"Accept": "text/html;q=0.9, application/x-npy"})
    assert by_name.headers["content-type"] == by_accept.headers["content-type"] == "application/x-npy"
    for answer in (by_name, by_accept):
        assert np.load(io.BytesIO(answer.content)) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    answer = gateway.post(url, content=data, headers={"Accept": "application/vnd.apache.arrow.stream"})
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.schema.metadata[b"model"] == model.encode()
    assert table["embedding"][0].as_py() == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-6)


def test_probabilities_as_files(gateway: httpx.Client) -> None:
    url = "/v1/models/chest/classify"
    expected = gateway.post(url, content=png(6)).json()["probabilities"]
    table = pa.ipc.open_stream(gateway.post(f"{url}?format=arrow", content=png(6)).content).read_all()
    assert table["class"].to_pylist() == list(expected)
    assert table["probability"].to_pylist() == pytest.approx(list(expected.values()), abs=1e-5)
    answer = gateway.post(f"{url}?format=npy", content=png(6))
    assert json.loads(answer.headers["x-class-names"]) == list(expected)
    assert np.load(io.BytesIO(answer.content)) == pytest.approx(list(expected.values()), abs=1e-5)
    refused = gateway.post(url, content=png(6), headers={"Accept": "application/pdf"})
    assert "application/x-npy" in problem(refused, 406)["detail"]


def test_a_series_gives_masks_in_its_own_geometry(gateway: httpx.Client, series: Path, tmp_path: Path) -> None:
    answer = gateway.post(ATRIUM, files={"file": ("series.zip", zipped(series))})
    mask = volume_of(answer, tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series)))
    image = reader.Execute()
    assert mask.GetSize() == image.GetSize()
    # GDCM sorts along the normal as well
    for of in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, of)() == pytest.approx(getattr(image, of)(), abs=1e-3)
    assert sum(json.loads(answer.headers["x-volume-ml"]).values()) > 0


def test_a_dicom_seg_refers_to_the_slices_that_hold_the_masks(
    gateway: httpx.Client, series: Path, tmp_path: Path
) -> None:
    data = zipped(series)
    answer = gateway.post(ATRIUM, content=data, headers={"Accept": "application/dicom"})
    assert answer.status_code == 200, answer.text
    seg = hd.seg.segread(io.BytesIO(answer.content))
    assert [seg.get_segment_description(n).segment_label for n in seg.segment_numbers] == CLASSES
    headers = {h.SOPInstanceUID: h for h in map(pydicom.dcmread, sorted(series.glob("*.dcm")))}
    first = next(iter(headers.values()))
    assert (seg.StudyInstanceUID, seg.PatientID) == (first.StudyInstanceUID, first.PatientID)
    assert seg.FrameOfReferenceUID == first.FrameOfReferenceUID

    mask = volume_of(gateway.post(ATRIUM, content=data), tmp_path)
    labels, origin = sitk.GetArrayFromImage(mask), np.array(mask.GetOrigin())
    uids = sorted(headers, key=lambda uid: np.linalg.norm(np.array(headers[uid].ImagePositionPatient) - origin))
    frames = seg.get_pixels_by_source_instance(uids, segment_numbers=[1, 2], assert_missing_frames_are_empty=True)
    assert frames.shape == (*labels.shape, 2)
    assert np.array_equal(frames[..., 1] > 0, labels == 2), "the later class, which nothing lies above"
    assert np.array_equal(frames.any(axis=-1), labels > 0)
    # each frame lies where its source lies
    for item in seg.PerFrameFunctionalGroupsSequence:
        source = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = item.PlanePositionSequence[0].ImagePositionPatient
        assert place == pytest.approx(headers[source].ImagePositionPatient, abs=1e-3)


def test_a_dicom_seg_of_an_enhanced_file_refers_to_its_frames(gateway: httpx.Client, tmp_path: Path) -> None:
    order = np.random.default_rng(5).permutation(18)
    volume = np.random.default_rng(4).integers(0, 3000, (18, 24, 20)).astype(np.int16)
    person = dict.fromkeys(("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"), "")
    data = enhanced(volume, order, Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1", AccessionNumber="",
                    ReferringPhysicianName="", **person)  # fmt: skip
    labels = sitk.GetArrayFromImage(volume_of(gateway.post(ATRIUM, content=data), tmp_path))
    answer = gateway.post(f"{ATRIUM}?format=dicom-seg", content=data)
    assert answer.status_code == 200, answer.text
    frames = hd.seg.segread(io.BytesIO(answer.content)).get_pixels_by_source_frame(
        "1.2.9", [*range(1, 19)], assert_missing_frames_are_empty=True
    )
    assert np.array_equal(frames.any(axis=-1), labels[order] > 0)


def test_a_dicom_seg_of_a_radiograph(gateway: httpx.Client, real_data: Path) -> None:
    data = (real_data / "xray" / "dicom" / "cr_mono1_10bit_real.dcm").read_bytes()
    answer = gateway.post(f"{LUNGS}?format=dicom-seg", content=data)
    assert answer.status_code == 200, answer.text
    seg, source = hd.seg.segread(io.BytesIO(answer.content)), pydicom.dcmread(io.BytesIO(data))
    frames = seg.get_pixels_by_source_instance(
        [source.SOPInstanceUID], ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    labels = np.asarray(Image.open(io.BytesIO(gateway.post(LUNGS, content=data).content)))
    assert np.array_equal(frames[0].any(axis=-1), labels > 0)


def test_input_that_is_no_dicom_has_no_dicom_seg(gateway: httpx.Client, tmp_path: Path) -> None:
    for url, data in ((ATRIUM, nifti(tmp_path)), (LUNGS, png(1))):
        document = problem(gateway.post(f"{url}?format=dicom-seg", content=data), 422)
        assert document["errors"][0]["pointer"] == "query:format" and "the input is none" in document["detail"]
    assert "png" in problem(gateway.post(f"{LUNGS}?format=nifti", content=png(1)), 422)["detail"]


def test_outlines_of_a_series_name_its_slices(gateway: httpx.Client, tmp_path: Path) -> None:
    tags = {"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}
    export(tmp_path, np.random.default_rng(4).integers(0, 3000, (18, 12, 9)).astype(np.int16), OBLIQUE, **tags)
    told = gateway.post(f"{ATRIUM}?format=contours", content=zipped(tmp_path, "*/*")).json()
    places = {h.SOPInstanceUID: h.ImagePositionPatient for h in map(pydicom.dcmread, tmp_path.rglob("IM*"))}
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    for one in told["classes"][0]["slices"]:
        wanted = np.dot(places[one["sop_instance_uid"]], normal)
        for polygon in one["polygons"]:
            assert np.array(polygon["points"]) @ normal == pytest.approx(wanted, abs=1e-2)


def area(points: list[list[float]]) -> float:
    """Of a flat polygon in space."""
    p = np.array(points)
    return float(np.linalg.norm(np.cross(p, np.roll(p, -1, axis=0)).sum(axis=0)) / 2)


def test_outlines_hold_what_the_masks_hold(gateway: httpx.Client, tmp_path: Path) -> None:
    data = nifti(tmp_path)
    told = gateway.post(f"{ATRIUM}?format=contours", content=data).json()
    amounts = gateway.post(f"{ATRIUM}?format=json", content=data).json()
    image = sitk.ReadImage(str(tmp_path / "scan.nii.gz"))
    assert (told["unit"], told["space"]) == ("mm", "LPS")
    for of, found in zip(told["classes"], amounts["found"], strict=True):
        assert of["name"] == found["name"]
        outside = [p for s in of["slices"] for p in s["polygons"] if not p["hole"]]
        holes = [p for s in of["slices"] for p in s["polygons"] if p["hole"]]
        assert outside and holes
        square_mm = sum(area(p["points"]) for p in outside) - sum(area(p["points"]) for p in holes)
        # outlines cut the corners of voxels
        assert square_mm * image.GetSpacing()[2] / 1000 == pytest.approx(amounts["volume_ml"][of["name"]], rel=0.2)
        for one in of["slices"]:
            for point in one["polygons"][0]["points"]:
                assert image.TransformPhysicalPointToContinuousIndex(point)[2] == pytest.approx(one["slice"], abs=1e-2)


def test_pictures_have_the_size_of_what_they_show(gateway: httpx.Client, tmp_path: Path) -> None:
    picture = Image.open(io.BytesIO(gateway.post(f"{LUNGS}?format=overlay", content=png(2, (90, 70))).content))
    assert (picture.size, picture.mode) == ((70, 90), "RGB")
    answer = gateway.post(f"{ATRIUM}?format=overlay&slice=3", content=nifti(tmp_path))
    assert (answer.headers["content-type"], answer.headers["x-slice"]) == ("image/png", "3")
    # 0.8 and 1.1 mm change places when the axes are turned to LPS: 50 x 40 voxels
    assert Image.open(io.BytesIO(answer.content)).size == (round(40 * 1.1 / 0.8), 50)
    wrong = problem(gateway.post(f"{ATRIUM}?format=overlay&slice=99", content=nifti(tmp_path)), 422)
    assert "0 to 24" in wrong["detail"]


def streamed(gateway: httpx.Client, url: str, data: bytes, **headers: str) -> list[Any]:
    with gateway.stream("POST", url, content=data, headers={"Accept": "text/event-stream"} | headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [*events(answer.iter_bytes())]


def test_progress_comes_before_the_answer(gateway: httpx.Client, tmp_path: Path) -> None:
    data = nifti(tmp_path, 70)
    *progress, last = streamed(gateway, f"{ATRIUM}?format=json", data)
    assert {sent.name for sent in progress} == {"progress"}
    infer = [sent.data for sent in progress if sent.data["stage"] == "infer"]
    assert [one["done"] for one in infer] == [0, 4, 8] and infer[-1]["total"] == 8
    assert last.name == "answer" and last.data["json"]["found"][0]["voxels"] > 0
    (*_, refused) = streamed(gateway, ATRIUM, b"x")
    assert (refused.name, refused.data["status"]) == ("problem", 422)
    assert refused.data["errors"][0]["pointer"] == "/file"


def test_page_of_a_model(gateway: httpx.Client) -> None:
    page = gateway.get("/v1/models/atrium").json()
    assert page["labels"] == [{"label": 1, "name": "left_atrium"}, {"label": 2, "name": "wall"}]
    assert page["inputs"] == [{"name": "image", "shape": [1, 16, 32, 48]}]
    assert page["outputs"] == [{"name": "logits", "shape": [2, 16, 32, 48]}]
    (call,) = page["endpoints"]
    assert call["formats"]["dicom-seg"] == "application/dicom"
    assert "curl" in call["curl"] and call["url"].endswith("/v1/models/atrium/segment")
    assert "NIfTI" in page["accepts"] and page["limits"]["voxels"] == 2**29
    problem(gateway.get("/v1/models/liver"), 404)
