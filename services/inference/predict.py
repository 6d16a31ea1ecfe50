"""From an input to an answer: decode, ask Triton, put together."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit, softmax

from medcoss.modalities import Kind
from medcoss.preprocess.serving import VolumeRequest
from medcoss.preprocess.volumes import to_label_map
from services.core.errors import FieldError, ValidationFailed
from services.inference.deployments import Preprocessing, Served
from services.inference.inputs import Input
from services.inference.triton import Arrays, Triton

Floats = NDArray[np.float32]


@dataclass
class Timing:
    """Milliseconds of the stages of one answer."""

    decode: float = 0.0
    infer: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `decode` or `infer`."""
        before = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + (time.perf_counter() - before) * 1000)

    @property
    def total(self) -> float:
        """Time since the timing was made."""
        return (time.perf_counter() - self.started) * 1000


@dataclass(frozen=True)
class Mask:
    """A label map as a file.

    `amounts` is what each class covers: ml of a volume, pixels of an image.
    """

    content: bytes
    media_type: str
    amounts: dict[str, float]


@dataclass(frozen=True)
class Predictor:
    """One served model with its preprocessing and the way to Triton."""

    served: Served
    preprocessing: Preprocessing
    triton: Triton

    def embed(self, given: Input, timing: Timing) -> Floats:
        """The embedding (d,); of a volume the mean over its windows."""
        embeddings = self._run(self._decoded(given, timing), "embedding", timing)
        mean: Floats = embeddings.mean(axis=0)
        return mean

    def classify(self, given: Input, timing: Timing) -> dict[str, float]:
        """Probability of every class; of a volume the mean over its windows."""
        logits = self._run(self._decoded(given, timing), "logits", timing)
        probabilities = softmax(logits.astype(np.float64), axis=1).mean(axis=0)
        return dict(zip(self.classes, map(float, probabilities), strict=True))

    def segment(self, given: Input, timing: Timing) -> Mask:
        """The label map on the input's own grid, later classes above earlier ones, and what each covers by itself."""
        self._check_form(given)
        if self.served.info.kind is Kind.VOLUME3D:
            return self._segment_volume(given, timing)
        with timing.stage("decode"):
            image, size = self.preprocessing.pipeline.image_and_size(given.data, given.filename)
        probabilities = expit(self._run({"image": image}, "logits", timing)[0])
        masks = self.preprocessing.pipeline.image_masks(probabilities, size)
        png = io.BytesIO()
        Image.fromarray(to_label_map(masks)).save(png, format="PNG")
        counts = [float(np.count_nonzero(mask)) for mask in masks]
        return Mask(png.getvalue(), "image/png", dict(zip(self.classes, counts, strict=True)))

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the model's outputs."""
        return self.served.info.classes or []

    def _segment_volume(self, given: Input, timing: Timing) -> Mask:
        volume = self._volume(given, timing)
        probabilities = expit(self._run({"image": volume.windows}, "logits", timing))
        masks = volume.restore(probabilities)
        millilitres = volume.volume_ml(masks)
        return Mask(volume.to_nifti(masks), "application/gzip", dict(zip(self.classes, millilitres, strict=True)))

    def _volume(self, given: Input, timing: Timing) -> VolumeRequest:
        with timing.stage("decode"):
            return self.preprocessing.pipeline.volume(given.data, given.filename)

    def _decoded(self, given: Input, timing: Timing) -> Arrays:
        """The model's inputs; the windows of a volume are a batch."""
        self._check_form(given)
        if self.served.info.kind is Kind.VOLUME3D:
            return {"image": self._volume(given, timing).windows}
        with timing.stage("decode"):
            if self.preprocessing.tokenizer is not None:
                assert given.text is not None
                encoded = self.preprocessing.pipeline.text(given.text, self.preprocessing.tokenizer)
                return {"input_ids": encoded.ids[None], "attention_mask": encoded.attention[None]}
            return {"image": self.preprocessing.pipeline.image(given.data, given.filename)}

    def _check_form(self, given: Input) -> None:
        """Refuse a text where a file is needed, and the reverse."""
        info = self.served.info
        if (info.kind is Kind.TEXT) == (given.text is not None):
            return
        if info.kind is Kind.TEXT:
            pointer, detail = "/text", f'\'{info.name}\' reads reports; send JSON: {{"text": "..."}}'
        else:
            what = "an image" if info.kind is Kind.IMAGE2D else "a volume"
            pointer, detail = "/file", f"'{info.name}' reads {info.modality}; send {what} in the form field 'file'"
        raise ValidationFailed(detail, [FieldError(pointer, detail)])

    def _run(self, inputs: dict[str, NDArray[Any]], output: str, timing: Timing) -> Floats:
        info = self.served.info
        with timing.stage("infer"):
            return self.triton.infer(info.triton_model, info.version, inputs, [output])[output]
