"""Predictions of a model over samples of a dataset folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.evaluation.cases import stored
from medcoss.evaluation.windows import Sliding
from medcoss.modalities import Kind
from medcoss.models.heads import Classifier, Segmenter
from medcoss.preprocess.placement import restored
from medcoss.preprocess.postprocess import postprocessed
from medcoss.preprocess.volumes import to_label_map, to_masks
from medcoss.specs.postprocess import Steps
from medcoss.training.features import model_inputs
from medcoss.training.precision import pick_device, precision


@dataclass(frozen=True)
class Case:
    """One whole image or volume: its channels of masks (K, H, W) or (K, D, H, W), which may overlap (a tumour lies in
    its liver), and the size of its voxels, in mm for volumes, 1 for images. All on the grid that the image came on,
    where the dataset knows it (`original`), else on that of the samples.
    """

    name: str
    image: NDArray[np.float32]
    predicted_masks: NDArray[np.bool_]
    reference_masks: NDArray[np.bool_]
    spacing: tuple[float, ...]
    original: bool = False

    @property
    def predicted(self) -> NDArray[np.uint8]:
        """What is predicted as a label map 1 .. K, later channels above earlier ones."""
        return to_label_map(self.predicted_masks)

    @property
    def reference(self) -> NDArray[np.uint8]:
        """What is known as a label map 1 .. K, later channels above earlier ones."""
        return to_label_map(self.reference_masks)


def class_probabilities(
    model: Classifier, reader: ShardReader, indices: NDArray[np.int64], batch_size: int, tokenizer: Tokenizer | None
) -> NDArray[np.float32]:
    """Class probabilities (N, K)."""
    outputs = _classifier_outputs(model, reader, indices, batch_size, tokenizer)
    return np.concatenate([torch.softmax(logits.float(), dim=1).cpu().numpy() for logits, _ in outputs])


def class_features(
    model: Classifier, reader: ShardReader, indices: NDArray[np.int64], batch_size: int, tokenizer: Tokenizer | None
) -> torch.Tensor:
    """Features (N, d) that the logits are read from."""
    return torch.cat([f.float() for _, f in _classifier_outputs(model, reader, indices, batch_size, tokenizer)])


def _classifier_outputs(
    model: Classifier, reader: ShardReader, indices: NDArray[np.int64], batch_size: int, tokenizer: Tokenizer | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (B, K) and features (B, d) of one batch after another."""
    device = pick_device()
    model.to(device).eval()
    for start in range(0, len(indices), batch_size):
        inputs = model_inputs(reader, indices[start : start + batch_size], tokenizer)
        with torch.no_grad(), precision(device):
            outputs = model(*(x.to(device) for x in inputs))
        yield outputs


def mask_probabilities(
    model: Segmenter, reader: ShardReader, indices: NDArray[np.int64], batch_size: int
) -> NDArray[np.float32]:
    """Probabilities (N, K, ...) of the independent channels."""
    device = pick_device()
    model.to(device).eval()
    rows = []
    for start in range(0, len(indices), batch_size):
        (images,) = model_inputs(reader, indices[start : start + batch_size], None)
        with torch.inference_mode(), precision(device):
            rows.append(torch.sigmoid(model(images.to(device)).float()).cpu().numpy())
    return np.concatenate(rows)


def segmented_cases(
    model: Segmenter, reader: ShardReader, indices: NDArray[np.int64], how: Sliding, steps: Steps = (),
    classes: Sequence[str] | None = None,
) -> Iterator[Case]:  # fmt: skip
    """Every image or volume that has samples in `indices`, segmented as a whole by a sliding window, and post-processed
    by `steps`, which name `classes` of the model; None: it has those of the dataset.
    """
    groups: dict[str, list[int]] = {}
    for index in indices:
        groups.setdefault(reader.rows[int(index)].group, []).append(int(index))
    model.to(pick_device()).eval()
    classes = reader.info.classes or [] if classes is None else classes
    for name, members in groups.items():
        case = stored(reader, members)
        # image files carry no pixel size that could be trusted
        spacing: tuple[float, ...] = (1.0, 1.0) if reader.info.kind is Kind.IMAGE2D else case.first.spacing
        image, reference = case.image[0], case.reference
        probabilities = case.probabilities(model, how)
        if original := reader.original(name):
            reference, spacing = original.mask, original.placement.spacing
            # one class at a time: the original may be many times as large
            predicted = np.stack([to_masks(restored(one, original.placement)) for one in probabilities])
            image = restored(image, original.placement, float(image.min()))
        else:
            predicted = to_masks(probabilities)
        yield Case(
            name, image, postprocessed(predicted, classes, steps, spacing), reference, spacing, original is not None
        )  # fmt: skip
