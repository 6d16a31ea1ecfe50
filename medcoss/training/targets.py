"""What a training split has to hold for something to be learnt from it."""

import numpy as np
from numpy.typing import NDArray

from medcoss.data.shards import ShardReader
from medcoss.run import BadInput, RunContext
from medcoss.specs.training import FinetuneOptions

# masks that a segmenter's head starts from, and that are looked at first
STARTED_FROM = 128


def check_targets(spec: FinetuneOptions, reader: ShardReader, indices: NDArray[np.int64],
                  context: RunContext | None) -> None:  # fmt: skip
    """Raise BadInput when there is nothing to tell apart in the training split, or a mask is none of this dataset; log
    the classes that it lacks.
    """
    classes = reader.info.classes or []
    if spec.task == "classification":
        present = {reader.label(int(i)) for i in indices}
    else:
        chosen = np.random.default_rng(spec.seed).permutation(indices)[:STARTED_FROM]
        present = set(np.flatnonzero(_seen_channels(reader, chosen, len(classes))).tolist())
        if not present and len(chosen) < len(indices):
            present = set(np.flatnonzero(_seen_channels(reader, indices, len(classes))).tolist())
    missing = [name for number, name in enumerate(classes) if number not in present]
    how = f"the {len(indices)} training samples"
    if spec.task == "classification" and len(present) < 2:
        raise BadInput(
            f"all of {how} are of the class '{classes[present.pop()]}'; expected samples of at least two classes: "
            "divide the dataset anew, or add samples of the others",
            "dataset",
        )
    if not present:
        raise BadInput(f"the masks of {how} are all empty; expected some with {', '.join(classes)}", "dataset")
    if missing and context is not None:
        context.log(f"{how} hold nothing of {', '.join(missing)}, which can therefore not be learnt", "warning")


def _seen_channels(reader: ShardReader, indices: NDArray[np.int64], channels: int) -> NDArray[np.bool_]:
    """Which channels have a voxel in one of these masks. Raises BadInput for one with other channels or labels."""
    seen = np.zeros(channels, bool)
    for index in indices:
        mask, name = np.asarray(reader.mask(int(index))), reader.rows[int(index)].source
        if len(mask) != channels:
            raise BadInput(
                f"the mask of {name} has {len(mask)} channels, the dataset names {channels} classes; prepare it again",
                "dataset",
            )
        if mask.max(initial=0) > 1:
            raise BadInput(
                f"the mask of {name} holds the label {mask.max()}, which the task does not have: expected 0 and 1 in a "
                "channel for each class; prepare the dataset again with the recipe's label names",
                "dataset",
            )
        seen |= mask.reshape(channels, -1).any(axis=1)
    return seen
