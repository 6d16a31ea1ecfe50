"""Tissue on a drawn slide, written as a pyramidal TIFF and read by OpenSlide: tiles show what was drawn there."""

import builtins
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from medcoss.preprocess import slides
from medcoss.preprocess.slides import open_slide
from medcoss.preprocess.tissue import TileRule, chosen, mpp_of, pen_mask, tile_places, tissue_mask
from medcoss.run import BadInput

WHITE, EOSIN, NUCLEI = (243, 241, 244), (214, 130, 180), (110, 70, 150)
PENS = {"red": (215, 40, 60), "green": (60, 180, 140), "blue": (40, 60, 190), "black": (20, 20, 25)}
SIDE = 4096
MPP = 0.5


def drawn() -> NDArray[np.uint8]:
    """Tissue in the upper left, a scrap of it, a pen stroke, a brown (DAB) patch, and dust on white."""
    rng = np.random.default_rng(0)
    slide = np.full((SIDE, SIDE, 3), WHITE, np.uint8)
    slide[256:2048, 256:2560] = EOSIN
    nuclei = (rng.random((224, 288)) < 0.2).repeat(8, 0).repeat(8, 1)
    slide[256:2048, 256:2560][nuclei] = NUCLEI
    slide[3000:3060, 400:460] = EOSIN
    slide[2500:2700, 600:3600] = PENS["green"]
    slide[3072:4096, 3072:4096] = (150, 105, 70)
    return np.clip(slide + rng.normal(0, 3, slide.shape), 0, 255).astype(np.uint8)


SLIDE = drawn()
OVERVIEW = SLIDE.reshape(256, 16, 256, 16, 3).mean(axis=(1, 3)).astype(np.uint8)


def write(path: Path, image: NDArray[np.uint8] = SLIDE, mpp: float | None = MPP, **options: Any) -> Path:
    """A tiled TIFF with levels at 1, 1/4 and 1/16."""
    with tifffile.TiffWriter(path) as out:
        for down in (1, 4, 16):
            level = image if down == 1 else image.reshape(len(image) // down, down, -1, down, 3).mean(axis=(1, 3))
            known: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate",
                                     "compressionargs": {"level": 1}}  # fmt: skip
            if mpp:
                known |= {"resolution": (1e4 / mpp / down,) * 2, "resolutionunit": "CENTIMETER"}
            out.write(level.astype(np.uint8), subfiletype=0 if down == 1 else 1, **(known | options))
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("slides") / "slide.tif")


def test_tissue_without_pen_dust_and_background() -> None:
    mask = tissue_mask(OVERVIEW, mpp=8.0)
    truth = np.zeros_like(mask)
    truth[16:128, 16:160] = truth[192:, 192:] = True
    assert (mask != truth).mean() < 0.005
    for colour in PENS.values():
        image = OVERVIEW.copy()
        image[60:80, 30:150] = colour
        stroke = tissue_mask(image, mpp=8.0)
        assert not stroke[56:84, 28:152].any() and stroke[30:50, 30:150].all()
        assert pen_mask(image)[60:80, 30:150].all() and not pen_mask(image)[16:50, 16:160].any()


@pytest.mark.parametrize("colour", [WHITE, EOSIN])
def test_a_slide_that_is_all_background_or_all_tissue(colour: tuple[int, int, int]) -> None:
    plain = np.clip(np.random.default_rng(0).normal(colour, 4, (200, 200, 3)), 0, 255).astype(np.uint8)
    assert tissue_mask(plain, 8.0).mean() == (colour == EOSIN)
    assert tissue_mask(np.full((50, 50, 3), 240, np.uint8), 8.0).sum() == 0


def test_real_tiles_with_tissue_and_without(real_data: Path) -> None:
    share = {}
    for folder in ("histolab_background_or_pen", "tcga_cr_7395"):
        for path in (real_data / "path" / folder).iterdir():
            small = Image.open(path).convert("RGB").resize((128, 128), Image.Resampling.BOX)
            share[path.name] = tissue_mask(np.asarray(small), 8.0, smallest_um=100, pen_margin_um=30).mean()
    listed = csv.DictReader((real_data / "path" / "manifest.csv").open())
    told = {
        Path(row["file"]).name: float(row["tissue_fraction"]) for row in listed if row["file"].startswith("tcga_cr")
    }
    assert max(share[name] for name in share.keys() - told.keys()) < 0.3
    assert np.median([abs(share[name] - told[name]) for name in told]) < 0.05
    assert min(share[name] for name in told) > 0.3


def test_tiles_are_those_with_enough_tissue() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:35] = True
    rule = TileRule(pixels=100, mpp=1.0, tissue=0.5)
    # a tile is 200 pixels of the finest level, 10 of the mask
    assert tile_places((1200, 800), 0.5, mask, rule) == [
        (200, 200), (400, 200), (600, 200), (200, 400), (400, 400), (600, 400),
    ]  # fmt: skip
    assert len(tile_places((1200, 800), 0.5, mask, TileRule(100, 1.0, 0.51))) == 4
    assert tile_places((1200, 800), 0.5, np.ones_like(mask), TileRule(300, 1.0)) == [(0, 0), (600, 0)]
    assert tile_places((90, 90), 0.5, np.ones((1, 1), bool), rule) == []
    assert tile_places((1200, 800), 0.5, np.zeros_like(mask), TileRule(100, 1.0, 0.0)) == []


def test_the_same_tiles_are_chosen_always() -> None:
    names = [f"slide:{n}" for n in range(300)]
    first = chosen(names, 100, seed=3)
    assert first == chosen(reversed(names), 100, seed=3) and len(set(first)) == 100
    assert set(first) != set(chosen(names, 100, seed=4)) and set(chosen(names, 50, seed=3)) < set(first)
    assert sorted(chosen(names[:7], 100, seed=3)) == sorted(names[:7])


@pytest.mark.parametrize("magnification", [20.0, 10.0, 5.0])
def test_tiles_of_a_slide(file: Path, magnification: float) -> None:
    rule = TileRule(pixels=128, mpp=mpp_of(magnification), tissue=0.9)
    side = int(128 * rule.mpp / MPP)
    with open_slide(file, "slide.tif") as slide:
        assert slide.size == (SIDE, SIDE) and slide.mpp == pytest.approx(MPP, rel=1e-3)
        places = slide.places(rule)
        assert all((x + side <= 2560 + 64 and y + side <= 2048 + 64) or min(x, y) >= 3072 for x, y in places)
        assert len(places) == pytest.approx((1792 * 2304 + 1024**2) / side**2, rel=0.25)
        for x, y in (places[0], places[-1]):
            tile = slide.tile((x, y), rule)
            there = SLIDE[y : y + side, x : x + side].reshape(128, side // 128, 128, -1, 3).mean(axis=(1, 3))
            assert tile.shape == (128, 128, 3) and np.abs(tile - there).mean() < 3


def test_magnifications_between_levels(file: Path) -> None:
    with open_slide(file, "slide.tif") as slide:
        tile = slide.tile((300, 300), TileRule(224, 0.8))
        assert tile.shape == (224, 224, 3)
        there = SLIDE[300 : 300 + 358, 300 : 300 + 358].mean(axis=(0, 1))
        assert np.abs(tile.mean(axis=(0, 1)) - there).max() < 2
        assert slide.overview(3.0).shape == (683, 683, 3)
        with pytest.raises(BadInput, match=r"scanned at 0.50 um a pixel; expected 0.25 or finer"):
            slide.places(TileRule(mpp=0.25))


def test_a_slide_without_coarse_levels_is_looked_over_in_strips(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(file, "slide.tif") as slide:
        at_once = slide.overview(16.0)
        monkeypatch.setattr(slides, "STRIP", 256 * 40)
        in_strips = slide.overview(16.0)
    assert at_once.shape == in_strips.shape == (128, 128, 3)
    assert np.abs(at_once.astype(int) - in_strips).mean() < 1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b"II*\0 no slide"), "OpenSlide cannot read"),
        (lambda path: path.write_bytes(b""), "OpenSlide cannot read"),
        (lambda path: write(path, SLIDE[:512, :512], mpp=None), "how large its pixels are"),
        (lambda path: write(path, SLIDE[:512, :512], resolution=(2e4, 1e4)), "expected squares"),
    ],
    ids=["text", "empty", "no size", "oblong"],
)
def test_what_is_no_slide_is_told(tmp_path: Path, make: Any, reason: str) -> None:
    make(tmp_path / "slide.tif")
    with pytest.raises(BadInput, match=reason) as caught, open_slide(tmp_path / "slide.tif", "a/slide.tif"):
        pass
    assert caught.value.where == "a/slide.tif" and str(tmp_path) not in str(caught.value)


def test_damaged_tiles_of_a_slide_are_told(tmp_path: Path, file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[20_000:60_000] = bytes(40_000)
    (tmp_path / "slide.tif").write_bytes(data)
    with open_slide(tmp_path / "slide.tif", "slide.tif") as slide, pytest.raises(BadInput, match="cannot be read"):
        slide.tile((0, 0), TileRule(1024, 0.5))


def test_without_openslide_it_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "openslide":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInput, match=r"medcoss\[slides\]"), open_slide(file, "slide.tif"):
        pass
