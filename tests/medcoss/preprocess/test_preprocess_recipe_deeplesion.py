"""DeepLesion: folders of 16-bit slices with gaps in their numbers, and a table with a row a lesion."""

from pathlib import Path

import numpy as np
import pytest

from medcoss.run import BadInput
from medcoss.specs.recipes.deeplesion import Deeplesion
from tests.medcoss.preprocess.files import Prepare, image_bytes, put

# the columns as published, in their order
HEADER = (
    "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,Bounding_boxes,"
    "Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,Possibly_noisy,Slice_range,Spacing_mm_px_,"
    "Image_size,DICOM_windows,Patient_gender,Patient_age,Train_Val_Test"
)


def row(series: str, key_slice: int, split: int, spacing: str = "2, 2, 2.5") -> str:
    patient, study, number = (int(part) for part in series.split("_"))
    return (
        f'{series}_{key_slice:03}.png,{patient},{study},{number},{key_slice},"233.5, 95.0, 234.2, 106.9, 231.9, 98.8, '
        f'236.6, 99.8","226.9, 90.0, 241.6, 111.9","11.9, 4.7","0.44, 0.28, 0.65",3,0,"{key_slice - 6}, '
        f'{key_slice + 6}","{spacing}","40, 50","-175, 275",F,62.0,{split}'
    )


def put_slice(folder: Path, number: int, hu: int, size: tuple[int, int] = (40, 50)) -> None:
    pixels = np.full(size, 32768 + hu, np.uint16)
    pixels[: size[0] // 2] -= 100
    put(folder / f"{number:03}.png", image_bytes(pixels))


def test_files_as_published(raw: Path, prepare: Prepare) -> None:
    images = raw / "Images_png"
    lines = [row("000001_01_01", 106, 3), row("000001_01_01", 206, 3), row("000001_02_01", 20, 3),
             row("000002_01_01", 8, 2), row("000003_01_01", 8, 1), row("000004_01_01", 8, 1)]  # fmt: skip
    put(raw / "DL_info.csv", "\r\n".join([HEADER, *lines, ""]).encode())
    for number in range(100, 113):
        put_slice(images / "000001_01_01", number, 10 * (number - 100))
    for number in range(200, 204):
        put_slice(images / "000001_01_01", number, 0)
    for number in range(1, 14):
        put_slice(images / "000001_02_01", number, 3000)
        put_slice(images / "000002_01_01", number, 50)
        put_slice(images / "000003_01_01", number, 60, (40, 50) if number != 7 else (41, 50))
        put_slice(images / "000004_01_01", number, 70)
    put(images / "000004_01_01" / "005.png", image_bytes(np.zeros((40, 50), np.uint8)))
    put_slice(images / "000009_01_01", 1, 0)
    put(images / "about.txt", b"")

    reader, report = prepare(Deeplesion())

    assert reader.info.sample_shape == [1, 16, 192, 192]
    assert {(Path(row.source).parent.name, row.split) for row in reader.rows} == {
        ("000001_01_01", "test"), ("000001_02_01", "test"), ("000002_01_01", "val")}  # fmt: skip
    patients = {Path(row.source).parent.name: row.patient for row in reader.rows}
    assert patients["000001_01_01"] == patients["000001_02_01"] != patients["000002_01_01"]
    first = next(i for i, row in enumerate(reader.rows) if row.source.endswith("100.png"))
    tile, found = reader.stored_image(first)[0], reader.rows[first]
    # 13 slices of 2.5 mm, on 1 mm; 24 of them on 16; the topmost slice comes last
    assert (found.slices, found.offset) == (32, 0)
    means = tile[:, 96:].mean(axis=(1, 2)) * 1024
    assert (np.diff(means) < 0).all()
    assert np.diff(means)[3:-3].mean() == pytest.approx(-10 / 2.5 * 1.5, rel=0.05)
    assert tile[:, 100:].mean() - tile[:, :92].mean() == pytest.approx(100 / 1024, rel=0.02)
    clipped = next(i for i, row in enumerate(reader.rows) if "000001_02_01" in row.source)
    assert reader.stored_image(clipped).max() == 1
    bad = {entry["path"].removeprefix("Images_png/"): entry["reason"] for entry in report["bad_files"]}
    assert "different sizes (40 x 50, 41 x 50)" in bad["000003_01_01/001.png"]
    assert "expected 16-bit grey" in bad["000004_01_01/005.png"]
    assert "no row of a series" in bad["000009_01_01/001.png"]
    assert len(bad) == 3
    assert [entry["path"] for entry in report["left_out"]] == ["Images_png/000001_01_01/200.png"]


def test_the_table_is_needed(raw: Path, prepare: Prepare) -> None:
    put_slice(raw / "000001_01_01", 1, 0)
    with pytest.raises(BadInput, match=r"there is no DL_info.csv"):
        prepare(Deeplesion())
    put(raw / "DL_info.csv", f"{HEADER}\n{row('000001_01_01', 1, 1, '1, 1, 0')}\n".encode())
    with pytest.raises(BadInput, match=r"expected three lengths above 0 mm"):
        prepare(Deeplesion())


def test_as_published_the_axes_are_swapped(raw: Path, prepare: Prepare) -> None:
    put(raw / "DL_info.csv", f"{HEADER}\n{row('000001_01_01', 6, 1)}\n".encode())
    for number in range(1, 14):
        put_slice(raw / "000001_01_01", number, 0)
    reader, _ = prepare(Deeplesion(published=True))
    tile = reader.stored_image(0)[0]
    assert tile[:, :, 100:].mean() - tile[:, :, :92].mean() == pytest.approx(100 / 1024, rel=0.02)


def test_a_bad_row_costs_its_series_alone(raw: Path, prepare: Prepare) -> None:
    lines = [row("000001_01_01", 6, 1), row("000002_01_01", 6, 1, "1, 1, 0"), row("000003_01_01", 6, 1),
             row("000003_01_01", 7, 1, "1, 1, 1"), row("000001_01_01", 7, 9)]  # fmt: skip
    put(raw / "DL_info.csv", "\n".join([HEADER, *lines, ""]).encode())
    for number in range(1, 14):
        put_slice(raw / "000001_01_01", number, 0)
    for name in ("000002_01_01", "000003_01_01"):
        put_slice(raw / name, 1, 0)
    reader, report = prepare(Deeplesion(), max_bad_fraction=0.9)
    assert {row.source for row in reader.rows} == {"000001_01_01/001.png"}
    bad = {entry["path"]: entry["reason"] for entry in report["bad_files"]}
    assert "expected three lengths above 0 mm" in bad["DL_info.csv, line 3"]
    assert "line 3: Spacing_mm_px_ is 1, 1, 0" in bad["000002_01_01/001.png"]
    assert "differ from an earlier line" in bad["000003_01_01/001.png"]
    assert "not 1, 2 or 3" in bad["DL_info.csv, line 6"]
    assert len(bad) == 5
