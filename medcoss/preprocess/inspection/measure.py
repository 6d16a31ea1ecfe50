"""One file, series or range of prepared samples, measured: what the processes of the engine do in an inspection.

Nothing of what is found holds a header value or a word of a report.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from medcoss.data.shards import ShardReader
from medcoss.modalities import Kind
from medcoss.preprocess.dicom_items import read_item
from medcoss.preprocess.inspection.histogram import Histogram
from medcoss.preprocess.inspection.samples import Target
from medcoss.preprocess.inspection.thumbnails import of_image, of_volume
from medcoss.preprocess.io import read_image, read_mask, read_volume
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Item
from medcoss.preprocess.volumes import to_lps
from medcoss.specs.inspection import Measuring

_WORD = re.compile(r"[^\W\d_]+")
_DEEP = {"I;16", "I;16B", "I;16L", "I", "F"}
_KEPT_WORD = 8


def survey(spec: Measuring, item: Item, raw: Raw) -> list[dict[str, Any]]:
    """What is found of one item, as plain JSON: a measurement of each of its samples."""
    wanted = item.data["what"]
    if wanted == "prepared":
        return list(_prepared(spec, item, raw))
    if wanted == "text":
        return [_text(raw.read(item.files[0]).decode("utf-8", "replace"), item, raw)]
    if wanted == "image":
        return [_image(spec, item, raw)]
    return [_volume(spec, item, raw)]


def _values(array: NDArray[Any], dtype: str, channels: int, shape: tuple[int, ...]) -> dict[str, Any]:
    found = Histogram.of(array)
    return {
        "shape": list(shape), "channels": channels, "type": dtype, "histogram": vars(found),
        "not_finite": int(array.size - found.number), "constant": bool(found.number and found.low == found.high),
    }  # fmt: skip


def _labelled(labels: NDArray[Any] | None, image: NDArray[Any]) -> dict[str, Any]:
    """Label values and how many voxels have each, and the values of the image where there is one."""
    if labels is None:
        return {}
    values, counts = np.unique(labels, return_counts=True)
    voxels = {f"{v:g}": int(n) for v, n in zip(values.tolist(), counts.tolist(), strict=True)}
    # a mask of thousands of values is none: its problem is told, its values are not
    fractions = not np.array_equal(values, np.rint(values)) or float(values.min()) < 0
    foreground = image[labels > 0] if image.ndim == labels.ndim else np.zeros(0)
    return {
        "labels": dict(list(voxels.items())[:256]),
        "mask_problem": "it holds fractions or negative numbers" if fractions else "",
        "foreground": vars(Histogram.of(foreground[None])),
    }


def _image(spec: Measuring, item: Item, raw: Raw) -> dict[str, Any]:
    path = item.files[0]
    data = raw.read(path)
    shown: NDArray[Any] = read_image(data, path)
    bits, values = item.data.get("bits") or 8, shown
    if data[128:132] != b"DICM":
        with Image.open(io.BytesIO(data)) as image:
            if image.mode in _DEEP:
                values = np.asarray(image)
                bits = 8 * values.dtype.itemsize
    channels = 1 if values.ndim == 2 else values.shape[2]
    found = _values(values if channels == 1 else values.transpose(2, 0, 1), f"{bits} bit", channels, values.shape[:2])
    labels = None
    if item.data.get("mask"):
        mask = read_mask(raw.read(item.data["mask"]), item.data["mask"])
        labels = mask if mask.ndim == 2 else mask.max(axis=2)
        if labels.shape != values.shape[:2]:
            found["mask_problem"], labels = "it has another size than its image", None
        else:
            found |= _labelled(labels, values)
    if item.data.get("picture"):
        marked = None if labels is None else (labels > 0).astype(np.uint8)
        found["picture"] = of_image(values, marked, spec.modality)
    if "sample" in item.data:
        target = Target(Path(spec.folder), item.data["sample"], item.name, path)
        problem = found.get("mask_problem", "")
        found["shown"] = target.image(shown, labels, item.data.get("spacing") or [], problem)
    return found | {"sha256": raw.digest(path), "spacing": item.data.get("spacing") or []}


def _volume(spec: Measuring, item: Item, raw: Raw) -> dict[str, Any]:
    modality = item.data.get("modality") or spec.modality
    if item.data["what"] == "dicom":
        image = read_item(Item(item.name, item.files, data=item.data["frames"]), raw)
        digest = hashlib.sha256("".join(sorted(raw.digest(path) for path in item.files)).encode()).hexdigest()
    else:
        image = read_volume(raw.read(item.files[0]), item.files[0])
        digest = raw.digest(item.files[0])
    kind = f"{item.data['bits']} bit" if item.data.get("bits") else image.GetPixelIDTypeAsString()
    label = None if not item.data.get("mask") else read_volume(raw.read(item.data["mask"]), item.data["mask"])
    image = to_lps(image)
    volume, labels = sitk.GetArrayViewFromImage(image), None
    spacing = image.GetSpacing()[::-1]
    found = _values(volume, kind, 1, volume.shape)
    if label is not None:
        label = to_lps(label)
        labels = sitk.GetArrayViewFromImage(label)
        if labels.shape != volume.shape:
            found["mask_problem"], labels = "it has another size than its volume", None
        else:
            found |= _labelled(labels, volume)
    if item.data.get("picture"):
        found["picture"] = of_volume(volume, modality, labels, spacing)
    if "sample" in item.data:
        target = Target(Path(spec.folder), item.data["sample"], item.name, item.name)
        found["shown"] = target.volume(volume, modality, labels, spacing, found.get("mask_problem", ""))
    return found | {"sha256": digest, "spacing": list(spacing)}


def _text(text: str, item: Item, raw: Raw) -> dict[str, Any]:
    found = {"texts": [_counted(text)], "vocabulary": _vocabulary(text), "sha256": raw.digest(item.files[0])}
    if "sample" in item.data:
        found["shown"] = Target(Path(), item.data["sample"], item.name, item.files[0]).words(text)
    return found


def _shown(volume: NDArray[Any], modality: str) -> tuple[NDArray[Any], str]:
    """Voxels and the modality whose window they are shown in: recipes store CT as HU / 1024, clipped, or z-scored."""
    if modality == "ct" and volume.min() >= -1 and volume.max() <= 1:
        return volume * np.float32(1024), modality
    return volume, ""


def _counted(text: str) -> list[int]:
    return [len(_WORD.findall(text)), len(text)]


def _vocabulary(text: str) -> list[str]:
    """Words as short hashes, to be counted and not to be read."""
    words = {word.lower() for word in _WORD.findall(text)}
    return sorted(hashlib.sha256(word.encode()).hexdigest()[:_KEPT_WORD] for word in words)


def _prepared(spec: Measuring, item: Item, raw: Raw) -> Iterator[dict[str, Any]]:
    """Samples `first` to `end` of a prepared dataset, in their order."""
    reader = ShardReader(raw.root)
    names = {str(number): name for number, name in enumerate(reader.info.classes or [], 1)}
    for index in range(item.data["first"], item.data["end"]):
        row, number = reader.rows[index], item.data["samples"].get(str(index))
        target = None if number is None else Target(Path(spec.folder), number, row.id, row.source, names)
        if reader.info.kind is Kind.TEXT:
            text = reader.text(index)
            yield {"texts": [_counted(text)], "vocabulary": _vocabulary(text),
                   "sha256": hashlib.sha256(text.encode()).hexdigest()} | (
                   {} if target is None else {"shown": target.words(text)})  # fmt: skip
            continue
        image, mask = reader.stored_image(index), reader.mask(index)
        found = _values(image, image.dtype.name, image.shape[0], image.shape[1:])
        labels = None
        if mask is not None:
            # channels may overlap; the last one shows
            labels = np.zeros(mask.shape[1:], np.uint8)
            for number, channel in enumerate(mask, 1):
                labels[channel > 0] = number
            found |= _labelled(labels, image[0])
        spacing = list(row.spacing)
        if index in item.data["pictures"]:
            if image.ndim == 4:
                sizes = tuple(spacing) if all(spacing) else (1.0, 1.0, 1.0)
                found["picture"] = of_volume(*_shown(image[0], reader.info.modality), labels, sizes)
            else:
                shown = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
                found["picture"] = of_image(shown, labels, "")
        if target is not None and image.ndim == 4:
            found["shown"] = target.volume(*_shown(image[0], reader.info.modality), labels, tuple(spacing))
        elif target is not None:
            found["shown"] = target.image(image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0), labels)
        digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
        yield found | {"sha256": digest, "spacing": spacing if all(spacing) else []}
