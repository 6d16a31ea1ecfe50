"""The loss on held-out samples: whether what a stage learns carries over to data that it has not seen."""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from medcoss.modalities import Kind
from medcoss.run import RunContext
from medcoss.specs.encoder import PATCH
from medcoss.specs.training import PretrainOptions
from medcoss.training.batches import named
from medcoss.training.precision import precision
from medcoss.training.steps import Batch, Source, masked_reports, report_batch

if TYPE_CHECKING:
    from medcoss.training.pretrain import PretrainTask

AT_MOST = 512
_HELD_OUT = 7


def held_out_loss(task: "PretrainTask", spec: PretrainOptions, context: RunContext, device: torch.device,
                  world: int = 1) -> Callable[[], dict[str, float]]:  # fmt: skip
    """What measures `val_loss/<modality>` of each modality that is learnt, and `val_samples/<modality>`, whenever it is
    called.

    The samples are at most 512 of the split val, drawn with the seed, each under the same mask every time, in batches
    as large as what passes the model at once in training. Without such a split it measures nothing; the log says so.
    """
    measures = []
    for number, source in enumerate(task.sources):
        indices = source.reader.indices("val")
        if source.rehearsal:
            continue
        if len(indices) == 0:
            context.log(
                f"the dataset{f' of {source.modality}' if number else ''} has no samples of the split val: there is no "
                "val_loss, and reconstructions and their numbers are of training samples", "warning",
            )  # fmt: skip
            continue
        if len(indices) > AT_MOST:
            indices = np.sort(np.random.default_rng([spec.seed, _HELD_OUT]).choice(indices, AT_MOST, replace=False))
        size = max(spec.batch_size // (spec.accumulate * world), 1)
        batches = [indices[start : start + size] for start in range(0, len(indices), size)]
        measures.append(partial(_measured, task, number, spec, batches, context, device))
    return lambda: {name: value for measure in measures for name, value in measure().items()}


def _measured(task: "PretrainTask", number: int, spec: PretrainOptions, batches: list[NDArray[np.int64]],
              context: RunContext, device: torch.device) -> dict[str, float]:  # fmt: skip
    """The mean over all terms (images, or masked tokens) of all batches of a source; leaves the modules in evaluation
    mode.
    """
    source = task.sources[number]
    task.modules.eval()
    total, terms = 0.0, 0
    for indices in batches:
        batch = _batch(number, source, indices, spec, task.encoder.config.counts_padding)
        with torch.no_grad(), precision(device, spec.precision):
            value, _ = task.loss(batch, device)
        if not math.isfinite(float(value)):
            context.log(f"no val_loss: the loss is not finite for {named(source.modality, indices)}", "warning")
            return {}
        count = task.terms(batch)
        total, terms = total + float(value) * count, terms + count
    found = {"val_loss": total / max(terms, 1), "val_samples": float(sum(map(len, batches)))}
    return {f"{name}/{source.modality}": value for name, value in found.items()}


def _batch(number: int, source: Source, indices: NDArray[np.int64], spec: PretrainOptions, padding: bool) -> Batch:
    """Samples as they are, under masks that depend on nothing but the seed and the sample."""
    rngs = [np.random.default_rng([spec.seed, _HELD_OUT, int(i)]) for i in indices]
    if source.kind is not Kind.TEXT:
        images = np.stack([source.reader.image(int(i)) for i in indices])
        tokens = math.prod(n // PATCH for n in images.shape[2:])
        return Batch(number, images=images, noise=np.stack([rng.random(tokens, dtype=np.float32) for rng in rngs]))
    return report_batch(number, *masked_reports(source, indices, rngs, spec.text_mask_ratio), padding)
