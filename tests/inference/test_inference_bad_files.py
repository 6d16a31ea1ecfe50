"""Files that cannot be used are refused with the reason, and the gateway is well afterwards."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from tests.inference.test_inference_answers import nifti, png
from tests.inference.test_inference_formats import zipped
from tests.inference.test_inference_problems import problem
from tests.medcoss.preprocess.dicom_files import export
from tests.medcoss.preprocess.files import dicom_bytes, image_bytes, itk_image, put, volume_bytes
from tests.medcoss.preprocess.test_preprocess_dicom_series import jpeg_lossless

CHEST, ATRIUM = "/v1/models/chest/classify", "/v1/models/atrium/segment"
VOXELS = np.random.default_rng(0).integers(0, 3000, (18, 12, 9)).astype(np.int16)
COLOURS = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return buffer.getvalue()


def nan_volume() -> bytes:
    return volume_bytes(itk_image(np.where(VOXELS > 2900, np.nan, VOXELS).astype(np.float32)))


def four_axes() -> bytes:
    return volume_bytes(sitk.JoinSeries([itk_image(VOXELS), itk_image(VOXELS)]))


def with_syntax(uid: str) -> bytes:
    """A file whose pixels are said to be encoded in another way than they are."""
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(VOXELS[0].astype(np.uint16), "MONOCHROME2")))
    dataset.file_meta.TransferSyntaxUID = uid
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def large_png() -> bytes:
    """10,000 x 10,000 pixels, all black."""
    return image_bytes(np.zeros((10_000, 10_000), np.uint8), compress_level=1)


def nifti_bomb(side: int, more: int) -> bytes:
    """A header that asks for side^3 voxels, and many bytes that take no room."""
    header = bytearray(gzip.decompress(volume_bytes(itk_image(VOXELS)))[:352])
    struct.pack_into("<3h", header, 42, side, side, side)
    return gzip.compress(bytes(header) + bytes(more))


BAD: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("truncated PNG", CHEST, lambda: png(0)[:2000], "damaged"),
    ("truncated NIfTI", ATRIUM, lambda: volume_bytes(itk_image(VOXELS))[:-300], "truncated"),
    ("NIfTI for an image", CHEST, lambda: volume_bytes(itk_image(VOXELS), ".nii"), "expected a PNG"),
    ("PDF for a volume", ATRIUM, lambda: b"%PDF-1.7 " + bytes(2000), "this is a PDF document"),
    ("colour for grey", CHEST, lambda: image_bytes(COLOURS), "the image is coloured; the model reads grey ones"),
    ("NaN", ATRIUM, nan_volume, "NaN"),
    ("NaN in an image", CHEST, lambda: image_bytes(np.full((9, 9), np.nan, np.float32), "TIFF"), "NaN"),
    ("4D NIfTI", ATRIUM, four_axes, "4 dimensions"),
    ("empty zip", ATRIUM, lambda: archive(), "the zip archive is empty"),
    ("zip without DICOM", ATRIUM, lambda: archive(readme=b"no images here"), "no DICOM file"),
    ("zip for an image", CHEST, lambda: archive(readme=b"x"), "this is a zip archive"),
    ("truncated zip", ATRIUM, lambda: archive(a=bytes(2000))[:-30], "damaged or truncated"),
    ("zip bomb", ATRIUM, lambda: archive(a=bytes(80 * 2**20)), "made to fill a disk"),
    ("gzip bomb", ATRIUM, lambda: nifti_bomb(12, 64 * 2**20), "it unpacks to over"),
    ("endless volume", ATRIUM, lambda: nifti_bomb(4096, 0), "its header asks for 137,438,953,824 bytes, at most"),
    ("path out of a zip", ATRIUM, lambda: archive(**{"../x.dcm": b"x"}), "leads outside"),
    ("large image", CHEST, large_png, "100,000,000 pixels, at most 67,108,864"),
    ("MPEG-4", CHEST, lambda: with_syntax("1.2.840.10008.1.2.4.102"), "MPEG-4 AVC/H.264"),
    ("HTJ2K", CHEST, lambda: with_syntax("1.2.840.10008.1.2.4.201"), "High-Throughput JPEG 2000"),
    ("one slice", ATRIUM, lambda: with_syntax("1.2.840.10008.1.2.1"), "SeriesInstanceUID"),
]


@pytest.mark.parametrize(("url", "make", "words"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_bad_files(gateway: httpx.Client, url: str, make: Callable[[], bytes], words: str) -> None:
    answer = gateway.post(url, files={"file": ("scan", make())})
    document = problem(answer, 422)
    assert words in document["detail"], document["detail"]
    assert document["errors"][0]["pointer"] == "/file" and "scan" in document["detail"]
    assert gateway.post(CHEST, content=png(0)).status_code == 200


def test_grey_that_is_stored_as_colour_is_grey(gateway: httpx.Client) -> None:
    grey = np.random.default_rng(2).integers(0, 256, (40, 50), dtype=np.uint8)
    one, three = (image_bytes(pixels) for pixels in (grey, np.repeat(grey[..., None], 3, axis=2)))
    found = [gateway.post(CHEST, content=data).json()["probabilities"] for data in (one, three)]
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_series_that_are_no_volume(gateway: httpx.Client, tmp_path: Path) -> None:
    tags = {"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}

    def refused(folder: str) -> str:
        document = problem(gateway.post(ATRIUM, files={"file": ("mr.zip", zipped(tmp_path / folder, "*/*"))}), 422)
        return str(document["detail"])

    export(tmp_path / "ct", VOXELS)
    assert refused("ct").startswith("mr.zip: the modality of the series is CT; the model reads MR")
    export(tmp_path / "two", VOXELS, series="1.2.3.4", order=0, **tags)
    export(tmp_path / "two", VOXELS, series="1.2.3.5", order=0, AcquisitionNumber=2, **tags)
    for number, path in enumerate(sorted((tmp_path / "two").rglob("IM*"))):
        path.rename(path.with_name(f"{number:03}"))
    assert "it holds 2 series (18 slices of MR, 18 slices of MR)" in refused("two")
    export(tmp_path / "gap", VOXELS, order=0, **tags)
    next(iter(sorted((tmp_path / "gap").rglob("IM005")))).unlink()
    assert "1 slice(s) are missing" in refused("gap")
    export(tmp_path / "cut", VOXELS, order=0, **tags)
    cut = next(iter((tmp_path / "cut").rglob("IM005")))
    cut.write_bytes(cut.read_bytes()[:-20])
    assert "mr.zip: IM005: this DICOM file has no readable pixels" in refused("cut")


@pytest.mark.parametrize("syntax", ["JPEG 2000", "JPEG-LS", "RLE", "JPEG lossless", "JPEG"])
def test_compressed_pixels_are_decoded(gateway: httpx.Client, tmp_path: Path, syntax: str) -> None:
    smooth = np.add.outer(np.arange(40), 2 * np.arange(50))
    grey = smooth.astype(np.uint8) if syntax == "JPEG" else (smooth * 20).astype(np.uint16)
    known = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "SOPInstanceUID": "1.2.3", "Modality": "CR"}
    path = put(tmp_path / "x.dcm", dicom_bytes(grey, "MONOCHROME2", **known))
    plain, dataset = path.read_bytes(), pydicom.dcmread(path)
    if syntax == "JPEG lossless":
        jpeg_lossless(path)
    elif syntax in ("RLE", "JPEG-LS"):
        dataset.compress(RLELossless if syntax == "RLE" else JPEGLSLossless)
        dataset.save_as(path, enforce_file_format=True)
    else:
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless if syntax == "JPEG 2000" else JPEGBaseline8Bit
        encoded = image_bytes(grey, "JPEG2000", no_jp2=True) if syntax == "JPEG 2000" else image_bytes(grey, "JPEG")
        dataset.PixelData = pydicom.encaps.encapsulate([encoded])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path, enforce_file_format=True)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    found = [gateway.post(CHEST, content=data).json()["probabilities"] for data in (plain, path.read_bytes())]
    # of JPEG alone the pixels are not quite the same
    assert found[1] == pytest.approx(found[0], abs=0.1 if syntax == "JPEG" else 1e-5)


def test_over_long_text(gateway: httpx.Client) -> None:
    for sent in ({"json": {"text": "word1 " * 20_000}}, {"files": {"file": ("a.txt", b"word1 " * 20_000)}}):
        assert "120000 characters" in problem(gateway.post("/v1/models/reports/embed", **sent), 422)["detail"]
    plain = {"content": b"word1 word22 and then word3", "headers": {"Content-Type": "text/plain"}}
    by_json = gateway.post("/v1/models/reports/embed", json={"text": "word1 word22 and then word3"}).json()
    assert gateway.post("/v1/models/reports/embed", **plain).json()["embedding"] == pytest.approx(by_json["embedding"])
    latin = {"content": "Größe".encode("latin-1"), "headers": {"Content-Type": "text/plain"}}
    assert "UTF-8" in problem(gateway.post("/v1/models/reports/embed", **latin), 422)["detail"]


def test_a_volume_whose_slices_are_few_is_padded(gateway: httpx.Client, tmp_path: Path) -> None:
    assert gateway.post(ATRIUM, content=nifti(tmp_path, 3)).status_code == 200
