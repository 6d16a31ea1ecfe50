"""What was compared, and with what outcome: one row an array."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.parity.goldens import Goldens, Records

Verdict = Literal["pass", "FAIL", "not built yet", "note"]


@dataclass(frozen=True)
class Limit:
    """How far a number may be off: relative to the RMS of the golden array, absolutely, or not at all."""

    kind: Literal["rel", "abs", "exact"]
    value: float = 0.0

    def __str__(self) -> str:
        return "exact" if self.kind == "exact" else f"{self.kind} {self.value:.0e}"


VALUES, LOSSES, GRADIENTS = Limit("rel", 5e-5), Limit("rel", 1e-5), Limit("rel", 1e-4)
PARAMETERS, DOUBLE, EXACT = Limit("abs", 1e-6), Limit("rel", 1e-9), Limit("exact")


@dataclass(frozen=True)
class Row:
    """The outcome of one comparison; a note compares nothing and says why."""

    file: str
    what: str
    verdict: Verdict
    limit: str = ""
    error: float | None = None
    relative: float | None = None
    detail: str = ""

    def __str__(self) -> str:
        error = "" if self.error is None else f"{self.error:.2e}"
        relative = "" if self.relative is None else f"{self.relative:.2e}"
        line = f"{self.file:<38} {self.what:<58} {error:>9} {relative:>9}  {self.limit:<10} {self.verdict}"
        return f"{line}  {self.detail}" if self.detail else line


HEADER = f"{'file':<38} {'what':<58} {'max abs':>9} {'rel':>9}  {'tolerance':<10} verdict"


@dataclass
class Report:
    """All rows of a run; `say` is called with each as it comes."""

    say: Callable[[Row], None] = lambda row: None
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows.append(row)
        self.say(row)

    @property
    def ok(self) -> bool:
        """True when something was compared and nothing failed."""
        verdicts = Counter(row.verdict for row in self.rows)
        return verdicts["pass"] > 0 and verdicts["FAIL"] == 0

    def summary(self) -> list[str]:
        """Lines for the end: the worst relative error of each file, what failed, the counts."""
        lines = ["worst relative error of each file, float32 and float64:"]
        for file in dict.fromkeys(row.file for row in self.rows):
            worst = [self._worst(file, double) for double in (False, True)]
            if any(worst):
                lines.append(f"  {file:<38} {worst[0]:>9} {worst[1]:>9}")
        failed = [row for row in self.rows if row.verdict == "FAIL"]
        lines += ["failed:", *(f"  {row}" for row in failed)] if failed else []
        counts = Counter(row.verdict for row in self.rows)
        names: tuple[Verdict, ...] = ("pass", "FAIL", "not built yet", "note")
        lines.append(", ".join(f"{counts[name]} {name}" for name in names if counts[name] or name == "FAIL"))
        return lines

    def _worst(self, file: str, double: bool) -> str:
        found = [row.relative for row in self.rows if row.file == file and row.relative is not None
                 and row.what.endswith("_f64") == double]  # fmt: skip
        return f"{max(found):.1e}" if found else ""


class Check:
    """Comparisons with one golden file."""

    def __init__(self, goldens: Goldens, file: str, report: Report) -> None:
        self.goldens, self.file, self._report = goldens, file, report
        self.arguments = goldens.files.get(file, {})
        self.records = goldens.records(file) if file.endswith(".npz") else None

    @property
    def golden(self) -> Records:
        """The arrays of the file."""
        assert self.records is not None
        return self.records

    @property
    def doubles(self) -> bool:
        """True when the file has records in float64."""
        return any(name.endswith("_f64") for name in self.golden.names)

    def compare(self, name: str, mine: Any, limit: Limit) -> None:
        """Hold a packed array against ours; a file without it is not asked for it."""
        if name not in self.golden:
            return
        self.golden.seen.add(name)
        array = np.asarray(mine)
        if array.shape != self.golden.shape(name):
            self.fail(name, f"shape {array.shape}, expected {self.golden.shape(name)}", limit)
            return
        if limit.kind == "exact" or name not in self.golden.packed:
            self._exactly(name, array, limit)
            return
        self._closely(name, array, limit)

    def equal(self, what: str, mine: Any, expected: Any, name: str | None = None) -> None:
        """Hold plain values against each other, exactly; `name` is the record that this settles."""
        if name is not None:
            self.golden.seen.add(name)
        if mine == expected:
            self._report.add(Row(self.file, what, "pass", "exact", 0.0))
        else:
            self.fail(what, f"{_short(mine)}, expected {_short(expected)}", EXACT)

    def within(self, what: str, error: float, limit: Limit, detail: str = "") -> None:
        """Hold an error that was found elsewhere against its limit."""
        verdict: Verdict = "pass" if error <= limit.value else "FAIL"
        relative = error if limit.kind == "rel" else None
        self._report.add(Row(self.file, what, verdict, str(limit), error, relative, detail))

    def note(self, what: str, detail: str, name: str | None = None) -> None:
        """Say why nothing of ours stands against something."""
        if name is not None:
            self.golden.seen.add(name)
        self._report.add(Row(self.file, what, "note", detail=detail))

    def fail(self, what: str, detail: str, limit: Limit | None = None) -> None:
        """Something that does not fit."""
        self._report.add(Row(self.file, what, "FAIL", str(limit or ""), detail=detail))

    def close(self) -> None:
        """Name what nothing was compared with."""
        if self.records is not None:
            for name in self.records.unseen:
                self.fail(name, "not understood: nothing was compared with this array")

    def _exactly(self, name: str, array: NDArray[Any], limit: Limit) -> None:
        mine, golden = stored_part(self.golden, name, array)
        both_nan = np.isnan(mine) & np.isnan(golden) if golden.dtype.kind == "f" else np.zeros(golden.shape, bool)
        error = np.where(both_nan, 0, np.abs(mine.astype(np.float64) - golden.astype(np.float64)))
        worst = float(error.max()) if error.size else 0.0
        whole = name not in self.golden.packed or _same_sum(self.golden.raw[f"{name}__stats"], array)
        verdict: Verdict = "pass" if worst == 0 and whole else "FAIL"
        self._report.add(Row(self.file, name, verdict, str(limit), worst, detail="" if whole else "another sum"))

    def _closely(self, name: str, array: NDArray[Any], limit: Limit) -> None:
        raw = self.golden.raw
        stored = raw.get(f"{name}__full", raw.get(f"{name}__slice"))
        if stored is not None and np.isnan(stored).any():
            # a published formula without a number: ours has to have none at the same places
            self._exactly(name, array, EXACT)
            return
        found = self.goldens.fill.compare(name, array, raw)
        spread = _statistics_off(raw[f"{name}__stats"], array, found["scale"])
        error, relative = found["max_abs"], max(found["rel"], found["rel_l2"], spread)
        ok = error <= limit.value if limit.kind == "abs" else relative <= limit.value
        self._report.add(Row(self.file, name, "pass" if ok else "FAIL", str(limit), error, relative))


def stored_part(records: Records, name: str, array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Our values and the golden ones at the stored places."""
    if name not in records.packed:
        return array, records.raw[name]
    if f"{name}__full" in records.raw:
        return array, records.raw[f"{name}__full"]
    return array.reshape(-1)[:: int(records.raw[f"{name}__stride"])], records.raw[f"{name}__slice"]


def _statistics_off(stats: NDArray[np.float64], array: NDArray[Any], scale: float) -> float:
    """How far mean and deviation are off, by the RMS of the golden array: they also cover what was not stored."""
    wide = array.astype(np.float64)
    if wide.size == 0:
        return 0.0
    mine = (wide.mean(), wide.std(), wide.sum() / wide.size)
    golden = (stats[0], stats[1], stats[2] / wide.size)
    return max(abs(a - b) for a, b in zip(mine, golden, strict=True)) / (scale if scale > 0 else 1.0)


def _same_sum(stats: NDArray[np.float64], array: NDArray[Any]) -> bool:
    wide = array.astype(np.float64)
    mine = (wide.mean(), wide.std(), wide.sum(), np.sqrt((wide * wide).sum())) if wide.size else (0.0,) * 4
    return bool(np.allclose(mine, stats, rtol=1e-12, atol=1e-9, equal_nan=True))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."
