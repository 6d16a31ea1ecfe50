"""Image loaders, intensity rules, weights of sliding windows."""

import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcoss.data.shards import to_model_input
from medcoss.modalities import Kind
from medcoss.preprocess.intensity import colour_planes, grey, lits, lits_channels, ricord, zscore
from medcoss.preprocess.windows import gaussian_weights
from tests.parity.models import Models
from tests.parity.report import EXACT, VALUES, Check

_GREY_FILE = re.compile(r"gray_(\d+)x(\d+)_seed_plus_\d+_resized_(\d+)$")


def check_loaders(check: Check, models: Models) -> None:
    """What the published loaders return for stored images."""
    sources = [check.golden.array(name) for name in check.golden.names if re.fullmatch(r"rgb_\d+(x\d+)?", name)]
    for name in check.golden.names:
        size = check.golden.shape(name)[-2:]
        if name in ("xray_loaded", "pathology_loaded"):
            check.compare(name, _planes(_sized(sources, size), name), VALUES)
        elif name in ("chestxr_eval", "nct_eval"):
            planes = _planes(_other(sources, size), name, size)
            check.compare(name, planes, VALUES)
        elif name.startswith("qata_image"):
            check.compare(name, zscore(np.repeat(_sized(sources, size)[None, ..., 0], 3, axis=0)), VALUES)
        elif name.startswith("qata_label_green_above_"):
            marked = _sized(sources, size)[..., 1] > int(name.rpartition("_")[2])
            check.compare(name, marked[None].astype(np.uint8), EXACT)
        elif name in ("chestxr_label", "nct_label"):
            check.equal(f"{name}: a class number", bool((check.golden.array(name) % 1 == 0).all()), True, name)
        elif match := _GREY_FILE.match(name):
            height, width, wanted = map(int, match.groups())
            seed = check.arguments[f"seed_{height}x{width}"]
            made = check.goldens.fill.make_input("2d", seed, batch=1, size=(height, width))[0, 0]
            check.compare(name, _resized((made * 255).astype(np.uint8), (wanted, wanted), "bicubic"), EXACT)
    _check_glas(check)


def _check_glas(check: Check) -> None:
    for name in check.golden.names:
        if not name.startswith("glas_source_rgb"):
            continue
        image = check.golden.array(name)
        if "glas_image" in check.golden:
            size = check.golden.shape("glas_image")[-2:]
            # stored as RGB by a writer that takes BGR and read back by its reader: RGB again
            check.compare("glas_image", zscore(colour_planes(_resized(image, size, "bilinear"))), VALUES)
        if "glas_label" in check.golden:
            size = check.golden.shape("glas_label")[-2:]
            # its source: numbered glands in stripes, which the file does not hold
            glands = np.add.outer(*(np.arange(n) for n in image.shape[:2])) % 7
            label = _resized((glands > 0).astype(np.uint8), size, "nearest")
            check.compare("glas_label", label[None], EXACT)


def _planes(image: NDArray[np.uint8], name: str, size: tuple[int, ...] | None = None) -> NDArray[np.float32]:
    """Model input of an image, as published: grey of an X-ray file, blue first of a pathology file."""
    xray = name.startswith(("xray", "chestxr"))
    shown = grey(image, published=True) if xray else colour_planes(image, published=True).transpose(1, 2, 0)
    if size is not None:
        shown = _resized(np.ascontiguousarray(shown), size, "bilinear")
    return to_model_input(shown[None] if xray else shown.transpose(2, 0, 1), Kind.IMAGE2D)


def _resized(image: NDArray[np.uint8], size: tuple[int, ...], how: str) -> NDArray[np.uint8]:
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling[how.upper()]))


def _sized(sources: list[NDArray[np.uint8]], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """The stored image of this very size."""
    return next(image for image in sources if image.shape[:2] == size)


def _other(sources: list[NDArray[np.uint8]], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """The stored image that has to be resized to this size."""
    return next((image for image in sources if image.shape[:2] != size), sources[0])


def check_intensities(check: Check, models: Models) -> None:
    """RICORD and LiTS intensities, LiTS channels, Gaussian weights."""
    for name in check.golden.names:
        if name == "ricord":
            check.compare(name, ricord(check.golden.array("hu")), VALUES)
        elif name == "mots":
            check.compare(name, lits(check.golden.array("hu")), VALUES)
        elif name == "mots_label_out":
            check.compare(name, lits_channels(check.golden.array("mots_label_in")), EXACT)
        elif name.startswith("gaussian_"):
            size = check.golden.shape(name)
            check.compare(name, gaussian_weights(size), VALUES)
