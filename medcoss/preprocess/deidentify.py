"""DICOM without identity: the Basic Application Confidentiality Profile (PS3.15, table E.1-1, 2026c).

The table is that of the library dicom-anonymizer, which generates it from the standard. The walk is ours, since the
library's own does not enter sequences and makes up UIDs anew in each process. An attribute that the table removes,
empties or replaces goes, in sequences, too, and an attribute that has to be there stays with an empty or a dummy
value. UIDs are replaced by a keyed hash, so that files of one series keep together, in every process and after a
restart. Beyond the table, some attributes about the patient, private attributes and those that the dictionary does not
know go, and so do names of persons wherever they stand. Text that is burned into pixels is not found.
"""

import hashlib
import hmac
import io
from functools import cache

import pydicom
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID

from medcoss.run import BadInput

_EDITION = "dicomfields_2026c"
_REMOVED = ("X_TAGS",)
_UIDS = ("U_TAGS",)
# Z, D and what may be either: type 1 and 2 attributes of some IOD
_REPLACED = ("Z_TAGS", "D_TAGS", "Z_D_TAGS", "X_Z_TAGS", "X_D_TAGS", "X_Z_D_TAGS", "X_Z_U_STAR_TAGS")
_DUMMY = {"DA": "19000101", "DT": "19000101000000", "TM": "000000", "AS": "000Y", "DS": "0", "IS": "0"}
_NUMBERS = ("FD", "FL", "SS", "US", "SL", "UL", "SV", "UV")
# dates of birth and death in other calendars, comments on the patient's performance, who has assigned an identifier:
# the table of the library has none of them
_BEYOND = frozenset({0x00100033, 0x00100034, 0x00240044, 0x00400031, 0x00400032, 0x00400033})
_KEPT_UIDS = ("1.2.840.10008.",)  # the standard's own: SOP classes, transfer syntaxes


def pseudonym(value: str, key: bytes) -> str:
    """A keyed hash of an identifier, 32 hexadecimal digits; the same for the same `value` and `key`."""
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:32]


def patient_key(dataset: Dataset, key: bytes) -> str:
    """Whose a dataset is, as a keyed hash of the patient's id; without an id, that of the study."""
    return pseudonym(str(dataset.get("PatientID") or dataset.get("StudyInstanceUID") or ""), key)


def replaced_uid(uid: str, key: bytes) -> str:
    """The UID that stands for `uid`, below 2.25; UIDs of the standard itself stay."""
    if not uid or uid.startswith(_KEPT_UIDS):
        return uid
    return f"2.25.{int(pseudonym(uid, key), 16)}"


@cache
def _actions() -> tuple[dict[int, str], list[tuple[int, int, str]]]:
    """What happens to a tag; and to tags of repeating groups, as (value, mask, action)."""
    table = dicom_anonymization_database_selector(_EDITION)
    single: dict[int, str] = {}
    repeating: list[tuple[int, int, str]] = []
    for action, categories in (("replace", _REPLACED), ("uid", _UIDS), ("remove", _REMOVED)):
        for group, element, *masks in (entry for name in categories for entry in table[name]):
            if masks:
                mask = masks[0] << 16 | masks[1]
                repeating.append(((group << 16 | element) & mask, mask, action))
            else:
                single[group << 16 | element] = action
    return single, repeating


def _action(tag: BaseTag, vr: str) -> str:
    single, repeating = _actions()
    found = single.get(int(tag)) or next((a for value, mask, a in repeating if int(tag) & mask == value), None)
    if int(tag) in _BEYOND or (found is None and (tag.is_private or not dictionary_has_tag(tag))):
        return "remove"
    return found or ("replace" if vr == "PN" else "uid" if vr == "UI" else "keep")


def deidentify(dataset: Dataset, key: bytes) -> None:
    """Take out of a dataset, in place, whatever tells whose it is; `key` is the secret of the pseudonyms."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            action = _action(element.tag, element.VR)
        except Exception:  # noqa: BLE001 - pydicom raises many types for values that it cannot read
            del dataset[tag]
            continue
        if action == "remove":
            del dataset[tag]
        elif action == "uid" or (action == "replace" and element.VR == "UI"):
            _replace_uids(element, key)
        elif action == "replace":
            _replace(dataset, element)
        elif element.VR == "SQ":
            for item in element.value:
                deidentify(item, key)


def _replace_uids(element: DataElement, key: bytes) -> None:
    values = element.value if isinstance(element.value, MultiValue | list) else [element.value]
    element.value = [UID(replaced_uid(str(value or ""), key)) for value in values] or ""


def _replace(dataset: Dataset, element: DataElement) -> None:
    """An empty value or a dummy one; a sequence keeps no item."""
    if element.VR == "SQ":
        element.value = []
    elif element.VR in _NUMBERS:
        element.value = 0
    elif element.VR in ("OB", "OW", "OF", "OD", "OL", "OV", "UN"):
        del dataset[element.tag]
    else:
        element.value = _DUMMY.get(element.VR, "")


def deidentified_file(data: bytes, key: bytes, filename: str) -> bytes:
    """A DICOM file as it may be kept: its header de-identified, its pixels as they were.

    PatientID is `patient_key`, so that files of a patient stay together. Raises BadInput
    naming `filename` when the bytes are no DICOM file, or it says that identity is burned into the pixels.
    """
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        patient, instance = patient_key(dataset, key), str(dataset.get("SOPInstanceUID", ""))
        burned_in = str(dataset.get("BurnedInAnnotation", "NO")).strip().upper() == "YES"
    except Exception as error:  # noqa: BLE001 - of many types, none of whose texts may carry header values
        raise BadInput(f"this is no readable DICOM file ({type(error).__name__})", filename) from None
    if burned_in:
        raise BadInput("its header says that text is burned into the pixels (BurnedInAnnotation); expected an image "
                       "without patient data: have it masked first", filename)  # fmt: skip
    deidentify(dataset, key)
    dataset.PatientID = patient
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Basic Application Confidentiality Profile, PS3.15 E.1-1 2026c"
    meta = dataset.file_meta
    for element in [element for element in meta if element.tag not in (0x00020002, 0x00020010)]:
        del meta[element.tag]
    meta.MediaStorageSOPInstanceUID = replaced_uid(instance, key)
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    # the preamble may hold anything
    dataset.preamble = b"\0" * 128
    buffer = io.BytesIO()
    try:
        dataset.save_as(buffer, enforce_file_format=True)
    except Exception as error:  # noqa: BLE001 - the same
        raise BadInput(f"the header cannot be written again ({type(error).__name__})", filename) from None
    return buffer.getvalue()
