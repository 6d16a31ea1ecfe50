"""From the headers of a PACS export to series, and from a series to volumes whose slices lie in order.

Slices are sorted by their place along the normal of their plane, never by number or file name. A series that is no
stack of evenly spaced, parallel slices is refused with the reason, instead of becoming a distorted volume.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcoss.preprocess.dicom_headers import TIME_TAGS, NoSlice, SliceHeader, read_headers
from medcoss.run import BadInput

# headers are written with few digits
_SAME_MM = 0.01
_UNEVEN, _GAP = 0.05, 1.5
_TILT_DEGREES = 0.1


@dataclass(frozen=True)
class Stack:
    """Slices of one volume in order along their `normal`, `distance` mm apart along it.

    `shift` (mm, along rows and down columns) is how much each slice is moved in its plane against the one before: not 0
    when the gantry was tilted. `time` tells volumes of one series apart, "" when there is one.
    """

    slices: list[SliceHeader]
    normal: tuple[float, float, float]
    distance: float
    shift: tuple[float, float]
    time: str = ""

    @property
    def tilt(self) -> float:
        """Angle of the gantry in degrees."""
        return math.degrees(math.atan2(math.hypot(*self.shift), self.distance))


def group_series(root: Path, paths: Iterable[str], key: bytes, reject: Callable[[str, BadInput], None]
                 ) -> dict[str, list[SliceHeader]]:  # fmt: skip
    """The slices below `root` by series, read one header at a time; `key` is the secret of the hashes.

    Whatever is no slice goes to `reject`: as NoSlice what exports hold beside slices, and copies (same
    SOPInstanceUID) of a file that counts already, else as BadInput.
    """
    series: dict[str, list[SliceHeader]] = defaultdict(list)
    seen: dict[str, str] = {}
    for path in paths:
        try:
            for header in read_headers(root / path, path, key):
                first = seen.setdefault(header.instance, path)
                if first != path:
                    raise NoSlice(f"this is a copy of {first} (same SOPInstanceUID); it is left out", path)
                series[header.series].append(header)
        except BadInput as error:
            reject(path, error)
    return dict(series)


def stacks(series: list[SliceHeader]) -> list[Stack]:
    """The volumes of a series: one, or one for each time point, echo or b-value.

    Raises BadInput, naming a file, for mixed sizes, spacings or orientations, missing slices, uneven distances, and
    slices at one place that nothing tells apart.
    """
    _check_same(series)
    normal = _normal(series)
    places = np.array([np.dot(one.position, normal) for one in series])
    times = _time_points(series, places)
    return [
        replace(_stack([series[i] for i in members], normal), time=time if len(times) > 1 else "")
        for time, members in times.items()
    ]


def _check_same(series: list[SliceHeader]) -> None:
    first = series[0]
    for what, values in (
        ("sizes", {one.shape for one in series}),
        ("modalities", {one.modality for one in series}),
        ("patients", {one.patient for one in series}),
    ):
        if len(values) > 1:
            told = f" ({', '.join(f'{h} x {w}' for h, w in sorted(values))})" if what == "sizes" else ""
            raise BadInput(f"the {len(series)} slices of the series have {len(values)} {what}{told}; expected one",
                           first.path)  # fmt: skip
    for what, far in (("spacings", _differ([one.spacing for one in series], 1e-3)),
                      ("orientations", _differ([one.orientation for one in series], 1e-3))):  # fmt: skip
        if far:
            raise BadInput(f"slices of the series have different {what}; expected one", series[far].path)  # fmt: skip


def _differ(values: list[tuple[float, ...]], tolerance: float) -> int:
    """Number of the first that differs from the first one; 0 when none does."""
    table = np.array(values)
    return int(np.argmax(np.abs(table - table[0]).max(axis=1) > tolerance))


def _normal(series: list[SliceHeader]) -> tuple[float, float, float]:
    row, column = np.array(series[0].orientation[:3]), np.array(series[0].orientation[3:])
    normal = np.cross(row, column)
    x, y, z = normal / np.linalg.norm(normal)
    return (float(x), float(y), float(z))


def _time_points(series: list[SliceHeader], places: NDArray[np.float64]) -> dict[str, list[int]]:
    """Numbers of the slices of each volume: by the first time tag that leaves no two slices at one place."""
    everything = list(range(len(series)))
    if not _twice(places, everything):
        return {"": everything}
    different = 1 + int((np.diff(np.sort(places)) >= _SAME_MM).sum())
    for tag, name in enumerate(TIME_TAGS):
        groups: dict[str, list[int]] = defaultdict(list)
        for i in everything:
            groups[series[i].times[tag]].append(i)
        sizes = {len(members) for members in groups.values()}
        if sizes == {different} and not any(_twice(places, members) for members in groups.values()):
            return {f"{name} {number}": groups[value] for number, value in enumerate(sorted(groups, key=_order), 1)}
    where = series[_twice(places, everything)].path
    raise BadInput(
        "another slice of the series lies at the same place, and no time, echo or b-value divides the series into "
        "whole volumes; expected one slice a place: export the phases as series of their own",
        where,
    )


def _order(value: str) -> tuple[float, str]:
    try:
        return (float(value), value)
    except ValueError:
        return (math.inf, value)


def _twice(places: NDArray[np.float64], members: list[int]) -> int:
    """Number of a slice that lies where another one does; 0 when none does."""
    order = sorted(members, key=lambda i: places[i])
    for a, b in pairwise(order):
        if places[b] - places[a] < _SAME_MM:
            return max(a, b)
    return 0


def _stack(slices: list[SliceHeader], normal: tuple[float, float, float]) -> Stack:
    order = sorted(slices, key=lambda one: float(np.dot(one.position, normal)))
    first = order[0]
    if len(order) < 2:
        raise BadInput("the series has a single slice; expected a stack of slices", first.path)
    positions = np.array([one.position for one in order])
    places = positions @ normal
    steps = np.diff(places)
    usual = float(np.median(steps))
    if steps.max() > _GAP * usual:
        gap = int(steps.argmax())
        missing = max(round(float(steps[gap]) / usual) - 1, 1)
        raise BadInput(
            f"{missing} slice(s) are missing behind this one: the next lies {steps[gap]:.2f} mm away, others "
            f"{usual:.2f} mm; expected every slice of the series",
            order[gap].path,
        )
    if np.abs(steps - usual).max() > max(_UNEVEN * usual, _SAME_MM):
        raise BadInput(f"the slices lie {steps.min():.2f} to {steps.max():.2f} mm apart; expected one distance",
                       first.path)  # fmt: skip
    distance = float(places[-1] - places[0]) / (len(order) - 1)
    return Stack(order, normal, distance, _shift(positions, first, distance))


def _shift(positions: NDArray[np.float64], first: SliceHeader, distance: float) -> tuple[float, float]:
    """Mean move in the plane from slice to slice, in mm; (0, 0) below the smallest tilt that counts."""
    axes = np.reshape(first.orientation, (2, 3))
    in_plane = (positions - positions[0]) @ axes.T
    along, down = in_plane[-1] / (len(positions) - 1)
    line = np.outer(np.arange(len(positions)), (along, down))
    if np.abs(in_plane - line).max() > max(_UNEVEN * min(first.spacing), _SAME_MM) * 2:
        raise BadInput("the slices do not lie behind each other on a straight line; expected a stack", first.path)
    if math.degrees(math.atan2(math.hypot(along, down), distance)) < _TILT_DEGREES:
        return (0.0, 0.0)
    return (float(along), float(down))
