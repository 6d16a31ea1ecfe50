"""Histograms of values whose range is not known before: bins are powers of two wide and begin at their multiples.

So two of them add up without error, in any order to the same result, in memory that does not grow.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 1024
# width of the bins of constant fractions
_FINEST = -20


@dataclass
class Histogram:
    """`counts[i]` values lie in `[(start + i), (start + i + 1)) * 2 ** exponent`; sums are of the values themselves."""

    exponent: int = _FINEST
    start: int = 0
    counts: list[int] = field(default_factory=list)
    number: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    @classmethod
    def of(cls, values: NDArray[Any]) -> "Histogram":
        """Of all finite values of an array, which is read plane by plane."""
        planes = values.reshape(-1, *values.shape[-2:]) if values.ndim > 2 else values[None]
        kept = (plane[np.isfinite(plane)] for plane in planes)
        ends = [(float(p.min()), float(p.max())) for p in kept if p.size]
        if not ends:
            return cls()
        low, high = min(e[0] for e in ends), max(e[1] for e in ends)
        whole = not np.issubdtype(values.dtype, np.floating)
        exponent = 0 if whole else _FINEST
        if high > low:
            exponent = max(exponent, math.ceil(math.log2((high - low) / (BINS // 2))))
        start = math.floor(low / 2.0**exponent)
        made = cls(exponent, start, [], 0, 0.0, 0.0, low, high)
        counts = np.zeros(math.floor(high / 2.0**exponent) - start + 1, np.int64)
        for plane in planes:
            finite = plane[np.isfinite(plane)].astype(np.float64)
            places = np.floor(finite / 2.0**exponent).astype(np.int64) - start
            counts += np.bincount(places, minlength=len(counts))
            made.number += finite.size
            made.total += float(finite.sum())
            made.squares += float(np.square(finite).sum())
        made.counts = counts.tolist()
        return made

    def coarsened(self, exponent: int) -> "Histogram":
        """With wider bins."""
        by = 2 ** (exponent - self.exponent)
        start = self.start // by
        counts = np.zeros((self.start + len(self.counts) - 1) // by - start + 1, np.int64)
        np.add.at(counts, [(self.start + i) // by - start for i in range(len(self.counts))], self.counts)
        return Histogram(exponent, start, counts.tolist(), self.number, self.total, self.squares, self.low, self.high)

    def add(self, other: "Histogram") -> None:
        """Add another one."""
        if not other.number:
            return
        if not self.number:
            vars(self).update(vars(other))
            return
        exponent = max(self.exponent, other.exponent)
        low, high = min(self.low, other.low), max(self.high, other.high)
        while math.floor(high / 2.0**exponent) - math.floor(low / 2.0**exponent) >= BINS:
            exponent += 1
        one, two = self.coarsened(exponent), other.coarsened(exponent)
        start = min(one.start, two.start)
        counts = np.zeros(max(h.start + len(h.counts) for h in (one, two)) - start, np.int64)
        for part in (one, two):
            counts[part.start - start : part.start - start + len(part.counts)] += part.counts
        self.exponent, self.start, self.counts = exponent, start, counts.tolist()
        self.number, self.low, self.high = self.number + other.number, low, high
        self.total, self.squares = self.total + other.total, self.squares + other.squares

    def percentile(self, percent: float) -> float:
        """A percentile, right to the width of a bin; raises ValueError when there are no values."""
        if not self.number:
            raise ValueError("there are no values")
        place = int(np.searchsorted(np.cumsum(self.counts), percent / 100 * self.number))
        middle = (self.start + min(place, len(self.counts) - 1) + (0 if self.exponent == 0 else 0.5)) * self.width
        return min(max(middle, self.low), self.high)

    @property
    def width(self) -> float:
        """Width of a bin."""
        return float(2.0**self.exponent)

    @property
    def mean(self) -> float:
        """Mean of the values."""
        return self.total / max(self.number, 1)

    @property
    def std(self) -> float:
        """Standard deviation of the values."""
        return math.sqrt(max(self.squares / max(self.number, 1) - self.mean**2, 0.0))
