"""Samples that an inspection keeps for the console's browser: the right side, the right mask, the right words."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from PIL import Image

from medcoss import inspect_dataset, prepare
from medcoss.data.shards import Sample, ShardReader, ShardWriter
from medcoss.modalities import Kind
from medcoss.preprocess.volumes import to_lps
from medcoss.specs.records import DatasetInfo

# (z, y, x) of a volume towards superior, posterior and left; x is above what is kept of an axis
SHAPE, SPACING = (20, 30, 340), (0.5, 2.0, 3.0)
# of a bright block at the patient's right, front and head; and of a lesion of one voxel elsewhere
BLOCK, LESION = (slice(14, 18), slice(3, 9), slice(20, 60)), (4, 21, 251)


def phantom(folder: Path, name: str, orientation: str = "LPS") -> None:
    """A CT volume and its mask with the axes of their files as `orientation` says."""
    array = np.full(SHAPE, -1000, np.int16)
    array[BLOCK] = 300
    labels = np.zeros(SHAPE, np.uint8)
    labels[BLOCK], labels[LESION] = 1, 2
    for values, path in ((array, folder / f"{name}.mha"), (labels, folder / f"{name}_label.mha")):
        made = sitk.GetImageFromArray(values)
        made.SetSpacing(SPACING)
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.DICOMOrient(made, orientation), str(path), useCompression=True)


def browsed(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "artifacts/samples.json").read_text())
    return found


def read(path: Path) -> tuple[sitk.Image, Any]:
    image = sitk.ReadImage(str(path))
    # already as the viewer wants it: nothing is turned
    assert np.allclose(image.GetDirection(), np.eye(3).ravel())
    return image, sitk.GetArrayFromImage(to_lps(image))


def test_volumes_keep_their_sides_their_values_and_the_smallest_label(tmp_path: Path) -> None:
    for number, orientation in enumerate(("LPS", "PIR", "ASL")):
        phantom(tmp_path / "raw", f"{number}", orientation)
    (tmp_path / "raw/broken.mha").write_bytes((tmp_path / "raw/0.mha").read_bytes()[:900])
    for run in ("one", "two"):
        inspect_dataset(tmp_path / "raw", tmp_path / run, quiet=True, modality="ct")
    kept = tmp_path / "one/artifacts"
    for path in kept.glob("sample*"):
        assert path.read_bytes() == (tmp_path / "two/artifacts" / path.name).read_bytes(), path.name
    listed = browsed(tmp_path / "one")
    assert (listed["source"], listed["of"], len(listed["samples"])) == ("raw", 4, 4)
    for one in listed["samples"][:3]:
        image, values = read(kept / one["image"])
        mask, labels = read(kept / one["mask"])
        assert (one["shape"], one["spacing"], one["window"]) == ([*SHAPE], [3.0, 2.0, 0.5], [-160.0, 240.0])
        # a third of the voxels across, thrice as large; HU as they were
        assert values.shape == labels.shape == (20, 30, 113) == tuple(one["shown"])
        assert np.allclose(image.GetSpacing(), (1.5, 2, 3)) and np.allclose(mask.GetSpacing(), (1.5, 2, 3))
        assert values.dtype == np.int16 and values[14:18, 3:9, 7:20].min() == 300
        assert (labels[14:18, 3:9, 7:20] == 1).all() and not (labels[:, 9:21] > 0).any()
        assert labels[4, 21, 83] == 2, "a lesion of one voxel is still there"
        assert ((values > 0) <= (labels == 1)).all()
    broken = listed["samples"][3]
    assert broken["key"] == "broken.mha" and broken["image"] is None and "damaged" in broken["problem"]


def test_prepared_samples_and_words_are_those_of_the_dataset_and_none_when_none_are_asked_for(tmp_path: Path) -> None:
    for number in range(2):
        phantom(tmp_path / "raw", f"{number}")
    prepare(tmp_path / "raw", tmp_path / "made", "volume_folder", modality="ct", size=(16, 32, 32), drop_outer=0,
            label_suffix="_label", label_names=["organ", "lesion"], quiet=True)  # fmt: skip
    inspect_dataset(tmp_path / "made", tmp_path / "out", quiet=True)
    reader = ShardReader(tmp_path / "made/dataset")
    for index, one in enumerate(browsed(tmp_path / "out")["samples"]):
        row, stored, masks = reader.rows[index], reader.stored_image(index)[0], reader.mask(index)
        assert masks is not None
        image, values = read(tmp_path / "out/artifacts" / one["image"])
        _, labels = read(tmp_path / "out/artifacts" / one["mask"])
        assert (one["key"], one["source"], one["split"]) == (row.id, row.source, row.split)
        assert np.allclose(image.GetSpacing()[::-1], row.spacing) and one["spacing"] == [*row.spacing]
        assert np.array_equal(values, np.rint(stored * 1024))
        assert np.array_equal(labels == 1, masks[0] > 0) and (labels == 1).any() and not masks[1].any()
        # it was resized away by the recipe: what is not in the mask is not in its legend
        assert one["labels"] == {"1": "organ"}

    writer = ShardWriter(tmp_path / "texts")
    for number in range(6):
        writer.add(Sample(f"s{number}", "train", f"{number}.txt", "", text=f"Xylander {number} mm nodule, unchanged."))
    writer.close(DatasetInfo(modality="report", kind=Kind.TEXT, samples=6, splits={"train": 6}, sample_shape=[64],
                             recipe={}))  # fmt: skip
    inspect_dataset(tmp_path / "texts", tmp_path / "told", quiet=True, samples=4)
    told = browsed(tmp_path / "told")
    assert told["of"] == 6 and [one["kind"] for one in told["samples"]] == ["text"] * 4
    assert all(one["text"] == f"Xylander {one['key'][1]} mm nodule, unchanged." for one in told["samples"])
    inspect_dataset(tmp_path / "texts", tmp_path / "none", quiet=True, samples=0)
    assert not [*(tmp_path / "none").rglob("sample*")]


def test_images_are_drawn_evenly_and_those_that_a_browser_opens_are_not_copied(tmp_path: Path) -> None:
    for label, count in (("common", 30), ("rare", 3)):
        (tmp_path / "raw" / label).mkdir(parents=True)
        for number in range(count):
            pixels = np.zeros((1500, 100), np.uint8)
            pixels[:700, 60:] = 200
            Image.fromarray(pixels).save(tmp_path / f"raw/{label}/{number:02d}.{'tif' if number else 'png'}")
    inspect_dataset(tmp_path / "raw", tmp_path / "out", quiet=True, samples=8, seed=1)
    listed = browsed(tmp_path / "out")
    assert listed["of"] == 31 and Counter(one["label"] for one in listed["samples"]) == {"common": 6, "rare": 2}
    with Image.open(tmp_path / "out/artifacts" / listed["samples"][0]["image"]) as picture:
        shown = np.asarray(picture)
    assert shown.shape == (750, 50) and shown[:350, 30:].min() == 200 and not shown[:, :30].any()
