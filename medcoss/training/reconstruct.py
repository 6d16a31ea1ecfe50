"""What the pretext model fills in, to look at: pictures for images and volumes, a table for reports."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcoss.data.tokenizer import Tokenizer
from medcoss.modalities import Kind
from medcoss.models.pretext import (
    MaskedImageDecoder,
    image_kind,
    patch_statistics,
    patchify,
    random_mask,
    reconstruction_loss,
    unpatchify,
)
from medcoss.run import RunContext
from medcoss.specs.encoder import PATCH
from medcoss.specs.training import PretrainOptions
from medcoss.training.features import model_inputs
from medcoss.training.masking import IGNORED, mask_words
from medcoss.training.steps import Source

if TYPE_CHECKING:
    from medcoss.training.pretrain import PretrainTask

mpl.use("Agg")
from matplotlib import pyplot as plt


@dataclass(frozen=True)
class Filled:
    """Inputs (B, C, ...) with the removed patches not a number, with them filled in, and as they are; the loss."""

    hidden: Tensor
    filled: Tensor
    images: Tensor
    loss: float


def write_reconstructions(task: "PretrainTask", spec: PretrainOptions, folder: Path, context: RunContext,
                          device: torch.device, epoch: int | None = None) -> dict[str, float]:  # fmt: skip
    """Write what the model fills in as artifacts: `reconstruction_<modality>.png` for the new modality and every
    rehearsed one that its decoder fits, NIfTI files beside it for volumes, `reconstruction_report.json`.

    Pictures on the way carry their `epoch` in the name; reports are left to the end. Held-out samples are
    preferred. Returns the loss of the new modality on them, by name.
    """
    metrics: dict[str, float] = {}
    if spec.reconstructions == 0:
        return metrics
    task.modules.eval()
    place = "" if epoch is None else f"_epoch{epoch:05d}"
    new = task.sources[0]
    with torch.no_grad():
        if new.kind is Kind.TEXT and epoch is None:
            assert new.tokenizer is not None
            indices = _chosen(new, spec)
            metrics = _reports(task, new, new.tokenizer, indices, spec, folder, context, device)
        for source in task.sources:
            if isinstance(task.head, MaskedImageDecoder) and task.head.reads(source.reader.info.sample_shape[1:]):
                name = f"reconstruction_{source.modality}{place}"
                loss = _pictures(task, source, spec, folder, name, context, device)
                if source is new:
                    metrics[f"reconstruction/{source.modality}"] = loss
    return metrics


def _chosen(source: Source, spec: PretrainOptions) -> NDArray[np.int64]:
    held_out = source.reader.indices("val")
    pool = held_out if len(held_out) else source.indices
    return pool[np.linspace(0, len(pool) - 1, min(spec.reconstructions, len(pool))).astype(int)]


def _pictures(task: "PretrainTask", source: Source, spec: PretrainOptions, folder: Path, name: str,
              context: RunContext, device: torch.device) -> float:  # fmt: skip
    """Draw some samples of a source, keep the first volume as NIfTI; the loss on them."""
    indices = _chosen(source, spec)
    (images,) = model_inputs(source.reader, indices, None)
    found = _filled(task, source.modality, images, spec, device)
    rows = [[_shown(x[i]) for x in (found.hidden, found.filled, found.images)] for i in range(len(images))]
    path = folder / f"{name}.png"
    _draw(rows, path)
    context.artifact(path, path.name, "image/png")
    if source.kind is Kind.VOLUME3D:
        spacing = source.reader.rows[int(indices[0])].spacing
        volumes = {"input": found.images, "masked": found.hidden, "reconstructed": found.filled}
        for part, volume in volumes.items():
            path = folder / f"{name}_{part}.nii.gz"
            _write_nifti(volume[0, 0], spacing, path)
            context.artifact(path, path.name, "application/gzip")
    return found.loss


def _filled(task: "PretrainTask", modality: str, images: Tensor, spec: PretrainOptions, device: torch.device) -> Filled:
    """What the model makes of images under masks that depend on the seed alone, in batches as large as the training's;
    each predicted patch takes the true mean and contrast of its place.
    """
    tokens = math.prod(n // PATCH for n in images.shape[2:])
    noise = torch.rand((len(images), tokens), generator=torch.Generator().manual_seed(spec.seed))
    size = max(spec.batch_size // spec.accumulate, 1)
    parts = [_filled_batch(task, x.to(device), n.to(device), spec.mask_ratio, modality)
             for x, n in zip(images.split(size), noise.split(size), strict=True)]  # fmt: skip
    loss = sum(part.loss * len(part.images) for part in parts) / len(images)
    hidden, filled = (torch.cat([getattr(part, name) for part in parts]) for name in ("hidden", "filled"))
    return Filled(hidden, filled, images, loss)


def _filled_batch(task: "PretrainTask", images: Tensor, noise: Tensor, mask_ratio: float, modality: str) -> Filled:
    """What the model makes of images (B, C, ...) at the places that `noise` (B, L) hides, in CPU memory."""
    patches = patchify(images)
    kept, removed = random_mask(noise, mask_ratio)
    predicted = task.head(task.encoder.encode_image(images, kept, modality), kept, removed, image_kind(images))
    mean, deviation = patch_statistics(patches)
    place = removed.unsqueeze(-1).expand(-1, -1, patches.shape[2])
    filled = patches.scatter(1, place, predicted * torch.gather(deviation, 1, removed.unsqueeze(-1))
                             + torch.gather(mean, 1, removed.unsqueeze(-1)))  # fmt: skip
    hidden = patches.scatter(1, place, float("nan"))
    shape = tuple(images.shape)
    loss = float(reconstruction_loss(predicted, images, removed))
    return Filled(unpatchify(hidden, shape).cpu(), unpatchify(filled, shape).cpu(), images.cpu(), loss)


def _write_nifti(volume: Tensor, spacing: tuple[float, float, float], path: Path) -> None:
    """A volume (D, H, W) with its spacing in mm (z, y, x); what was hidden takes the lowest value."""
    array = volume.float().cpu().numpy()
    image = sitk.GetImageFromArray(np.where(np.isnan(array), np.nanmin(array), array))
    if min(spacing) > 0:
        image.SetSpacing(tuple(reversed(spacing)))
    sitk.WriteImage(image, str(path))


def _shown(sample: Tensor) -> np.ndarray:
    """A picture (H, W) or (H, W, 3) of a sample; of a volume, the middle slice."""
    array = sample.float().cpu().numpy()
    if array.ndim == 4:
        return array[0, array.shape[1] // 2]
    return array.transpose(1, 2, 0)


def _draw(rows: list[list[np.ndarray]], path: Path) -> None:
    figure, axes = plt.subplots(len(rows), 3, figsize=(6, 2.1 * len(rows)), squeeze=False, layout="constrained")
    grey = plt.get_cmap("gray").with_extremes(bad="#2a5f8a")
    for row, pictures in zip(axes, rows, strict=True):
        low, high = float(np.nanmin(pictures[2])), float(np.nanmax(pictures[2]))
        for axis, picture in zip(row, pictures, strict=True):
            axis.axis("off")
            scaled = np.clip((picture - low) / max(high - low, 1e-6), 0, 1)
            if scaled.ndim == 3:
                blank = np.isnan(scaled).any(axis=2)
                scaled = np.where(blank[..., None], np.array([0.165, 0.373, 0.541]), scaled)
            axis.imshow(scaled, cmap=grey, vmin=0, vmax=1)
    for axis, title in zip(axes[0], ("masked", "reconstructed", "original"), strict=True):
        axis.set_title(title, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _reports(task: "PretrainTask", source: Source, tokenizer: Tokenizer, indices: NDArray[np.int64],
             spec: PretrainOptions, folder: Path, context: RunContext,
             device: torch.device) -> dict[str, float]:  # fmt: skip
    """Keep a table of reports with masked words filled in; the share that is right."""
    table, right, drawn = [], 0, 0
    for index in indices:
        encoded = tokenizer.encode(source.reader.text(int(index)))
        ids, labels = mask_words(encoded, tokenizer, spec.text_mask_ratio, np.random.default_rng([spec.seed, index]))
        attention = torch.as_tensor(encoded.attention, device=device)[None]
        tokens = task.encoder.encode_text(torch.as_tensor(ids, device=device)[None], attention)[0]
        places = np.flatnonzero(labels != IGNORED)
        # the table may have rows beyond the vocabulary, which stand for no word
        logits = task.head(tokens[torch.as_tensor(places, device=device)])[:, : tokenizer.size]
        answers = logits.argmax(dim=1).cpu().numpy()
        shown, filled = encoded.ids.copy(), encoded.ids.copy()
        shown[places], filled[places] = tokenizer.mask_id, answers
        right, drawn = right + int((answers == labels[places]).sum()), drawn + len(places)
        inner = slice(1, int(encoded.attention.sum()) - 1)
        table.append(
            {"original": tokenizer.decode(encoded.ids[inner]), "masked": tokenizer.decode(shown[inner]),
             "predicted": tokenizer.decode(filled[inner])}
        )  # fmt: skip
    path = folder / "reconstruction_report.json"
    path.write_text(json.dumps(table, indent=1))
    context.artifact(path, path.name, "application/json")
    return {"masked_word_accuracy/report": right / max(drawn, 1)}
