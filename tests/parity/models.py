"""Our models with the generated weights, each filled once."""

import gc
from dataclasses import replace

import torch
from torch import Tensor, nn

from medcoss.modalities import Kind
from medcoss.models.encoder import Encoder
from medcoss.models.heads import Classifier, Segmenter
from medcoss.models.pretext import ImageKind, PretrainingModel
from medcoss.models.published import published_encoder_name, published_name
from medcoss.specs.encoder import SIZES, EncoderConfig, TextAttention
from tests.parity.goldens import Goldens

DTYPES = (torch.float32, torch.float64)


def suffix(dtype: torch.dtype) -> str:
    """Ending of the records of a precision."""
    return "_f64" if dtype is torch.float64 else ""


def config(goldens: Goldens, text: bool) -> EncoderConfig:
    """The published encoder, as it is, with its text attention."""
    return replace(SIZES["base"], vocabulary=goldens.fill.VOCAB if text else 0, positions="flat", attention="published")


def decoder_inputs(goldens: Goldens) -> dict[ImageKind, tuple[int, int]]:
    """Patches and pixels a patch of the images and volumes that the published model was built for."""
    arguments, inputs = goldens.manifest.get("model_arguments", {}), goldens.manifest.get("inputs", {})
    found: dict[ImageKind, tuple[int, int]] = {}
    for kind, pixels in (("2d", 3 * 16**2), ("3d", 16**3)):
        native = {"2d": [224, 224], "3d": [16, 192, 192]}[kind]
        size = arguments.get(f"now_{kind.upper()}_input_size") or inputs.get(kind, {}).get("size") or native
        tokens = 1
        for n in size:
            tokens *= n // 16
        found[kind] = (tokens, pixels)  # type: ignore[index]
    return found


def empty_pretraining_model(goldens: Goldens) -> PretrainingModel:
    """The published pre-training model without weights."""
    return PretrainingModel(config(goldens, text=True), decoder_inputs(goldens))


class Models:
    """The pre-training model of one seed and precision at a time: its weights are large and slow to make."""

    def __init__(self, goldens: Goldens) -> None:
        self.goldens = goldens
        self._seed: int | None = None
        self._model: PretrainingModel | None = None

    def pretraining(self, seed: int, dtype: torch.dtype, attention: TextAttention = "published") -> PretrainingModel:
        """The filled model in evaluation mode; it stays this object's and must not be changed."""
        if self._model is None or self._seed != seed:
            self.clear()
            with torch.device("meta"):
                model = empty_pretraining_model(self.goldens)
            model.to_empty(device="cpu")
            self._model, self._seed = self.goldens.fill.fill_module(model, seed, published_name).eval(), seed
        # the weights are float32 values in either precision: nothing is lost on the way back
        self._model.to(dtype)
        self._model.encoder.config = replace(self._model.encoder.config, attention=attention)
        return self._model

    def taken(self, seed: int, dtype: torch.dtype) -> PretrainingModel:
        """The filled model, given away to be changed."""
        model = self.pretraining(seed, dtype)
        self._model = None
        return model

    def clear(self) -> None:
        """Free the memory."""
        self._model = self._seed = None
        gc.collect()


def filled_encoder(goldens: Goldens, seed: int, text: bool = True) -> Encoder:
    """An encoder with a seed's weights, in evaluation mode; without `text` it cannot read reports."""
    with torch.device("meta"):
        encoder = Encoder(config(goldens, text))
    encoder.to_empty(device="cpu")
    return goldens.fill.fill_module(encoder, seed, published_encoder_name).eval()


def classifier(goldens: Goldens, kind: Kind, classes: int, mlp: bool,
               attention: TextAttention = "published") -> Classifier:  # fmt: skip
    """A published downstream classifier without weights: reports have an MLP on the plain mean."""
    encoder = Encoder(replace(config(goldens, kind is Kind.TEXT), attention=attention))
    return Classifier(encoder, kind, classes, "mlp" if mlp else "linear", normalise=kind is not Kind.TEXT)


def segmenter(goldens: Goldens, kind: Kind, channels: int) -> Segmenter:
    """A published downstream segmenter without weights."""
    return Segmenter(Encoder(config(goldens, text=False)), kind, channels)


def downstream_name(ours: str, text: bool = False) -> str:
    """The published name of a tensor of a downstream model."""
    module, _, rest = ours.partition(".")
    if module == "encoder":
        return published_encoder_name(rest)
    renamed = {"norm": "fc_norm", "out": "out.conv.conv", "head": "cls_head" if text else "head"}
    return f"{renamed.get(module, module)}.{rest}"


def fill_downstream(goldens: Goldens, model: nn.Module, seed: int, text: bool = False) -> nn.Module:
    """A downstream model with a seed's weights, in evaluation mode."""
    return goldens.fill.fill_module(model, seed, lambda name: downstream_name(name, text)).eval()


def tensor(array: object, dtype: torch.dtype | None = None) -> Tensor:
    """An array as a tensor; whole numbers keep their type."""
    made = torch.as_tensor(array)
    return made.to(dtype) if dtype is not None and made.is_floating_point() else made
