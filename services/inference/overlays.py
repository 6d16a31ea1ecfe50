"""Masks drawn over what was segmented, as a PNG: for a look, not for measuring."""

import io

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from medcoss.preprocess.volumes import to_lps
from services.inference.inputs import invalid
from services.inference.predict import SegmentedImage, SegmentedVolume

# told apart with every usual colour vision (Okabe and Ito, 2008)
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
_OPACITY = 0.35


def of_image(found: SegmentedImage) -> bytes:
    """The image with its masks."""
    return _png(_drawn(found.pixels, found.masks))


def of_volume(found: SegmentedVolume, number: int | None) -> tuple[bytes, int]:
    """An axial slice with its masks, the patient's right on the left, and its number, counted from the feet.

    By default the slice that most of the masks lie in. Raises ValidationFailed for one that there is not.
    """
    covered = found.masks.any(axis=0).sum(axis=(1, 2))
    chosen = (int(covered.argmax()) if covered.any() else len(covered) // 2) if number is None else number
    if not 0 <= chosen < len(covered):
        raise invalid("query:slice", f"the volume has the axial slices 0 to {len(covered) - 1}; found {chosen}")
    voxels = sitk.GetArrayViewFromImage(to_lps(found.volume.image))
    low, high = np.percentile(voxels[chosen], (0.5, 99.5))
    grey = np.clip((voxels[chosen] - low) / max(float(high - low), 1e-6) * 255, 0, 255).astype(np.uint8)
    picture = Image.fromarray(_drawn(grey, found.masks[:, chosen]))
    _, rows, columns = found.request.spacing
    # pixels of the picture are square
    size = (round(picture.width * max(columns / rows, 1)), round(picture.height * max(rows / columns, 1)))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.BILINEAR).save(buffer, format="PNG")
    return buffer.getvalue(), chosen


def _drawn(pixels: NDArray[np.uint8], masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pixels (H, W) or (H, W, 3) with the masks (K, H, W): filled with a light colour, their edges full."""
    picture = (np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels).astype(np.float32)
    for number, mask in enumerate(masks):
        colour = np.array(COLOURS[number % len(COLOURS)], np.float32)
        edge = mask & ~ndimage.binary_erosion(mask)
        picture[mask] = (1 - _OPACITY) * picture[mask] + _OPACITY * colour
        picture[edge] = colour
    return np.rint(picture).astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
