"""TCGA histology, seven projects: THYM, THCA, BRCA, UCEC, UVM, OV and MESO (https://portal.gdc.cancer.gov, open).

Expected layout, at any depth: tiles in a folder a patient, `TCGA-BRCA/TCGA-3C-AALI/<tile>.png`, or whole slides as
the portal names them, `TCGA-3C-AALI-01Z-00-DX1.<uuid>.svs` (SVS, NDPI, SCN, MRXS; by medcoss[slides]). The patient is
the first barcode in the path (its first three parts); of tiles without one, their folder.

Of a patient at most 100 tiles are taken, drawn by a seeded hash: of the tiles if there are any, else of the tissue on
all slides. Samples are uint8 (3, 224, 224), RGB (with `published` BGR), bicubic.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from heapq import heappush, heappushpop
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medcoss.modalities import Kind
from medcoss.preprocess.images import fitted_image
from medcoss.preprocess.io import read_image
from medcoss.preprocess.raw import Raw, folder_split
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.slides import open_slide
from medcoss.preprocess.tissue import TileRule, chosen, mpp_of
from medcoss.specs.names import IMAGE_SUFFIXES, has_suffix
from medcoss.specs.recipes.tcga import SLIDE_SUFFIXES, Tcga

_BARCODE = re.compile(r"tcga[-_]([0-9a-z]{2})[-_]([0-9a-z]{4})(?![0-9a-z])", re.I)


def describe(spec: Tcga) -> Described:
    """Colour tiles."""
    return Described(Kind.IMAGE2D, (3, *spec.size))


def plan(spec: Tcga, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every tile that is drawn, and one for all slides of a patient."""
    last = _last_drawn(spec, raw)
    for path in raw.files(IMAGE_SUFFIXES):
        patient = _patient(path)
        if patient is None:
            yield Rejected(path, "lies in no folder of a patient; expected <patient>/tile.png")
        elif _place(path, spec) <= last[patient]:
            yield Item(path, (path,), patient=patient, split=_split(path, spec))
        else:
            yield LeftOut(path, f"not among the {spec.most_tiles} tiles drawn of its patient")
    slides: dict[str, list[str]] = {}
    for path in raw.files(SLIDE_SUFFIXES):
        barcode = _barcode(path)
        if barcode is None:
            yield Rejected(path, "no barcode in its path; expected a name such as TCGA-3C-AALI-01Z-00-DX1.svs")
        elif barcode in last:
            yield LeftOut(path, "a slide of a patient whose tiles are there")
        else:
            slides.setdefault(barcode, []).append(path)
    for patient, paths in slides.items():
        yield Item(paths[0], tuple(paths), patient=patient, split=_split(paths[0], spec))


def make(spec: Tcga, item: Item, raw: Raw) -> Iterator[Made]:
    """One tile, or the tiles of all slides of a patient."""
    if not has_suffix(item.name, SLIDE_SUFFIXES):
        yield Made(fitted(read_image(raw.read(item.name), item.name), spec))
        return
    rule = TileRule(pixels=max(spec.size), mpp=mpp_of(spec.magnification), tissue=spec.tissue)
    with ExitStack() as stack:
        slides = [stack.enter_context(open_slide(raw.path(path), path)) for path in item.files]
        tiles = {f"{slide.name} {x} {y}": (slide, (x, y)) for slide in slides for x, y in slide.places(rule)}
        if not tiles:
            raise LeftOut(item.name, "no tile of the patient's slides has enough tissue")
        for name in sorted(chosen(tiles, spec.most_tiles, spec.tile_seed)):
            slide, place = tiles[name]
            yield Made(fitted(slide.tile(place, rule), spec))


def fitted(image: NDArray[np.uint8], spec: Tcga) -> NDArray[np.uint8]:
    """In colour and of the recipe's size: uint8 (3, H, W), bicubic; serving does the same."""
    planes = fitted_image(image, spec.size, 3)
    return np.ascontiguousarray(planes[::-1]) if spec.published else planes


def _last_drawn(spec: Tcga, raw: Raw) -> dict[str, int]:
    """The place of the last tile drawn of each patient; memory grows with the tiles taken, not with the files."""
    drawn: dict[str, list[int]] = {}
    for path in raw.files(IMAGE_SUFFIXES):
        if (patient := _patient(path)) is not None:
            heap, place = drawn.setdefault(patient, []), -_place(path, spec)
            if len(heap) < spec.most_tiles:
                heappush(heap, place)
            else:
                heappushpop(heap, place)
    return {patient: -heap[0] for patient, heap in drawn.items()}


def _place(path: str, spec: Tcga) -> int:
    """Where a tile stands in the draw, by a seeded hash of its path."""
    return int.from_bytes(hashlib.sha256(f"{spec.tile_seed}:{path}".encode()).digest()[:8], "big")


def _barcode(path: str) -> str | None:
    found = _BARCODE.search(path)
    return f"TCGA-{found[1]}-{found[2]}".upper() if found else None


def _patient(path: str) -> str | None:
    return _barcode(path) or PurePosixPath(path).parent.name or None


def _split(path: str, spec: Tcga) -> str | None:
    return folder_split(path) if spec.splits.method == "folders" else None
