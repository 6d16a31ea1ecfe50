"""What a model takes and gives when it is served: one modality, named inputs, named outputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from medcoss.data.tokenizer import REPORT_LENGTH
from medcoss.modalities import Kind, get_modality
from medcoss.models.registry import encoder_for
from medcoss.run import BadInput
from medcoss.specs import ExportSpec
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


def _modality(spec: ExportSpec, info: ModelInfo) -> str:
    """The modality whose input is exported. Raises BadInput naming those that can be."""
    known = info.modalities if info.task == "encoder" else [info.modality]
    if not known:
        raise BadInput("this encoder has learnt no modality yet; pre-train a stage on one first", "/spec/model")
    if spec.modality is None and len(known) == 1:
        return known[0]
    if spec.modality in known:
        return str(spec.modality)
    names = ", ".join(known)
    if spec.modality is None:
        raise BadInput(f"this encoder has learnt several modalities ({names}); name the one to serve", "/spec/modality")
    what = "encoder has learnt" if info.task == "encoder" else f"{info.task} model reads"
    raise BadInput(f"this {what} {names}, not '{spec.modality}'; name one of them", "/spec/modality")


def _sample_shape(kind: Kind, recipe: dict[str, Any]) -> tuple[int, ...]:
    """Shape of the samples that a preprocessing recipe makes."""
    if kind is Kind.TEXT:
        return (REPORT_LENGTH,)
    return (3 if kind is Kind.IMAGE2D else 1, *(int(n) for n in recipe["size"]))


def served(spec: ExportSpec, module: nn.Module, info: ModelInfo) -> tuple[nn.Module, Signature]:
    """The function that is exported and its signature.

    Raises BadInput when the modality is not clear, not learnt, or its preprocessing is not known.
    """
    modality = _modality(spec, info)
    kind = get_modality(modality).kind
    recipe = info.recipes.get(modality) or (info.recipe if modality == info.modality else None)
    if not recipe:
        raise BadInput(
            f"the model does not say how '{modality}' was preprocessed; go on training it on a prepared dataset first",
            "/spec/model",
        )
    if info.task == "encoder":
        module = encoder_for(module, info, modality)
    vocabulary = int(info.config.get("vocabulary", 0)) if kind is Kind.TEXT else 0
    return module, Signature(info.task, modality, kind, _sample_shape(kind, recipe), recipe, vocabulary)
