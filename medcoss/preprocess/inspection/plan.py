"""What of a dataset is measured: files by their names, DICOM series by their headers, prepared samples by rows."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pydicom

from medcoss.data.shards import ShardReader
from medcoss.preprocess.deidentify import patient_key
from medcoss.preprocess.dicom_headers import NoSlice, SliceHeader
from medcoss.preprocess.dicom_items import dicom_files, item_of
from medcoss.preprocess.dicom_series import group_series, stacks
from medcoss.preprocess.inspection.masks import IMAGE_FOLDERS, masks_of
from medcoss.preprocess.inspection.samples import evenly, needs_a_copy
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Item
from medcoss.run import BadInput
from medcoss.specs.inspection import InspectOptions
from medcoss.specs.names import (
    IMAGE_SUFFIXES,
    SPLIT_NAMES,
    VOLUME_SUFFIXES,
    class_of,
    has_suffix,
)
from medcoss.specs.records import BadFile

UNSPLIT = "unsplit"
# prepared samples that are measured together
_ROWS = 32
_OTHERS = {
    "table": (".csv", ".csv.gz", ".tsv", ".xlsx", ".parquet", ".jsonl", ".json", ".xml"), "hdf5": (".h5", ".hdf5"),
    "slide": (".svs", ".ndpi", ".mrxs", ".scn"), "text": (".txt",),
}  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """What is measured together, and to what its samples belong; `patients` are hashes."""

    item: Item
    splits: list[str]
    classes: list[str | None]
    patients: list[str]


@dataclass
class Planned:
    """The units of a dataset, its files by kind, and what is no unit."""

    units: list[Unit] = field(default_factory=list)
    files: Counter[str] = field(default_factory=Counter)
    unreadable: list[BadFile] = field(default_factory=list)
    left_out: list[BadFile] = field(default_factory=list)
    # from how many samples those for the browser were drawn
    drawn_of: int = 0
    orphans: list[str] = field(default_factory=list)


def kind_of(path: str) -> str:
    """What a file is by its name."""
    lowered = path.lower()
    if has_suffix(path, IMAGE_SUFFIXES):
        return "jpeg" if lowered.endswith((".jpg", ".jpeg")) else "tiff" if "tif" in lowered[-4:] else lowered[-3:]
    if has_suffix(path, VOLUME_SUFFIXES):
        return "nifti" if ".nii" in lowered[-7:] else lowered.rpartition(".")[2]
    return next((kind for kind, endings in _OTHERS.items() if lowered.endswith(endings)), "other")


def of_raw(raw: Raw, options: InspectOptions, salt: bytes, stored: Path) -> Planned:
    """The images, volumes, DICOM series and texts of a raw dataset, in the order of their names; `stored` is the folder
    as it was uploaded, without what was unpacked.
    """
    made = Planned()
    dicom = set(dicom_files(raw))
    others = [path for path in raw.files() if path not in dicom]
    made.files["dicom"] += len(dicom)
    made.files.update(kind_of(path) for path in others)
    _dicom(raw, sorted(dicom), salt, made)
    images = [path for path in others if has_suffix(path, IMAGE_SUFFIXES)]
    volumes = [path for path in others if has_suffix(path, VOLUME_SUFFIXES)]
    for what, paths in (("image", images), ("volume", volumes)):
        masks, orphans = masks_of(paths)
        made.orphans += orphans
        alone = set(orphans)
        taken = set(masks.values())
        for path in paths:
            if path not in taken:
                data = {"what": what, "mask": masks.get(path), "alone": path in alone}
                made.units.append(_unit(Item(path, (path,), data=data), path, ""))
    texts = (path for path in others if kind_of(path) == "text")
    made.units += [_unit(Item(path, (path,), data={"what": "text"}), path, "") for path in texts]
    made.units.sort(key=lambda unit: unit.item.name)
    made.files = Counter({kind: n for kind, n in sorted(made.files.items()) if n})
    _forget_folders(made, options)
    _draw(made, options)
    browsed = [(i, (unit.splits[0], unit.classes[0])) for i, unit in enumerate(made.units)
               if needs_a_copy(unit.item.files[0], stored)]  # fmt: skip
    made.drawn_of = len(browsed)
    for number, i in enumerate(evenly(browsed, options.samples, options.seed)):
        made.units[i].item.data["sample"] = number
    return made


def _split(path: str) -> str:
    """The split that a folder names, as `train` or `Train Set`."""
    named = (SPLIT_NAMES.get(part.lower().removesuffix(" set")) for part in PurePosixPath(path).parts[:-1])
    return next((split for split in named if split), UNSPLIT)


def _unit(item: Item, path: str, patient: str) -> Unit:
    label = class_of(path) if item.data["what"] == "image" else None
    if label is not None and (label.lower() in IMAGE_FOLDERS or item.data.get("alone")):
        label = None
    return Unit(item, [_split(path)], [label], [patient])


def _forget_folders(made: Planned, options: InspectOptions) -> None:
    """Folders that hold one image each are patients, say, and no classes; and one class is none."""
    if any(unit.splits != [UNSPLIT] for unit in made.units):
        # a folder beside those of the splits is no class of theirs
        made.units = [replace(u, classes=[None]) if u.splits == [UNSPLIT] else u for u in made.units]
    found = Counter(label for unit in made.units for label in unit.classes if label is not None)
    if options.labels == "none" or len(found) < 2 or found.total() < 2 * len(found):
        made.units = [replace(unit, classes=[None]) for unit in made.units]


def _dicom(raw: Raw, paths: list[str], salt: bytes, made: Planned) -> None:
    refused: list[tuple[str, BadInput]] = []
    series = group_series(raw.root, paths, salt, lambda path, error: refused.append((path, error)))
    for path, error in refused:
        if not isinstance(error, NoSlice):
            made.unreadable.append(BadFile(path=path, reason=error.message))
        elif "projection image" in error.message:
            _radiograph(raw, path, salt, made)
        else:
            made.left_out.append(BadFile(path=path, reason=error.message))
    for slices in series.values():
        try:
            _stacks(raw, slices, made)
        except BadInput as error:
            made.unreadable.append(BadFile(path=error.where or slices[0].path, reason=error.message))


def _stacks(raw: Raw, slices: list[SliceHeader], made: Planned) -> None:
    for stack in stacks(slices):
        first = min(one.path for one in stack.slices)
        item = item_of(stack, f"{first} ({stack.time})" if stack.time else first, None, None)
        bits = int(_header(raw, first, ["BitsStored"]).get("BitsStored") or 16)
        data = {"what": "dicom", "frames": item.data, "modality": slices[0].modality.lower(), "bits": bits}
        made.units.append(_unit(replace(item, data=data), first, stack.slices[0].patient))


def _header(raw: Raw, path: str, tags: list[str]) -> pydicom.Dataset:
    return pydicom.dcmread(raw.path(path), stop_before_pixels=True, specific_tags=tags)


def _radiograph(raw: Raw, path: str, salt: bytes, made: Planned) -> None:
    tags = ["PatientID", "StudyInstanceUID", "BitsStored", "PixelSpacing", "ImagerPixelSpacing"]
    try:
        header = _header(raw, path, tags)
        spacing = [float(v) for v in header.get("PixelSpacing") or header.get("ImagerPixelSpacing") or []]
        data = {"what": "image", "bits": int(header.get("BitsStored") or 8), "spacing": spacing}
        made.units.append(_unit(Item(path, (path,), data=data), path, patient_key(header, salt)))
    except Exception as error:  # noqa: BLE001 - of many types, none of whose texts may carry header values
        reason = f"the header holds a value that cannot be read ({type(error).__name__})"
        made.unreadable.append(BadFile(path=path, reason=reason))


def of_prepared(reader: ShardReader, options: InspectOptions) -> Planned:
    """Ranges of the samples of a prepared dataset."""
    made, classes = Planned(), reader.info.classes or []
    chosen = _chosen(((i, (row.split, row.label)) for i, row in enumerate(reader.rows)), options)
    browsed = evenly(((i, (row.split, str(row.label))) for i, row in enumerate(reader.rows)), options.samples,
                     options.seed)  # fmt: skip
    numbers = {i: number for number, i in enumerate(browsed)}
    made.drawn_of = len(reader)
    for first in range(0, len(reader), _ROWS):
        rows = reader.rows[first : first + _ROWS]
        data: dict[str, Any] = {"what": "prepared", "first": first, "end": first + len(rows)}
        data["pictures"] = [i for i in range(first, first + len(rows)) if i in chosen]
        # keys as JSON has them
        data["samples"] = {str(i): numbers[i] for i in range(first, first + len(rows)) if i in numbers}
        known = [classes[row.label] if 0 <= row.label < len(classes) else None for row in rows]
        item = Item(f"samples {first} to {first + len(rows) - 1}", data=data)
        made.units.append(Unit(item, [row.split for row in rows], known, [row.patient for row in rows]))
    return made


def _draw(made: Planned, options: InspectOptions) -> None:
    keys = ((i, (unit.splits[0], unit.classes[0])) for i, unit in enumerate(made.units)
            if unit.item.data["what"] != "text")  # fmt: skip
    chosen = _chosen(keys, options)
    for i in chosen:
        made.units[i].item.data["picture"] = True


def _chosen(samples: Iterable[tuple[int, Any]], options: InspectOptions) -> set[int]:
    """Some of each group, drawn by the seed."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for i, key in samples:
        groups[key].append(i)
    draw = random.Random(options.seed)  # noqa: S311 - a draw of pictures
    return {i for found in groups.values() for i in draw.sample(found, min(options.pictures, len(found)))}


def measured(planned: Planned) -> Iterator[tuple[int, Item]]:
    """The items with their numbers."""
    return ((number, unit.item) for number, unit in enumerate(planned.units))
