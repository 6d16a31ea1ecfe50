"""Our preprocessing of the manifest's volumes, step by step, under the names of the golden records."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medcoss.preprocess.published import (
    CT_SIZE,
    MR_TILE,
    ct_tile_slices,
    in_plane_crop,
    mr_tile_slices,
    mr_tiles,
    resized,
    respaced_ct,
    volume_input,
)
from medcoss.run import BadInput
from tests.parity.goldens import Goldens

# where the published goldens' volumes lay, in mm; `preprocess.json` repeats it
ORIGIN_XYZ = (10.0, 20.0, 30.0)


@dataclass
class Steps:
    """Results of one volume: images by record name, the tiles' names, why there are none, facts of tiles."""

    volume: NDArray[Any]
    images: dict[str, sitk.Image] = field(default_factory=dict)
    tiles: list[str] = field(default_factory=list)
    error: str | None = None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def array(self, record: str) -> NDArray[Any]:
        """Voxels (z, y, x) of a step, or the model's input for a `.loaded` record."""
        case, _, step = record.rpartition(".")
        if step == "input":
            return self.volume
        if step != "loaded":
            return sitk.GetArrayFromImage(self.images[record])
        if f"{case}.resized" in self.images:
            return volume_input(self.array(f"{case}.resized"), 1024, published=True)
        return volume_input(self.array(f"{case}.tile"), published=True)

    @property
    def records(self) -> set[str]:
        """Names of everything that `array` gives."""
        last = "resized" if any(f"{t}.resized" in self.images for t in self.tiles) else "tile"
        loaded = {f"{tile}.loaded" for tile in self.tiles if f"{tile}.{last}" in self.images}
        return set(self.images) | loaded


def steps_of(goldens: Goldens, name: str, spec: dict[str, Any]) -> Steps:
    """All steps of a volume of the manifest, as published."""
    volume = goldens.make(spec)
    # a NIfTI header holds float32
    spacing = [float(np.float32(s)) for s in spec["spacing_zyx"]]
    image = _image(volume, spacing[::-1])
    return _ct(name, volume, image) if spec["kind"] == "ct" else _mr(name, volume, image)


def _image(array: NDArray[Any], spacing_xyz: list[float]) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_xyz)
    image.SetOrigin(ORIGIN_XYZ)
    return image


def _ct(name: str, volume: NDArray[Any], image: sitk.Image) -> Steps:
    found = Steps(volume)
    respaced = respaced_ct(image, published=True)
    found.images[f"{name}.respaced"] = respaced
    array = sitk.GetArrayFromImage(respaced)
    rows, columns = in_plane_crop(*array.shape[1:], published=True)
    for number, (first, last) in enumerate(ct_tile_slices(len(array))):
        tile = _image(array[first:last, rows, columns], list(respaced.GetSpacing()))
        found.tiles.append(f"{name}_dep{number}")
        found.images[f"{name}_dep{number}.tile"] = tile
        found.images[f"{name}_dep{number}.resized"] = resized(tile, CT_SIZE, published=True)
    return found


def _mr(name: str, volume: NDArray[Any], image: sitk.Image) -> Steps:
    found = Steps(volume)
    small = resized(image, (len(volume), 192, 192), published=True)
    found.images[f"{name}.resized"] = small
    array = sitk.GetArrayFromImage(small)
    try:
        tiles = mr_tiles(array, published=True)
    except BadInput as error:
        found.error = str(error)
        return found
    places = mr_tile_slices(len(array))
    for number, (tile, (first, last)) in enumerate(zip(tiles, places, strict=True)):
        case = f"{name}_dep{number}"
        found.tiles.append(case)
        found.images[f"{case}.tile"] = _image(tile, list(small.GetSpacing()))
        # as the inner slices of a volume of its own
        alone = mr_tiles(np.pad(array[first:last], ((2, 2), (0, 0), (0, 0))), published=True)[0]
        start = first - places[0][0]
        found.facts[f"{case}.tile"] = {
            "slices_after_crop": [start, start + MR_TILE],
            "max_abs_difference_to_independent_clipping": float(np.abs(tile - alone).max()),
        }
    return found
