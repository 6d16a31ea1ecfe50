"""Sliding windows on networks whose answer for the whole image is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medcoss.data.shards import Sample, ShardReader, ShardWriter
from medcoss.evaluation.cases import stored
from medcoss.evaluation.windows import Sliding, slide
from medcoss.preprocess.sliding import Windows
from medcoss.preprocess.volumes import blend
from tests.medcoss.training.small import volumes

CPU = torch.device("cpu")
IMAGE = ((3, 40, 52), (16, 32))
VOLUME = ((1, 20, 33, 30), (8, 16, 16))


def network(axes: int, kernel: int, channels: int = 2) -> nn.Module:
    torch.manual_seed(0)
    convolution = nn.Conv2d if axes == 2 else nn.Conv3d
    return convolution(3 if axes == 2 else 1, channels, kernel, padding=kernel // 2).eval()


def at_once(model: Callable[[Tensor], Tensor], image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return torch.sigmoid(model(torch.from_numpy(image)[None]))[0].numpy()


def random(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# some larger than the window on every axis, some smaller on one
@pytest.mark.parametrize("shape", [(20, 33, 30), (8, 16, 16), (5, 40, 9), (16, 17, 32)])
def test_serving_slides_over_the_same_windows(shape: tuple[int, ...]) -> None:
    size, model, image = (8, 16, 16), network(3, 3), random((1, *shape))
    windows = Windows(image, size)
    answers = (torch.sigmoid(model(torch.from_numpy(batch))).detach().numpy() for batch in windows.batches(3))
    found = windows.blend(one for answer in answers for one in answer)
    assert found == pytest.approx(slide(model, image, Sliding(size, 4), CPU), abs=1e-5)


@pytest.mark.parametrize(("shape", "size"), [IMAGE, VOLUME])
def test_weights_are_normalised_everywhere(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    """A network that looks at single voxels gives the same in every window, so any weighted mean is that, too."""
    model, image = network(len(size), 1), random(shape)
    expected = at_once(model, image)
    for overlap in (0.0, 0.5, 0.75):
        found = slide(model, image, Sliding(size, 3, overlap), CPU)
        assert found.dtype == np.float32 and np.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("shape", "size"), [IMAGE, VOLUME])
def test_a_convolution_is_that_of_the_whole_but_at_the_borders_of_windows(
    shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    model, image = network(len(size), 3), random(shape)
    found, expected = slide(model, image, Sliding(size, 4), CPU), at_once(model, image)
    # voxels that lie at the border of no window but one that ends where the image ends
    inner = np.ones(shape[1:], bool)
    for axis, (length, window) in enumerate(zip(shape[1:], size, strict=True)):
        starts = {min(start, length - window) for start in range(0, length, window // 2)}
        ends = {s for s in starts if s} | {s + window - 1 for s in starts if s + window < length}
        inner[(slice(None),) * axis + (sorted(ends),)] = False
    assert 0.3 < inner.mean() < 1
    assert np.allclose(found[:, inner], expected[:, inner], atol=1e-6)
    worst = float(np.abs(found - expected).max())
    assert 1e-6 < worst < 0.5, "border voxels lack their neighbours, and count less"


@pytest.mark.parametrize(("shape", "size"), [((3, 10, 40), (16, 32)), ((1, 5, 16, 40), (8, 16, 16))])
def test_what_is_smaller_than_the_window_is_padded_around_by_its_lowest_value(
    shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    model, image = network(len(size), 3), random(shape)
    around = [(0, 0)]
    for length, window in zip(shape[1:], size, strict=True):
        missing = max(window - length, 0)
        around.append((missing // 2, missing - missing // 2))
    padded = np.pad(image, around, constant_values=image.min())
    whole = slide(model, padded, Sliding(size, 2), CPU)
    inner = tuple(slice(a, a + n) for (a, _), n in zip(around[1:], shape[1:], strict=True))
    found = slide(model, image, Sliding(size, 2), CPU)
    assert found.shape == (2, *shape[1:]) and np.allclose(found, whole[(slice(None), *inner)], atol=1e-6)


@pytest.mark.parametrize("size", [(16, 32), (8, 16, 16)])
def test_mirrored_images_get_mirrored_answers(size: tuple[int, ...]) -> None:
    model, image = network(len(size), 3), random((3 if len(size) == 2 else 1, *size))
    plain, mirrored = (Sliding(size, 2, mirror=mirror) for mirror in (False, True))
    expected = slide(model, image, mirrored, CPU)
    assert not np.allclose(expected, slide(model, image, plain, CPU), atol=1e-3)
    for axis in range(1, image.ndim):
        found = slide(model, np.flip(image, axis), mirrored, CPU)
        assert np.allclose(np.flip(found, axis), expected, atol=1e-6), f"axis {axis}"


def test_the_batch_changes_nothing_but_what_passes_at_once() -> None:
    shape, size = VOLUME
    model, seen = network(3, 3), list[int]()

    def counted(windows: Tensor) -> Tensor:
        seen.append(len(windows))
        return model(windows)

    image = random(shape)
    one = slide(counted, image, Sliding(size, 1), CPU)
    windows = len(seen)
    assert set(seen) == {1} and windows == 4 * 4 * 3
    seen.clear()
    five = slide(counted, image, Sliding(size, 5), CPU)
    assert max(seen) == 5 and sum(seen) == windows
    assert np.allclose(one, five, atol=1e-6)


def test_tiles_that_agree_are_one_volume_and_others_stay_apart(tmp_path: Path) -> None:
    folder = volumes(tmp_path / "agree", 2, masks=True, tiles=3)
    reader, model, how = ShardReader(folder), network(3, 1, 1), Sliding((8, 16, 16), 2)
    members = [i for i, row in enumerate(reader.rows) if row.group == "case0"]
    agreeing = stored(reader, members)
    assert [array.shape for array in agreeing.arrays] == [(1, 32, 32, 32)]
    expected = at_once(model, agreeing.image)
    assert np.allclose(agreeing.probabilities(model, how), expected, atol=1e-6)  # type: ignore[arg-type]
    # the same tiles, each normalised for itself
    writer = ShardWriter(tmp_path / "apart")
    for i in members:
        row = Sample(**reader.row(i))
        writer.add(row, reader.image(i) * np.float32(1 + row.offset / 100), reader.mask(i))
    writer.close(reader.info)
    other = stored(ShardReader(tmp_path / "apart"), list(range(len(members))))
    assert [array.shape for array in other.arrays] == [(1, 16, 32, 32)] * 3
    assert np.array_equal(other.reference, agreeing.reference)
    each = np.stack([at_once(model, array) for array in other.arrays])
    assert np.allclose(other.probabilities(model, how), blend(each, other.starts, 32), atol=1e-6)  # type: ignore[arg-type]
