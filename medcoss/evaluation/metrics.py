"""Scores of classifiers and segmenters."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medcoss.evaluation.calibration import calibration_error

Mask = NDArray[np.bool_]


def classification_scores(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> dict[str, float]:
    """Accuracy, macro F1 over the classes that occur or are predicted, expected calibration error, and, where every
    class occurs, the macro AUC of one class against the rest (`auc`) and of one class against one (`auc_ovo`).

    `auc_ovo` is that of Hand and Till (Machine Learning 45, 2001), which does not depend on how frequent the classes
    are; of two classes both are the same. `probabilities` (N, K) sum to one, `labels` (N,) are class indices.
    """
    # here and below, because it takes a second that segmenters need not wait for
    from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

    predicted = probabilities.argmax(axis=1)
    classes = list(range(probabilities.shape[1]))
    scores = {
        "accuracy": float(accuracy_score(labels, predicted)),
        "f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "ece": calibration_error(probabilities, labels),
    }
    if len(np.unique(labels)) == len(classes) > 1:
        given = probabilities[:, 1] if len(classes) == 2 else probabilities
        scores["auc"] = float(roc_auc_score(labels, given, multi_class="ovr", labels=classes))
        scores["auc_ovo"] = float(roc_auc_score(labels, given, multi_class="ovo", labels=classes))
    return scores


def class_report(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], names: list[str]
) -> list[dict[str, str | float | None]]:
    """Of each class: its cases, how often it is predicted, precision, recall, F1 and its AUC against the rest.

    None stands for what is undefined: the precision of a class that is never predicted, the recall of one without
    cases, the AUC where all cases or none are of the class.
    """
    from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

    predicted, places = probabilities.argmax(axis=1), list(range(len(names)))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=places, zero_division=np.nan
    )
    rows: list[dict[str, str | float | None]] = []
    for i, name in enumerate(names):
        own = labels == i
        auc = float(roc_auc_score(own, probabilities[:, i])) if own.any() and not own.all() else None
        scores = {"precision": precision[i], "recall": recall[i], "f1": f1[i]}
        known = {key: None if np.isnan(value) else float(value) for key, value in scores.items()}
        said = int((predicted == i).sum())
        rows.append({"class": name, "cases": int(support[i]), "predicted": said, **known, "auc": auc})
    return rows


def confusion(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> list[list[int]]:
    """Counts (K, K): rows are the true classes, columns the predicted ones."""
    from sklearn.metrics import confusion_matrix

    classes = list(range(probabilities.shape[1]))
    return [[int(n) for n in row] for row in confusion_matrix(labels, probabilities.argmax(axis=1), labels=classes)]


def dice(predicted: Mask, reference: Mask) -> float:
    """Dice coefficient of two masks; 1 when both are empty."""
    total = int(predicted.sum()) + int(reference.sum())
    return 1.0 if total == 0 else 2.0 * int((predicted & reference).sum()) / total


@dataclass(frozen=True)
class SurfaceScores:
    """Distances between the surfaces of two masks, in the unit of the spacing."""

    hd95: float
    assd: float


def surface_scores(predicted: Mask, reference: Mask, spacing: tuple[float, ...]) -> SurfaceScores | None:
    """95 % Hausdorff distance and average symmetric surface distance; None when a mask is empty.

    `spacing` is in array order. HD95 is the larger of the 95th percentiles of the two directions, the average is over
    the voxels of both surfaces (MONAI's conventions, which measure from the border voxels' centres).
    """
    # here, because it takes a second and a half that jobs without volumes need not wait for
    from monai.metrics.utils import get_edge_surface_distance

    if not predicted.any() or not reference.any():
        return None
    first, second = (torch.from_numpy(np.ascontiguousarray(m)) for m in (predicted, reference))
    _, distances, _ = get_edge_surface_distance(first, second, spacing=list(spacing), symmetric=True)
    both = [d.numpy().astype(np.float64) for d in distances]
    return SurfaceScores(max(float(np.percentile(d, 95)) for d in both), float(np.concatenate(both).mean()))


def hd95(predicted: Mask, reference: Mask, spacing: tuple[float, ...]) -> float | None:
    """The 95 % Hausdorff distance of `surface_scores`."""
    found = surface_scores(predicted, reference, spacing)
    return None if found is None else found.hd95
