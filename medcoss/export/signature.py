"""What a model takes and gives when it is served: one modality, named inputs, named outputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from medcoss.modalities import Kind
from medcoss.models.registry import encoder_for
from medcoss.run import BadInput
from medcoss.specs import ExportSpec, fit_export
from medcoss.specs.encoder import REPORT_LENGTH
from medcoss.specs.records import ModelInfo

Arrays = dict[str, NDArray[Any]]
OUTPUTS = {"encoder": ["embedding"], "classification": ["logits", "embedding"], "segmentation": ["logits"]}


@dataclass(frozen=True)
class Signature:
    """One served function.

    `sample_shape` is one sample without the batch axis: `(3, H, W)`, `(1, D, H, W)` or `(tokens,)`;
    `vocabulary` the number of word pieces, 0 without text.
    """

    task: str
    modality: str
    kind: Kind
    sample_shape: tuple[int, ...]
    recipe: dict[str, Any]
    vocabulary: int = 0

    @property
    def input_names(self) -> list[str]:
        """Names of the graph's inputs, in the order of the module's arguments."""
        return ["input_ids", "attention_mask"] if self.kind is Kind.TEXT else ["image"]

    @property
    def output_names(self) -> list[str]:
        """Names of the graph's outputs, in the order in which the module returns them."""
        return OUTPUTS[self.task]

    def samples(self, batch: int, seed: int) -> Arrays:
        """Random inputs in the range of real ones: [0, 1] for images, z-scores for volumes, padded ids for text."""
        rng = np.random.default_rng(seed)
        shape = (batch, *self.sample_shape)
        if self.kind is Kind.IMAGE2D:
            return {"image": rng.random(shape, dtype=np.float32)}
        if self.kind is Kind.VOLUME3D:
            return {"image": rng.standard_normal(shape, dtype=np.float32)}
        lengths = rng.integers(3, self.sample_shape[0] + 1, size=(batch, 1))
        real = np.arange(self.sample_shape[0])[None] < lengths
        ids = np.where(real, rng.integers(0, self.vocabulary, size=shape), 0)
        return {"input_ids": ids.astype(np.int64), "attention_mask": real.astype(np.int64)}


def _sample_shape(kind: Kind, recipe: dict[str, Any]) -> tuple[int, ...]:
    """Shape of the samples that a preprocessing recipe makes."""
    if kind is Kind.TEXT:
        return (REPORT_LENGTH,)
    return (3 if kind is Kind.IMAGE2D else 1, *(int(n) for n in recipe["size"]))


def served(spec: ExportSpec, module: nn.Module, info: ModelInfo) -> tuple[nn.Module, Signature]:
    """The function that is exported and its signature.

    Raises BadInput when the modality is not clear, not learnt, or its preprocessing is not known.
    """
    for misfit in fit_export.exporting(spec, info):
        raise BadInput(misfit.detail, f"/spec/{misfit.field}")
    modality = fit_export.served_modality(spec, info)
    kind, recipe = info.modality_named(modality).kind, fit_export.served_recipe(info, modality)
    if info.task == "encoder":
        module = encoder_for(module, info, modality)
    # the window of a segmenter may be smaller than the tiles of its data
    segments = info.task == "segmentation"
    shape = tuple(info.sample_shape) if segments else _sample_shape(kind, recipe)
    vocabulary = int(info.config.get("vocabulary", 0)) if kind is Kind.TEXT else 0
    return module, Signature(info.task, modality, kind, shape, recipe, vocabulary)
