"""TCGA: tiles in folders of patients, and a drawn slide by the portal's name."""

from collections import Counter
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Item
from medcoss.preprocess.recipes import tcga
from medcoss.specs.recipes.tcga import Tcga
from tests.medcoss.preprocess.files import Prepare, image_bytes, put

EOSIN, WHITE = (214, 130, 180), (243, 241, 244)


def tile(number: int) -> bytes:
    image = np.empty((64, 64, 3), np.uint8)
    image[...] = (200, number, 50)
    return image_bytes(image)


def put_slide(path: Path) -> None:
    """1024 x 1024 pixels of 0.5 um, tissue in the left half."""
    image: NDArray[np.uint8] = np.full((1024, 1024, 3), WHITE, np.uint8)
    image[:, :512] = EOSIN
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb", compression="deflate", resolution=(2e4, 2e4),
                     resolutionunit="CENTIMETER")  # fmt: skip


def put_tiles(raw: Path) -> None:
    for number in range(12):
        put(raw / "TCGA-BRCA" / "TCGA-3C-AALI" / f"{number}.png", tile(number))
    for number in range(3):
        put(raw / "TCGA-UVM" / "tcga_rz_ab0b_01z" / f"{number}.png", tile(100 + number))
        put(raw / "TCGA-UVM" / "again" / "TCGA-RZ-AB0B-01A" / f"{number}.png", tile(150 + number))
        put(raw / "other" / "patient 7" / f"{number}.png", tile(200 + number))


def test_tiles_of_patients(raw: Path, prepare: Prepare) -> None:
    put_tiles(raw)
    put(raw / "TCGA-BRCA" / "TCGA-3C-AALI" / "truncated.png", tile(1)[:-40])
    put(raw / "other" / "page.jpg", b"<html>")
    put(raw / "loose.png", tile(0))
    reader, report = prepare(Tcga(most_tiles=5))
    assert reader.info.sample_shape == [3, 224, 224]
    counts = Counter(row.patient for row in reader.rows)
    assert sorted(counts.values()) in ([3, 4, 5], [3, 5, 5])
    assert len({(row.patient, row.split) for row in reader.rows}) == len(counts)
    for i, row in enumerate(reader.rows):
        red, _, blue = reader.stored_image(i).mean(axis=(1, 2))
        assert (red, blue) == (200, 50), row.source
    bad = {entry["path"] for entry in report["bad_files"]}
    assert {"other/page.jpg", "loose.png"} <= bad <= {"other/page.jpg", "loose.png",
                                                      "TCGA-BRCA/TCGA-3C-AALI/truncated.png"}  # fmt: skip
    assert len(report["left_out"]) == 8 + 1


def test_the_draw_is_seeded_and_published_colours_are_swapped(raw: Path, prepare: Prepare) -> None:
    put_tiles(raw)
    reader, _ = prepare(Tcga(most_tiles=5, tile_seed=3, published=True))
    blue, _, red = reader.stored_image(0).mean(axis=(1, 2))
    assert (red, blue) == (200, 50)
    drawn = {row.source for row in reader.rows}
    again, other = ({entry.name for entry in tcga.plan(Tcga(most_tiles=5, tile_seed=seed), Raw(raw))
                     if isinstance(entry, Item)} for seed in (3, 4))  # fmt: skip
    assert again == drawn != other


def test_tiles_of_slides(raw: Path, prepare: Prepare) -> None:
    folder = raw / "TCGA-OV" / "0a1b"
    name = "TCGA-04-1331-01Z-00-DX1.6bdc2fae-0000-4000-8000-000000000000.svs"
    put_slide(folder / name)
    put_slide(folder / name.replace("DX1", "DX2"))
    put(folder / "TCGA-04-1332-01Z-00-DX1.svs", b"no slide")
    put(folder / "slide.svs", b"")
    reader, report = prepare(Tcga(most_tiles=12, tissue=0.9), max_bad_fraction=0.9)
    # 2 columns of 4 rows of a slide are tissue; the two slides are one patient
    assert len(reader) == 12
    assert len({row.patient for row in reader.rows}) == 1
    for i in range(0, len(reader), 3):
        np.testing.assert_allclose(reader.stored_image(i).mean(axis=(1, 2)), EOSIN, atol=15)
    reasons = {Path(entry["path"]).name: entry["reason"] for entry in report["bad_files"]}
    assert "OpenSlide cannot read" in reasons["TCGA-04-1332-01Z-00-DX1.svs"]
    assert "no barcode" in reasons["slide.svs"]
