"""Calibration of a classifier: whether it is right as often as its probabilities say."""

import numpy as np
from numpy.typing import NDArray

BINS = 15


def calibration_bins(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of every case (N,), the bin of its highest probability, and that probability minus whether it is right.

    The 15 bins are of equal width, closed at the upper end, as in Guo et al. (ICML 2017).
    """
    sure = probabilities.max(axis=1, initial=0).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    return np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1), sure - right


def calibration_error(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Expected calibration error: |confidence - accuracy| of the bins, weighted by their cases; 0 is best, 1 worst."""
    bins, gaps = calibration_bins(probabilities, labels)
    return float(np.abs(np.bincount(bins, gaps, BINS)).sum() / len(labels))


def reliability(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> list[dict[str, float]]:
    """The curve behind the error: of every bin with cases, its bounds, mean confidence, accuracy and cases."""
    bins, gaps = calibration_bins(probabilities, labels)
    sure = probabilities.max(axis=1)
    rows = []
    for number in np.unique(bins):
        inside = bins == number
        confidence = float(sure[inside].mean())
        rows.append(
            {"low": int(number) / BINS, "high": (int(number) + 1) / BINS, "confidence": confidence,
             "accuracy": float(confidence - gaps[inside].mean()), "cases": float(inside.sum())}
        )  # fmt: skip
    return rows
