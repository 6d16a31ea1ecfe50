"""The spacing in NRRD and MetaImage headers: where there is none, ITK takes 1 mm without a word."""

import math
import re

from medcoss.run import BadInput

_NRRD = re.compile(rb"^(space directions|spacings)\s*:(.*)$", re.I | re.M)
_NRRD_UNITS = re.compile(rb"^(?:space units|units)\s*:(.*)$", re.I | re.M)
_META = re.compile(rb"^\s*(ElementSpacing|ElementSize)\s*=(.*)$", re.I | re.M)
_LAST_OF_META = re.compile(rb"^\s*ElementDataFile\s*=", re.I | re.M)
_MM = {"", "mm", "millimeter", "millimeters", "millimetre", "millimetres"}


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
