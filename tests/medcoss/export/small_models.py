"""Small untrained models in model folders, as training jobs write them."""

from collections.abc import Sequence
from pathlib import Path

import torch

from medcoss.modalities import get_modality
from medcoss.models.heads import Segmenter
from medcoss.models.registry import build, save_model
from medcoss.specs.encoder import EncoderConfig
from medcoss.specs.records import ModelInfo

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{i}" for i in range(95))]
CONFIG = EncoderConfig(
    dim=48, depth=3, heads=3, layer_scale=0.1, decoder_dim=48, decoder_depth=1, decoder_heads=3, feature_size=4
)  # fmt: skip
RECIPES = {
    "xray": {"name": "image_folder", "modality": "xray", "size": [64, 64]},
    "mr": {"name": "volume_folder", "modality": "mr", "size": [16, 32, 48], "stride": 8},
    "ct": {"name": "volume_folder", "modality": "ct", "size": [16, 32, 48], "stride": 8},
    "pathology": {"name": "image_folder", "modality": "pathology", "size": [64, 64]},
    "report": {"name": "openi_reports", "modality": "report"},
}
SHAPES = {
    "xray": [3, 64, 64], "pathology": [3, 64, 64], "mr": [1, 16, 32, 48], "ct": [1, 16, 32, 48], "report": [112],
}  # fmt: skip


def write_model(
    folder: Path, task: str, modalities: list[str], classes: list[str] | None = None, seed: int = 0,
    *, words: Sequence[str] = VOCABULARY, config: EncoderConfig = CONFIG,
) -> Path:  # fmt: skip
    """Write the folder of an untrained model for `task` that has learnt `modalities`; returns the folder."""
    last = modalities[-1]
    recipe = RECIPES[last]
    if task == "segmentation" and last == "mr":
        recipe = recipe | {"label_suffix": "_label", "label_names": classes}
    if "report" in modalities:
        config = config.with_vocabulary(len(words))
    info = ModelInfo(
        task=task,
        size="tiny",
        config=config.to_dict(),
        modalities=modalities,
        stage=len(modalities),
        modality=last,
        kind=get_modality(last).kind,
        classes=classes,
        sample_shape=SHAPES[last],
        recipe=recipe,
        recipes={name: RECIPES[name] for name in modalities},
    )
    torch.manual_seed(seed)
    module = build(info)
    with torch.no_grad():
        for parameter in module.parameters():
            # away from the start, where heads answer almost nothing
            parameter.add_(0.05 * torch.randn_like(parameter))
        if isinstance(module, Segmenter):
            # half of the voxels of noise in every channel
            logits = module(torch.randn(1, *info.sample_shape)).transpose(0, 1).flatten(1)
            module.out.bias -= logits.median(dim=1).values
    folder.mkdir(parents=True)
    vocabulary = None
    if "report" in modalities:
        vocabulary = folder.parent / "vocab.txt"
        vocabulary.write_text("\n".join(words) + "\n")
    save_model(module, info, folder, vocabulary)
    return folder
