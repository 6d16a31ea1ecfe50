"""DeepLesion: CT around lesions of 4,427 patients (Yan et al. 2018, https://nihcc.app.box.com/v/DeepLesion).

Expected layout: `DL_info.csv` and, at any depth, a folder a series `<patient>_<study>_<series>/<slice>.png` (as
unpacked: `Images_png/000001_01_01/103.png`), 16-bit, stored value HU + 32768. The table gives spacing, patient and
split. A folder holds the slices around each key slice only: every run without a gap is a volume of its own.

Samples are float32 (1, 16, 192, 192), HU / 1024: clipped to [-1024, 1024] HU, resampled to 1 mm (cubic), the inner
80 % of axes longer than 320, tiles of 24 slices every 12, resized (linear). Runs of 12 mm or less are left out.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import PurePosixPath

import SimpleITK as sitk

from medcoss.modalities import Kind
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.slices import RowFault, read_dl_info, read_slice, slice_runs, volume_of_slices
from medcoss.preprocess.tiling import ct_tiles
from medcoss.preprocess.volumes import Array
from medcoss.run import BadInput
from medcoss.specs.recipes.deeplesion import Deeplesion

TABLE = "DL_info.csv"


def describe(spec: Deeplesion) -> Described:
    """Tiles of volumes."""
    return Described(Kind.VOLUME3D, (1, 16, 192, 192))


def plan(spec: Deeplesion, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every run of slices."""
    table = next((path for path in raw.files((".csv",)) if PurePosixPath(path).name == TABLE), None)
    if table is None:
        raise BadInput(f"there is no {TABLE}, which gives spacings, patients and splits; add it to the dataset",
                       "dataset")  # fmt: skip
    faults: list[RowFault] = []
    known = read_dl_info(raw.read(table), table, faults)
    yield from (Rejected(fault.where, fault.reason) for fault in faults)
    told = {fault.series: f"its row cannot be used: {fault.where}: {fault.reason}" for fault in faults}
    for folder, paths in groupby(raw.files(spec.suffixes), key=lambda path: PurePosixPath(path).parent):
        slices = list(paths)
        if folder.name not in known:
            why = told.get(folder.name, f"{TABLE} has no row of a series '{folder.name}'")
            yield from (Rejected(path, why) for path in slices)
            continue
        series = known[folder.name]
        try:
            runs = slice_runs(slices)
        except BadInput as error:
            # one reason for the series, every file of it named
            yield from (Rejected(path, f"{error.where}: {error.message}") for path in slices)
            continue
        for run in runs:
            yield Item(run[0], tuple(run), patient=series.patient, split=series.split, data=series.spacing)


def make(spec: Deeplesion, item: Item, raw: Raw) -> Iterator[Made]:
    """The tiles of one run of slices."""
    slices = [read_slice(raw.read(path), path) for path in item.files]
    tiles = ct_tiles(volume_of_slices(slices, tuple(item.data), item.name), spec.published)
    if not tiles:
        raise LeftOut(item.name, f"a run of {len(slices)} slices, 12 mm or less, too little for a tile")
    for tile in tiles:
        yield Made(tile.voxels, offset=tile.offset, slices=tile.slices, spacing=tile.spacing)


def tiled_image(image: sitk.Image, spec: Deeplesion) -> tuple[list[int], list[Array]]:
    """First slices, on a grid of 1 mm, and tiles (1, 16, 192, 192) of a CT in HU in LPS order; serving does the same.

    Raises BadInput with `published`, whose axes are not those of LPS.
    """
    if spec.published:
        raise BadInput("models of deeplesion with published=True take prepared datasets only", "model")
    tiles = ct_tiles(image)
    return [tile.offset for tile in tiles], [tile.voxels for tile in tiles]
