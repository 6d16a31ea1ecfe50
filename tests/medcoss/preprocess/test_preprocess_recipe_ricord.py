"""RICORD: NIfTI of 1A and 1B in two folders, classes by the folder, splits by the published lists."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medcoss.preprocess.intensity import ricord
from medcoss.preprocess.serving import ServingPipeline
from medcoss.run import BadInput
from medcoss.specs.recipes.ricord import Ricord
from tests.medcoss.preprocess.files import Prepare, itk_image, put, volume_bytes
from tests.medcoss.preprocess.layouts import RICORD_A, RICORD_B, ricord_scan

SIZE = (16, 32, 32)
A, B = RICORD_A, RICORD_B
# names as they are published
FIRST = f"{A}/ID660042-000149_date10-19-2004_3.000000-NA-36469.nii.gz"
AGAIN = f"{A}/ID660042-000149_date10-21-2004_601.000000-COR-3X3-19359.nii.gz"
OTHER = f"{A}/IDSITE2-000046_date02-02-2002_2.000000-NA-44684.nii.gz"
NONE = f"{B}/ID440808-000011_date07-04-2002_601.000000-THORAX-LD-STD-AXIAL-3X3-.1896.nii.gz"


def put_scans(raw: Path, *names: str) -> None:
    for name in names:
        put(raw / name, volume_bytes(ricord_scan()))


def test_the_published_lists_decide(raw: Path, prepare: Prepare) -> None:
    put_scans(raw, FIRST, AGAIN, OTHER, NONE, f"{A}/nobody.nii.gz", "elsewhere/ID1-2_date.nii.gz")
    put(raw / "data_split" / "RICORD_train.txt", f"{FIRST} 1\n{NONE} 0\n".encode())
    put(raw / "data_split" / "RICORD_val.txt", b"")
    put(raw / "data_split" / "RICORD_test.txt", f"{OTHER} 1\n{A}/ID9-9_date_lost.nii.gz 1\n".encode())
    reader, report = prepare(Ricord(size=SIZE))
    assert reader.info.classes == ["negative", "covid"]
    assert {row.source: (row.split, row.label) for row in reader.rows} == {
        FIRST: ("train", 1), OTHER: ("test", 1), NONE: ("train", 0)}  # fmt: skip
    assert [entry["path"] for entry in report["left_out"]] == [AGAIN]
    assert {Path(entry["path"]).name for entry in report["bad_files"]} == {
        "nobody.nii.gz", "ID1-2_date.nii.gz", "ID9-9_date_lost.nii.gz"}  # fmt: skip
    assert report["ignored"] == []


def test_a_patient_is_in_one_split_without_lists(raw: Path, prepare: Prepare) -> None:
    put_scans(raw, FIRST, AGAIN, OTHER, NONE)
    nested = "MIDRC-RICORD-1B/MIDRC-RICORD-1B-440808-000011/10-19-2004-CT/2.nii.gz"
    put_scans(raw, nested)
    reader, _ = prepare(Ricord(size=SIZE, splits={"method": "random", "test_fraction": 0.4}))
    rows = {row.source: row for row in reader.rows}
    assert (rows[FIRST].patient, rows[FIRST].split) == (rows[AGAIN].patient, rows[AGAIN].split)
    assert rows[nested].patient == rows[NONE].patient
    assert len({row.patient for row in reader.rows}) == 3


@pytest.mark.parametrize(
    "line", [f"{A}/ID1-2_date.nii.gz 0", f"{B}/ID1-2_date.nii.gz", "ID1-2_date.nii.gz 1", "\udcff"]
)
def test_a_wrong_list_ends_the_job(raw: Path, prepare: Prepare, line: str) -> None:
    put_scans(raw, FIRST)
    put(raw / "RICORD_train.txt", line.encode(errors="surrogateescape"))
    with pytest.raises(BadInput, match=r"expected .*RICORD_train.txt|RICORD_train.txt.*expected"):
        prepare(Ricord(size=SIZE))


def test_a_volume_in_two_lists_ends_the_job(raw: Path, prepare: Prepare) -> None:
    put_scans(raw, FIRST)
    for name in ("train", "test"):
        put(raw / f"RICORD_{name}.txt", f"{FIRST} 1".encode())
    with pytest.raises(BadInput, match="another list"):
        prepare(Ricord(size=SIZE))


def test_intensities_grid_and_orientation(raw: Path, prepare: Prepare) -> None:
    # values that depend on z alone, and the same volume stored head first
    ramp = np.broadcast_to(np.linspace(-2000, 1000, 32)[:, None, None], (32, 40, 48)).astype(np.float32)
    turned = itk_image(ramp[::-1].copy(), (0.8, 0.8, 3.0), direction=(1, 0, 0, 0, 1, 0, 0, 0, -1))
    put(raw / FIRST, volume_bytes(itk_image(ramp, (0.8, 0.8, 3.0))))
    put(raw / OTHER, volume_bytes(turned))
    reader, _ = prepare(Ricord(size=SIZE))
    for image in (reader.stored_image(0), reader.stored_image(1)):
        assert image.dtype == np.float32
        # two slices become their mean
        assert np.allclose(image[0, :, 5, 7], ricord(ramp[:, 0, 0].reshape(16, 2).mean(1)), atol=1e-4)
    row = reader.rows[0]
    assert (row.slices, *row.spacing) == pytest.approx((16, 6.0, 0.8 * 40 / 32, 0.8 * 48 / 32))
    served = ServingPipeline(reader.info.recipe, reader.info.kind).volume((raw / FIRST).read_bytes(), "x.nii.gz")
    assert np.array_equal(served.windows[0], reader.stored_image(0))


def test_as_published(raw: Path, prepare: Prepare) -> None:
    image = ricord_scan((16, 32, 32))
    put(raw / FIRST, volume_bytes(image))
    reader, _ = prepare(Ricord(size=SIZE, published=True))
    # nothing to resize: what is left is the intensity rule and the swap of the in-plane axes
    expected = ricord(sitk.GetArrayFromImage(image).astype(np.float64)).swapaxes(1, 2)
    assert np.allclose(reader.stored_image(0)[0], expected, atol=1e-6)
    # what serving would make of it is another volume than what was trained on
    with pytest.raises(BadInput, match="prepared datasets only"):
        ServingPipeline(reader.info.recipe, reader.info.kind).volume((raw / FIRST).read_bytes(), "x.nii.gz")
