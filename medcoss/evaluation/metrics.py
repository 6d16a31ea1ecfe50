"""Scores of classifiers and segmenters."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score

Mask = NDArray[np.bool_]


def classification_scores(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> dict[str, float]:
    """Accuracy, macro F1 over the classes that occur or are predicted, and, where every class occurs, macro
    one-against-rest AUC.

    `probabilities` (N, K) sum to one, `labels` (N,) are class indices.
    """
    predicted = probabilities.argmax(axis=1)
    classes = list(range(probabilities.shape[1]))
    scores = {
        "accuracy": float(accuracy_score(labels, predicted)),
        "f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
    }
    if len(np.unique(labels)) == len(classes) > 1:
        given = probabilities[:, 1] if len(classes) == 2 else probabilities
        scores["auc"] = float(roc_auc_score(labels, given, multi_class="ovr", labels=classes))
    return scores


def confusion(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> list[list[int]]:
    """Counts (K, K): rows are the true classes, columns the predicted ones."""
    classes = list(range(probabilities.shape[1]))
    return [[int(n) for n in row] for row in confusion_matrix(labels, probabilities.argmax(axis=1), labels=classes)]


def dice(predicted: Mask, reference: Mask) -> float:
    """Dice coefficient of two masks; 1 when both are empty."""
    total = int(predicted.sum()) + int(reference.sum())
    return 1.0 if total == 0 else 2.0 * int((predicted & reference).sum()) / total


def hd95(predicted: Mask, reference: Mask, spacing: tuple[float, ...]) -> float | None:
    """95 % Hausdorff distance, in the unit of `spacing` (in array order); None when a mask is empty.

    The larger of the 95th percentiles of the surface distances in the two directions.
    """
    # here, because it takes a second and a half that jobs without volumes need not wait for
    from monai.metrics import compute_hausdorff_distance

    if not predicted.any() or not reference.any():
        return None
    pair = (torch.from_numpy(m.astype(np.float32))[None, None] for m in (predicted, reference))
    return float(compute_hausdorff_distance(*pair, percentile=95, spacing=list(spacing)))
