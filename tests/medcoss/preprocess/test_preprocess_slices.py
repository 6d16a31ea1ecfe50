"""Folders of 16-bit PNG slices as DeepLesion is released, made to volumes."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from skimage.transform import resize

from medcoss.preprocess.slices import SliceSeries, read_dl_info, read_slice, slice_runs, volume_of_slices
from medcoss.preprocess.tiling import ct_tiles
from medcoss.preprocess.volumes import to_lps
from medcoss.run import BadInput
from tests.medcoss.preprocess.files import image_bytes

HEADER = "File_name,Patient_index,Study_index,Spacing_mm_px_,Slice_range,Train_Val_Test\n"
ROW = '000001_01_02_109.png,1,1,"0.488281, 0.488281, 5","103, 115",3\n'


def test_series_by_folder_name() -> None:
    found = read_dl_info((HEADER + ROW + ROW.replace("109", "111")).encode(), "DL_info.csv")
    assert found == {"000001_01_02": SliceSeries((5.0, 0.488281, 0.488281), "1", "test")}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("File_name,Spacing_mm_px_\n", "no column Patient_index, Train_Val_Test"),
        (HEADER + ROW.replace(" 5", " -5"), "line 2: Spacing_mm_px_ is 0.488281, 0.488281, -5; expected"),
        (HEADER + ROW.replace(", 5", ""), "three numbers"),
        (HEADER + ROW.replace(" 5", " nan"), "above 0 mm"),
        (HEADER + ROW.replace(",3\n", ",4\n"), "not 1, 2 or 3"),
        (HEADER + ROW.replace("_109.png", ".jpg"), "<series>_<slice>.png"),
        (HEADER + ROW + ROW.replace(" 5", " 1"), "line 3: spacing, patient or split of 000001_01_02 differ"),
    ],
)
def test_a_table_that_is_wrong_is_told(text: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        read_dl_info(text.encode(), "DL_info.csv")
    with pytest.raises(BadInput, match="not UTF-8"):
        read_dl_info(b"\xff\xfe", "DL_info.csv")


def test_runs_end_where_slices_are_missing() -> None:
    paths = [f"s/{n:03}.png" for n in (104, 103, 7, 9, 8, 105)]
    assert slice_runs(paths) == [[f"s/{n:03}.png" for n in run] for run in ((7, 8, 9), (103, 104, 105))]
    with pytest.raises(BadInput, match=r"s/007.png has the same slice number|s/7.png has the same"):
        slice_runs(["s/007.png", "s/7.png"])
    with pytest.raises(BadInput, match="not named by its slice number"):
        slice_runs(["s/key.png"])


def test_stored_values_become_hounsfield_units() -> None:
    values = np.array([[-32768, -1024], [0, 32767]])
    assert read_slice(image_bytes((values + 32768).astype(np.uint16)), "1.png").tolist() == values.tolist()
    whole = image_bytes(np.random.default_rng(0).integers(0, 65536, (40, 40)).astype(np.uint16))
    for data, reason in ((whole[:600], "damaged"), (b"", "an empty file"), (b"abc", "text"),
                         (image_bytes(np.zeros((2, 2), np.uint8)), "mode L; expected 16-bit")):  # fmt: skip
        with pytest.raises(BadInput, match=reason):
            read_slice(data, "1.png")


def test_the_volume_lies_as_the_patient_did() -> None:
    slices = [np.full((3, 4), n, np.int16) for n in range(5)]
    image = volume_of_slices(slices, (2.0, 0.7, 0.8), "s")
    assert image.GetSpacing() == (0.8, 0.7, 2.0)
    turned = sitk.GetArrayFromImage(to_lps(image))
    assert turned[:, 0, 0].tolist() == [4, 3, 2, 1, 0]
    with pytest.raises(BadInput, match="3 x 4, 4 x 4"):
        volume_of_slices([*slices, np.zeros((4, 4), np.int16)], (2.0, 0.7, 0.8), "s")


def test_from_slices_to_tiles() -> None:
    rng = np.random.default_rng(0)
    slices = [rng.integers(-1000, 1000, (50, 60)).astype(np.int16) for _ in range(20)]
    tiles = ct_tiles(volume_of_slices(slices, (2.0, 0.8, 0.8), "s"))
    assert [(tile.offset, tile.slices) for tile in tiles] == [(0, 40), (12, 40), (16, 40)]
    # the first tile begins at the feet
    head, feet = (
        np.corrcoef(tiles[0].voxels[0, 0].ravel(), resize(one.astype(float), (192, 192)).ravel())[0, 1]
        for one in (slices[0], slices[-1])
    )
    assert feet > 0.5 > abs(head)


def test_real_slices_are_those_of_their_nifti(real_data: Path) -> None:
    root = real_data / "ct_slices_png"
    ((name, series),) = read_dl_info((root / "DL_info.csv").read_bytes(), "DL_info.csv").items()
    (run,) = slice_runs(str(path) for path in (root / name).iterdir())
    image = to_lps(volume_of_slices([read_slice(Path(path).read_bytes(), path) for path in run], series.spacing, name))
    other = to_lps(sitk.ReadImage(str(real_data / "ct" / "totalseg_upper_abdomen_slab_512.nii.gz")))
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(other))
    assert image.GetSpacing() == pytest.approx(other.GetSpacing(), abs=1e-6)
    assert len(ct_tiles(image)) == 3
