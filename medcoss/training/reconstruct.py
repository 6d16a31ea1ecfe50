"""What the pretext model fills in, to look at: pictures for images and volumes, a table for reports."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor

from medcoss.data.tokenizer import Tokenizer
from medcoss.modalities import Kind
from medcoss.models.pretext import (
    image_kind,
    patch_statistics,
    patchify,
    random_mask,
    reconstruction_loss,
    unpatchify,
)
from medcoss.run import RunContext
from medcoss.specs.training import PretrainSpec
from medcoss.training.masking import IGNORED, mask_words
from medcoss.training.rehearsal import model_inputs
from medcoss.training.steps import Source

if TYPE_CHECKING:
    from medcoss.training.pretrain import PretrainTask

mpl.use("Agg")
from matplotlib import pyplot as plt


def write_reconstructions(task: "PretrainTask", source: Source, spec: PretrainSpec, folder: Path,
                          context: RunContext, device: torch.device) -> dict[str, float]:  # fmt: skip
    """Write `reconstruction_<modality>.png` or `reconstruction_report.json` as an artifact.

    Held-out samples are preferred. Returns the loss on them, by name.
    """
    if spec.reconstructions == 0:
        return {}
    held_out = source.reader.indices("val")
    pool = held_out if len(held_out) else source.indices
    indices = pool[np.linspace(0, len(pool) - 1, min(spec.reconstructions, len(pool))).astype(int)]
    task.modules.eval()
    with torch.no_grad():
        if source.kind is Kind.TEXT:
            assert source.tokenizer is not None
            return _reports(task, source, source.tokenizer, indices, spec, folder, context, device)
        return _pictures(task, source, indices, spec, folder, context, device)


def _pictures(task, source, indices, spec, folder, context, device) -> dict[str, float]:  # type: ignore[no-untyped-def]
    (images,) = (x.to(device) for x in model_inputs(source.reader, indices, None))
    patches = patchify(images)
    generator = torch.Generator().manual_seed(spec.seed)
    noise = torch.rand(patches.shape[:2], generator=generator).to(device)
    kept, removed = random_mask(noise, spec.mask_ratio)
    encoded = task.modules["encoder"].encode_image(images, kept)
    predicted = task.modules["head"](encoded, kept, removed, image_kind(images))
    loss = float(reconstruction_loss(predicted, images, removed))
    mean, deviation = patch_statistics(patches)
    place = removed.unsqueeze(-1).expand(-1, -1, patches.shape[2])
    filled = patches.scatter(1, place, predicted * torch.gather(deviation, 1, removed.unsqueeze(-1))
                             + torch.gather(mean, 1, removed.unsqueeze(-1)))  # fmt: skip
    hidden = patches.scatter(1, place, float("nan"))
    rows = [[_shown(unpatchify(p, tuple(images.shape))[i]) for p in (hidden, filled, patches)]
            for i in range(len(images))]  # fmt: skip
    path = folder / f"reconstruction_{source.modality}.png"
    _draw(rows, path)
    context.artifact(path, path.name, "image/png")
    return {f"reconstruction/{source.modality}": loss}


def _shown(sample: Tensor) -> np.ndarray:
    """A picture (H, W) or (H, W, 3) of a sample; of a volume, the middle slice."""
    array = sample.float().cpu().numpy()
    if array.ndim == 4:
        return array[0, array.shape[1] // 2]
    return array.transpose(1, 2, 0)


def _draw(rows: list[list[np.ndarray]], path: Path) -> None:
    figure, axes = plt.subplots(len(rows), 3, figsize=(6, 2.1 * len(rows)), squeeze=False)
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
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _reports(task, source, tokenizer: Tokenizer, indices, spec, folder, context,  # type: ignore[no-untyped-def]
             device) -> dict[str, float]:  # fmt: skip
    table, right, drawn = [], 0, 0
    for index in indices:
        encoded = tokenizer.encode(source.reader.text(int(index)))
        ids, labels = mask_words(encoded, tokenizer, spec.text_mask_ratio, np.random.default_rng([spec.seed, index]))
        attention = torch.as_tensor(encoded.attention, device=device)[None]
        tokens = task.modules["encoder"].encode_text(torch.as_tensor(ids, device=device)[None], attention)[0]
        places = np.flatnonzero(labels != IGNORED)
        answers = task.modules["head"](tokens[torch.as_tensor(places, device=device)]).argmax(dim=1).cpu().numpy()
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
