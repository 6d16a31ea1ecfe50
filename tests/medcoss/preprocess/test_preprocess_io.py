"""Reading what hospitals keep: every format decodes to the right numbers, every bad file is named."""

import gzip
import random
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import convert_color_space

from medcoss.preprocess.io import describe, read_image, read_volume
from medcoss.run import BadInput
from tests.medcoss.preprocess.files import dicom_bytes, image_bytes, itk_image, volume_bytes

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (24, 32), dtype=np.uint8)
COLOUR = RNG.integers(0, 255, (24, 32, 3), dtype=np.uint8)
VOXELS = RNG.integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
NIFTI = volume_bytes(itk_image(VOXELS, (0.5, 0.75, 3.0)), ".nii")


def refused(data: bytes, name: str = "ward/scan.bin") -> str:
    """The reason for which a file is refused as image or volume, by its name."""
    read = read_volume if name.endswith((".nii", ".nii.gz", ".mha", ".nrrd")) else read_image
    with pytest.raises(BadInput) as caught:
        read(data, name)
    assert caught.value.where == name
    assert name in str(caught.value)
    return caught.value.message


# images


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
def test_lossless_images_keep_their_pixels(fmt: str, array: np.ndarray) -> None:
    assert np.array_equal(read_image(image_bytes(array, fmt), "a"), array)


def test_jpeg_of_a_real_xray(real_data: Path) -> None:
    path = sorted((real_data / "xray" / "train" / "normal").glob("*.jpg"))[0]
    found = read_image(path.read_bytes(), path.name)
    assert np.array_equal(found, np.asarray(Image.open(path)))
    assert found.dtype == np.uint8
    assert found.ndim == 2


def test_sixteen_bit_images_are_scaled_by_their_own_range() -> None:
    values = np.linspace(100, 60_100, 24 * 32).reshape(24, 32).astype(np.uint16)
    found = read_image(image_bytes(values), "a.png")
    assert (found.min(), found.max()) == (0, 255)
    assert np.abs(found - (values - 100.0) / 60_000 * 255).max() <= 0.51
    assert read_image(image_bytes(np.full((8, 8), 700, np.uint16)), "a.png").max() == 0


def test_the_content_decides_not_the_name() -> None:
    assert np.array_equal(read_image(image_bytes(GREY, "PNG"), "really.jpg"), GREY)


def test_transparency_and_palettes_become_colour() -> None:
    palette = Image.fromarray(COLOUR).quantize(16)
    assert np.array_equal(read_image(image_bytes(np.asarray(palette.convert("RGB"))), "a"), palette.convert("RGB"))
    opaque = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    assert np.array_equal(read_image(image_bytes(opaque), "a"), COLOUR)


# DICOM


def test_real_dicom_xrays(real_data: Path) -> None:
    folder = real_data / "xray" / "dicom"
    for name in ("cr_mono2_8bit.dcm", "cr_mono1_12bit.dcm", "cr_mono1_10bit_real.dcm"):
        dataset = pydicom.dcmread(folder / name)
        found = read_image((folder / name).read_bytes(), name)
        assert found.dtype == np.uint8
        assert (found.min(), found.max()) == (0, 255)
        assert found.shape == (dataset.Rows, dataset.Columns)
        sign = np.corrcoef(found.ravel(), dataset.pixel_array.ravel())[0, 1]
        # in MONOCHROME1 the highest value is black
        assert sign < -0.5 if dataset.PhotometricInterpretation == "MONOCHROME1" else sign > 0.5


def test_monochrome1_is_the_inverse_of_monochrome2() -> None:
    assert np.array_equal(
        read_image(dicom_bytes(GREY, "MONOCHROME1"), "a"), 255 - read_image(dicom_bytes(GREY, "MONOCHROME2"), "a")
    )


def test_dicom_window_is_applied() -> None:
    values = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    found = read_image(dicom_bytes(values, "MONOCHROME2", WindowCenter="500", WindowWidth="100"), "a").ravel()
    assert (found[:440] == 0).all()
    assert (found[560:] == 255).all()
    assert abs(int(found[500]) - 128) < 4


def test_dicom_voi_lut_is_applied_before_a_window() -> None:
    lut = Dataset()
    lut.LUTDescriptor = [10, 100, 16]
    lut.add_new("LUTData", "US", [n * n * 100 for n in range(10)])
    values = np.arange(95, 115, dtype=np.uint16).reshape(4, 5)
    window = {"WindowCenter": "0", "WindowWidth": "1"}
    found = read_image(dicom_bytes(values, "MONOCHROME2", VOILUTSequence=[lut], **window), "a").ravel()
    # values below and above the table take its first and last entry
    expected = np.clip(np.arange(95, 115) - 100, 0, 9) ** 2 / 81 * 255
    assert np.abs(found - expected).max() <= 0.5


def test_jpeg2000_slices_are_hounsfield_values_in_their_window(real_data: Path) -> None:
    path = real_data / "ct_dicom" / "IM-0001.dcm"
    dataset = pydicom.dcmread(path)
    centre, width = float(dataset.WindowCenter[0]), float(dataset.WindowWidth[0])
    hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    found = read_image(path.read_bytes(), path.name)
    assert found.shape == (512, 512)
    assert (found[hu < centre - width / 2 - 1] == 0).all()
    assert (found[hu > centre + width / 2 + 1] == 255).all()


def test_dicom_colour_is_rgb() -> None:
    assert np.array_equal(read_image(dicom_bytes(COLOUR, "RGB"), "a"), COLOUR)
    ybr = convert_color_space(COLOUR, "RGB", "YBR_FULL")
    found = read_image(dicom_bytes(ybr, "YBR_FULL"), "a")
    assert np.abs(found.astype(int) - COLOUR).max() <= 3, "converted once, not twice"
    deep = COLOUR.astype(np.uint16) * 256 + 77
    assert np.array_equal(read_image(dicom_bytes(deep, "RGB"), "a"), COLOUR)


def test_dicom_palette_is_looked_up() -> None:
    reds = np.arange(256, dtype=np.uint16)[::-1] * 256
    zeros = np.zeros(256, np.uint16)
    tags = {}
    for colour, table in (("Red", reds), ("Green", zeros), ("Blue", zeros)):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = table.astype("<u2").tobytes()
    found = read_image(dicom_bytes(GREY, "PALETTE COLOR", **tags), "a")
    assert np.array_equal(found[..., 0], 255 - GREY)
    assert not found[..., 1:].any()


def test_several_frames_are_refused() -> None:
    assert "several frames" in refused(dicom_bytes(GREY, "MONOCHROME2", NumberOfFrames="3"))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_dicom_names_no_header_value(real_data: Path) -> None:
    data = (real_data / "ct_dicom" / "IM-0001.dcm").read_bytes()
    patient = str(pydicom.dcmread(real_data / "ct_dicom" / "IM-0001.dcm", stop_before_pixels=True).PatientName)
    message = refused(data[: len(data) // 2])
    assert "no readable pixels" in message
    assert patient not in message


def test_odd_header_values_are_not_warned_about(recwarn: pytest.WarningsRecorder) -> None:
    data = dicom_bytes(GREY, "MONOCHROME2", PatientBirthDate="19700101")
    read_image(data.replace(b"19700101", b"J. Smith"), "a")
    assert not [warning for warning in recwarn if "Smith" in str(warning.message)]


# bad images


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"this is no picture\n" * 10, "text"),
        ("Kein Bild, sondern ein Befund: \u00e4\u00f6\u00fc".encode() * 100, "text"),
        (b"\xff\x00\xfe\x01" * 300, "data of an unknown format"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"PK\x03\x04 ...", "a zip archive"),
    ],
)
def test_what_is_no_image_is_described(data: bytes, found: str) -> None:
    message = refused(data, "notes.png")
    assert found in message
    assert "expected a PNG" in message
    assert describe(data) == found


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "TIFF", "BMP"])
def test_truncated_images_are_damaged(fmt: str) -> None:
    data = image_bytes(GREY, fmt)
    assert "damaged" in refused(data[: len(data) // 2], f"a.{fmt.lower()}")


def test_images_with_nan_are_refused() -> None:
    values = GREY.astype(np.float32)
    values[3, 4] = np.nan
    assert "NaN" in refused(image_bytes(values, "TIFF"), "a.tif")


DAMAGED = [
    image_bytes(GREY, "PNG"),
    image_bytes(GREY, "JPEG"),
    image_bytes(GREY, "TIFF"),
    image_bytes(COLOUR, "TIFF", compression="tiff_lzw"),
    image_bytes(GREY.astype(np.uint16) * 200, "PNG"),
    dicom_bytes(GREY, "MONOCHROME1"),
    dicom_bytes(COLOUR, "RGB"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(DAMAGED), st.integers(0, 2**32))
def test_damaged_images_are_read_or_refused_but_never_crash(data: bytes, seed: int) -> None:
    damage = random.Random(seed)
    changed = bytearray(data[: damage.randrange(len(data))] if damage.random() < 0.3 else data)
    for _ in range(damage.randrange(8)):
        if changed:
            changed[damage.randrange(len(changed))] = damage.randrange(256)
    try:
        found = read_image(bytes(changed), "a.png")
    except BadInput as error:
        assert error.where == "a.png"
    else:
        assert found.dtype == np.uint8
        assert found.ndim in (2, 3)


def test_dicom_that_names_two_encodings_and_no_colours_is_refused() -> None:
    # a byte of the UID has become the mark between values, and the colours' tag another one
    data = dicom_bytes(GREY, "MONOCHROME1").replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008\\1.2.1")
    assert "no readable pixels (AttributeError)" in refused(data.replace(b"\x28\x00\x04\x00CS", b"\x29\x00\x04\x00CS"))


# volumes


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_volumes_keep_voxels_and_geometry(suffix: str) -> None:
    direction = (0, 1, 0, 1, 0, 0, 0, 0, -1)
    image = itk_image(VOXELS, (0.5, 0.75, 3.0), (10.0, -20.0, 30.0), direction)
    found = read_volume(volume_bytes(image, suffix), f"case{suffix}")
    assert np.array_equal(sitk.GetArrayFromImage(found), VOXELS)
    assert found.GetSpacing() == pytest.approx(image.GetSpacing())
    assert found.GetOrigin() == pytest.approx(image.GetOrigin())
    assert found.GetDirection() == pytest.approx(image.GetDirection())


def test_volume_content_decides_not_the_name() -> None:
    data = volume_bytes(itk_image(VOXELS), ".mha")
    assert np.array_equal(sitk.GetArrayFromImage(read_volume(data, "case.nii")), VOXELS)


def test_header_scaling_of_a_real_volume_is_applied(real_data: Path) -> None:
    path = sorted((real_data / "la_mr").glob("*[A-Z0-9].nii.gz"))[0]
    raw = gzip.decompress(path.read_bytes())
    slope, intercept = struct.unpack_from("<2f", raw, 112)
    offset = int(struct.unpack_from("<f", raw, 108)[0])
    assert slope not in (0.0, 1.0)
    stored = np.frombuffer(raw, "<i2", offset=offset)
    found = sitk.GetArrayFromImage(read_volume(path.read_bytes(), path.name))
    assert np.allclose(found.ravel(), stored * np.float64(slope) + intercept, atol=1e-5)
    # the source was normalised to deviation 1 before it was cropped
    assert 0.5 < found.std() < 3


def test_a_fourth_axis_of_one_is_dropped() -> None:
    image = sitk.JoinSeries([sitk.GetImageFromArray(VOXELS)])
    assert np.array_equal(sitk.GetArrayFromImage(read_volume(volume_bytes(image), "a.nii.gz")), VOXELS)


def with_header(fmt: str, position: int, *values: float) -> bytes:
    changed = bytearray(NIFTI)
    struct.pack_into(fmt, changed, position, *values)
    return bytes(changed)


def test_bad_volumes_are_named_with_their_fault() -> None:
    nan = VOXELS.astype(np.float32)
    nan[1, 2, 3] = np.nan
    series = sitk.JoinSeries([sitk.GetImageFromArray(VOXELS)] * 3)
    vectors = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.float32), isVector=True)
    packed = volume_bytes(itk_image(VOXELS))
    cases = [
        (b"", "empty"),
        (b"just words", "this is text"),
        (volume_bytes(sitk.GetImageFromArray(np.zeros((8, 9), np.float32))), "has 2 dimensions (9 x 8)"),
        (volume_bytes(series), "has 4 dimensions (6 x 5 x 4 x 3)"),
        (volume_bytes(itk_image(nan)), "NaN"),
        (volume_bytes(itk_image(np.full((3, 3, 3), np.inf, np.float32))), "infinite"),
        (volume_bytes(vectors), "vectors"),
        (volume_bytes(itk_image(VOXELS[:1])), "flat"),
        (packed[: len(packed) // 2], "truncated"),
        (NIFTI[:400], "truncated"),
        (NIFTI[:-1], "truncated"),
        (NIFTI[:100], "expected a NIfTI"),
        (with_header("<4h", 40, 3, 30_000, 30_000, 30_000), "truncated"),
        (with_header("<2h12f", 252, 0, 1, 1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0), "sheared"),
        (image_bytes(GREY), "a PNG image"),
    ]
    for data, fault in cases:
        assert fault in refused(data, "patient/case.nii.gz"), fault
    for suffix in (".mha", ".nrrd"):
        data = volume_bytes(itk_image(VOXELS), suffix)
        assert "damaged" in refused(data[: len(data) - 40], f"case{suffix}")


def test_headers_may_not_point_to_other_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(64))
    mha = f"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = {secret}\n"
    nrrd = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\ndata file: {secret}\n\n"
    for data, name in ((mha.encode(), "a.mha"), (nrrd.encode(), "a.nrrd"), (mha.encode(), "a.nii")):
        assert "another file" in refused(data, name)


def test_small_files_that_would_unpack_to_much_are_refused_before_they_do() -> None:
    nrrd = (
        b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 30000 30000 30000\nspacings: 1 1 1\nencoding: gzip\n\n"
        + gzip.compress(bytes(99))
    )
    assert "asks for 27,000,000,000,000 voxels" in refused(nrrd, "bomb.nrrd")
    mha = b"ObjectType = Image\nNDims = 3\nDimSize = 30000 30000 30000\nElementSpacing = 1 1 1\n"
    mha += b"ElementType = MET_UCHAR\nCompressedData = True\n"
    assert "voxels" in refused(mha + b"ElementDataFile = LOCAL\n" + bytes(99), "bomb.mha")
    with pytest.raises(BadInput, match="unpacks to over 1,049,376 bytes"):
        read_volume(gzip.compress(NIFTI + bytes(2**21)), "bomb.nii.gz", most_voxels=100)
    assert "pixels" in refused(dicom_bytes(GREY, "MONOCHROME2", Rows=60_000, Columns=60_000))
    assert "too large" in refused(image_bytes(np.zeros((20_000, 20_000), np.uint8)))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([".nii", ".nii.gz", ".mha", ".nrrd"]), st.integers(0, 2**32))
def test_damaged_volumes_are_read_or_refused_but_never_crash(suffix: str, seed: int) -> None:
    data, damage = DAMAGED_VOLUMES[suffix], random.Random(seed)
    changed = bytearray(data[: damage.randrange(len(data))] if damage.random() < 0.3 else data)
    for _ in range(damage.randrange(6)):
        if changed:
            changed[damage.randrange(min(len(changed), 352))] = damage.randrange(256)
    try:
        found = read_volume(bytes(changed), f"a{suffix}")
    except BadInput as error:
        assert error.where == f"a{suffix}"
    else:
        assert found.GetDimension() == 3


DAMAGED_VOLUMES = {suffix: volume_bytes(itk_image(VOXELS), suffix) for suffix in (".nii.gz", ".mha", ".nrrd")}
DAMAGED_VOLUMES[".nii"] = volume_bytes(itk_image(VOXELS.astype(np.float32)), ".nii")
