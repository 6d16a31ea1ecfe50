"""The volumes of a DICOM folder as items of a recipe: planned from headers, read again where they are made."""

import secrets
from collections.abc import Iterable, Iterator

import SimpleITK as sitk

from medcoss.preprocess.dicom_headers import NoSlice, read_headers
from medcoss.preprocess.dicom_series import Stack, group_series, stacks
from medcoss.preprocess.dicom_volume import read_stack
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Item, LeftOut, Rejected
from medcoss.run import BadInput
from medcoss.specs.names import VOLUME_SUFFIXES

# tells series apart within a process, and nothing that is made of it is written
KEY = secrets.token_bytes(32)
_ENDINGS = (".dcm", ".dicom", ".ima")
_MAGIC = slice(128, 132)


def dicom_files(raw: Raw) -> Iterator[str]:
    """The files that are DICOM by their first bytes or claim it by their ending, sorted; they count as used.

    Those that claim to be volumes of another format are not looked into.
    """
    for path in raw.files():
        if path.lower().endswith(VOLUME_SUFFIXES):
            continue
        if path.lower().endswith(_ENDINGS) or raw.begins(path, _MAGIC.stop)[_MAGIC] == b"DICM":
            raw.path(path)
            yield path


def planned_stacks(raw: Raw, modality: str, paths: Iterable[str] | None = None) -> Iterator[Stack | Rejected | LeftOut]:
    """The volumes of a DICOM modality ("CT", "MR"), series after series, and why others are none.

    `paths` are the files that are looked at, by default all DICOM files.
    """
    refused: list[Rejected | LeftOut] = []
    series = group_series(
        raw.root, dicom_files(raw) if paths is None else paths, KEY,
        lambda path, error: refused.append(_refused(path, error)),
    )  # fmt: skip
    yield from refused
    for slices in series.values():
        if slices[0].modality != modality:
            yield LeftOut(slices[0].path, f"{len(slices)} slices of another modality; {modality} is asked for")
            continue
        try:
            yield from stacks(slices)
        except BadInput as error:
            yield Rejected(error.where or slices[0].path, f"{error.message}; its series is not used")


def item_of(stack: Stack, name: str, patient: str | None, split: str | None) -> Item:
    """The item of a volume; its files are in the order of the slices."""
    files = tuple(dict.fromkeys(one.path for one in stack.slices))
    frames = [[one.path, one.frame] for one in stack.slices if one.frame is not None]
    return Item(name, files, patient=patient, split=split, data=frames or None)


def read_item(item: Item, raw: Raw) -> sitk.Image:
    """The volume of an item: float32, LPS, mm; CT in HU. Raises BadInput naming a file."""
    slices = [one for path in item.files for one in read_headers(raw.path(path), path, KEY)]
    if item.data is not None:
        wanted = {(path, frame) for path, frame in item.data}
        slices = [one for one in slices if (one.path, one.frame) in wanted]
    (stack,) = stacks(slices)
    return read_stack(stack, raw.root)


def _refused(path: str, error: BadInput) -> Rejected | LeftOut:
    return LeftOut(path, error.message) if isinstance(error, NoSlice) else Rejected(path, error.message)
