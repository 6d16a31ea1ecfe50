"""From an input to an answer: decode, prepare, ask Triton, put together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.special import expit, softmax

from medcoss.modalities import Kind
from medcoss.preprocess.postprocess import postprocessed
from medcoss.preprocess.received import Volume, received_image, received_volume
from medcoss.preprocess.serving import SegmentRequest
from medcoss.preprocess.volumes import to_masks
from services.inference import metrics
from services.inference.deployments import Preprocessing, Served
from services.inference.inputs import Input, invalid
from services.inference.timing import Timing
from services.inference.triton import Arrays, Triton
from services.inference.watch import Watch

Floats = NDArray[np.float32]
Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class SegmentedImage:
    """An image with a mask (H, W) of each class, in its own size. `header` is that of an image that came as DICOM."""

    pixels: NDArray[np.uint8]
    header: Dataset | None
    masks: Masks
    # the highest probability of each class in the image
    highest: list[float]

    def amounts(self) -> list[float]:
        """Pixels of each class."""
        return [float(np.count_nonzero(mask)) for mask in self.masks]


@dataclass(frozen=True)
class SegmentedVolume:
    """A volume with a mask (z, y, x) of each class on its grid with axes nearest to LPS."""

    volume: Volume
    request: SegmentRequest
    masks: Masks
    highest: list[float]

    def amounts(self) -> list[float]:
        """Millilitres of each class."""
        return self.request.volume_ml(self.masks)


Segmented = SegmentedImage | SegmentedVolume


@dataclass(frozen=True)
class Predictor:
    """One served model with its preprocessing and the way to Triton."""

    served: Served
    preprocessing: Preprocessing
    triton: Triton

    def embed(self, given: Input, timing: Timing, watch: Watch | None = None) -> Floats:
        """The embedding (d,); of a volume the mean over its windows."""
        watch = watch or Watch()
        embeddings = self._run(self._prepared(given, timing, watch), "embedding", timing, watch)
        mean: Floats = embeddings.mean(axis=0)
        return mean

    def classify(self, given: Input, timing: Timing, watch: Watch | None = None) -> dict[str, float]:
        """Probability of every class; of a volume the mean over its windows."""
        watch = watch or Watch()
        logits = self._run(self._prepared(given, timing, watch), "logits", timing, watch)
        probabilities = softmax(logits.astype(np.float64), axis=1).mean(axis=0)
        return dict(zip(self.classes, map(float, probabilities), strict=True))

    def segment(self, given: Input, timing: Timing, watch: Watch | None = None) -> Segmented:
        """The masks on the input's own grid, each class by itself, post-processed as the model says."""
        watch = watch or Watch()
        self._check_form(given)
        if self.served.info.kind is Kind.VOLUME3D:
            return self._segment_volume(given, timing, watch)
        pixels, header, prepared = self._image(given, timing, watch)
        probabilities = expit(self._run({"image": prepared}, "logits", timing, watch)[0])
        with timing.stage("postprocess"):
            watch.step("postprocess")
            size = (pixels.shape[0], pixels.shape[1])
            channels = self.preprocessing.pipeline.image_channels(probabilities, size)
            masks, highest = self._masks(iter(channels), (1.0, 1.0), watch)
            return SegmentedImage(pixels, header, masks, highest)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the model's outputs."""
        return self.served.info.classes or []

    def _segment_volume(self, given: Input, timing: Timing, watch: Watch) -> SegmentedVolume:
        info, volume = self.served.info, self._volume(given, timing, watch)
        with timing.stage("preprocess"):
            request = self.preprocessing.pipeline.segmented(volume.image, tuple(info.sample_shape[1:]))
        metrics.windows(info.name, len(request))
        with timing.stage("infer"):
            size = self.triton.batch_size(info.triton_model, info.version)
            batches = ({"image": windows} for windows in request.batches(size))
            answers = self.triton.stream(info.triton_model, info.version, batches, ["logits"], len(request), watch)
            # windows are blended while others are on their way
            blended = request.blended(expit(answer["logits"]) for answer in answers)
        with timing.stage("postprocess"):
            watch.step("postprocess")
            masks, highest = self._masks(request.channels(blended), request.spacing, watch)
            return SegmentedVolume(volume, request, masks, highest)

    def _masks(self, channels: Iterator[Floats], spacing: tuple[float, ...], watch: Watch) -> tuple[Masks, list[float]]:
        """Post-processed masks (K, ...) and the highest probability of each class, of one class after the other."""
        masks, highest = [], []
        for channel in channels:
            watch.check()
            masks.append(to_masks(channel))
            highest.append(float(channel.max()))
        return postprocessed(np.stack(masks), self.classes, self.served.info.postprocess, spacing), highest

    def _volume(self, given: Input, timing: Timing, watch: Watch) -> Volume:
        watch.step("decode")
        with timing.stage("decode"):
            volume = received_volume(given.files, self.served.info.modality)
        watch.step("preprocess")
        return volume

    def _image(self, given: Input, timing: Timing, watch: Watch) -> tuple[NDArray[np.uint8], Dataset | None, Floats]:
        """Pixels of the image, the header of one that came as DICOM, and the model's input."""
        watch.step("decode")
        with timing.stage("decode"):
            pixels, header = received_image(given.files)
            self.preprocessing.pipeline.check_colours(pixels, given.files[0].name)
        with timing.stage("preprocess"):
            return pixels, header, self.preprocessing.pipeline.pixels(pixels)

    def _prepared(self, given: Input, timing: Timing, watch: Watch) -> Arrays:
        """The model's inputs; the windows of a volume are a batch."""
        self._check_form(given)
        if self.served.info.kind is Kind.VOLUME3D:
            volume = self._volume(given, timing, watch)
            with timing.stage("preprocess"):
                return {"image": self.preprocessing.pipeline.voxels(volume.image).windows}
        if self.preprocessing.tokenizer is None:
            return {"image": self._image(given, timing, watch)[2]}
        with timing.stage("preprocess"):
            text = given.read_text()
            assert text is not None, "its form is checked"
            encoded = self.preprocessing.pipeline.text(text, self.preprocessing.tokenizer)
            return {"input_ids": encoded.ids[None], "attention_mask": encoded.attention[None]}

    def _check_form(self, given: Input) -> None:
        """Refuse a text where a file is needed, and the reverse."""
        info = self.served.info
        if info.kind is Kind.TEXT:
            if given.text is None and not given.textual:
                raise invalid("/text", f'\'{info.name}\' reads reports; send JSON: {{"text": "..."}}, or text/plain')
        elif given.text is not None:
            what = "an image" if info.kind is Kind.IMAGE2D else "a volume"
            raise invalid("/file", f"'{info.name}' reads {info.modality}; send {what} in the form field 'file'")

    def _run(self, inputs: dict[str, NDArray[Any]], output: str, timing: Timing, watch: Watch) -> Floats:
        info = self.served.info
        metrics.windows(info.name, len(next(iter(inputs.values()))))
        with timing.stage("infer"):
            return self.triton.infer(info.triton_model, info.version, inputs, [output], watch)[output]
