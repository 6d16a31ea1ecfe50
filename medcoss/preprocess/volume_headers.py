"""What headers of volumes say before ITK reads them: the spacing of NRRD and MetaImage, for which it takes 1 mm without
a word where there is none, and the size of NIfTI.
"""

import math
import re
import struct

from medcoss.run import BadInput

_NRRD = re.compile(rb"^(space directions|spacings)\s*:(.*)$", re.I | re.M)
_NRRD_UNITS = re.compile(rb"^(?:space units|units)\s*:(.*)$", re.I | re.M)
_META = re.compile(rb"^\s*(ElementSpacing|ElementSize)\s*=(.*)$", re.I | re.M)
_LAST_OF_META = re.compile(rb"^\s*ElementDataFile\s*=", re.I | re.M)
_MM = {"", "mm", "millimeter", "millimeters", "millimetre", "millimetres"}

# of the second version of the format, which is the longer one
NIFTI_HEADER = 540
# by the length of the header: where the sizes are, the bits of a voxel, and where voxels begin
_NIFTI = {348: ("h", 40, 72, "f", 108), 540: ("q", 16, 14, "q", 168)}


def nifti_bytes(header: bytes) -> int | None:
    """How many bytes a NIfTI file has by its header, of either version; None when it is no such header."""
    for order in "<>":
        try:
            (length,) = struct.unpack_from(f"{order}i", header)
            if length not in _NIFTI:
                continue
            sizes, at_sizes, at_bits, place, at_place = _NIFTI[length]
            dims = struct.unpack_from(f"{order}8{sizes}", header, at_sizes)
            (bits,) = struct.unpack_from(f"{order}h", header, at_bits)
            (offset,) = struct.unpack_from(f"{order}{place}", header, at_place)
        except struct.error:
            return None
        if 0 < dims[0] <= 7 and math.isfinite(offset):
            return int(max(offset, length)) + math.prod(max(n, 1) for n in dims[1 : dims[0] + 1]) * bits // 8
    return None


def check_spacing(header: bytes, filename: str) -> None:
    """Refuse an NRRD or MetaImage header that gives no spacing, one that is not above 0, or one in other units.

    Raises BadInput naming `filename`.
    """
    if nrrd := header.startswith(b"NRRD"):
        fields, told = _NRRD.findall(header), "space directions or spacings"
    else:
        last = _LAST_OF_META.search(header)
        fields, told = _META.findall(header[: last.start()] if last else header), "ElementSpacing"
    if not fields:
        raise BadInput(f"its header gives no spacing; expected {told} in mm: export it with its geometry", filename)
    for name, value in fields:
        lengths = _lengths(name.decode(), value.decode("ascii", "replace"))
        if not lengths or not all(math.isfinite(mm) and mm > 0 for mm in lengths):
            found = ", ".join(f"{mm:g}" for mm in lengths) or "not a number"
            raise BadInput(f"the spacing in its header ({name.decode()}) is {found}; expected lengths above 0 mm",
                           filename)  # fmt: skip
    for units in _NRRD_UNITS.findall(header) if nrrd else ():
        other = [unit for unit in re.findall(r'"([^"]*)"', units.decode("utf-8", "replace")) if unit.lower() not in _MM]
        if other:
            raise BadInput(f"its header gives the spacing in {other[0][:20]}; expected mm", filename)


def _lengths(name: str, value: str) -> list[float]:
    """Lengths of an axis each; empty when they cannot be read. An axis without a direction has none."""
    try:
        if name.lower() == "space directions":
            vectors = re.findall(r"\(([^)]*)\)", value)
            return [math.hypot(*(float(number) for number in vector.split(","))) for vector in vectors]
        return [float(number) for number in value.split()]
    except ValueError:
        return []
