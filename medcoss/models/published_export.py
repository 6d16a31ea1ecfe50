"""A model of ours as a checkpoint under MedCoSS's names, for code that reads those."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from medcoss.models.published_file import SETTINGS
from medcoss.models.published_names import UNUSED, published_encoder_name, published_name
from medcoss.models.published_shapes import check, expected_medcoss, shapes_of, sizes_of
from medcoss.models.registry import PRETEXT, PUBLISHED, read_info
from medcoss.run import BadInput
from medcoss.specs.encoder import EncoderConfig

_HEADS = {
    "decoder_pred_2D.weight": "images",
    "decoder_pred_3D.weight": "volumes",
    "mlm_head.decoder.weight": "reports",
}


def export_checkpoint(model_dir: Path, path: Path) -> list[str]:
    """Write an encoder's model folder as `{"model": tensors}`; returns lines that say what stands in the file.

    Beside the tensors, under "medcoss", stands what they cannot say: attention, positions, modalities. An import takes
    it over; other readers leave it alone.

    With the heads of images, volumes and reports it holds all tensors of a MedCoSS checkpoint (300 at size base), with
    fewer heads those that MedCoSS takes over into its next stage (186). Tables that only MedCoSS has are zeros, unless
    they were imported. Raises BadInput for a fine-tuned model and for weights that do not fit the description,
    and when no file can be written at `path`.
    """
    _check_target(path)
    info = read_info(model_dir)
    if info.task != "encoder":
        raise BadInput(f"this model is a {info.task} model; expected an encoder", "config.json")
    if own := info.config.get("own"):
        detail = f"the encoder has embeddings of its own for {', '.join(own)}, for which a checkpoint has no place"
        raise BadInput(f"{detail}; fetch the model folder instead", "config.json")
    encoder, heads = _stored(model_dir)
    lacking = [what for name, what in _HEADS.items() if name not in heads]
    tensors = encoder if lacking else encoder | heads
    sizes = sizes_of(shapes_of(tensors), "model.safetensors")
    expected = expected_medcoss(sizes, heads=not lacking)
    config = EncoderConfig(**info.config)
    no_words = config.vocabulary == 0
    zeros = [n for n in expected if n not in tensors and (n in UNUSED or (no_words and n.startswith("token_embed.")))]
    tensors |= {name: torch.zeros(expected[name]) for name in zeros}
    check(tensors, expected, lambda _: False, "model.safetensors")
    settings = {"attention": config.attention, "positions": config.positions, "modalities": list(info.modalities)}
    _write({name: tensors[name] for name in expected}, settings, path)
    lines = [f"{len(expected)} tensors, {sizes.words}"]
    if lacking:
        lines.append(f"without pretext heads: the model has none of {' and '.join(lacking)}, a checkpoint has all")
    if zeros:
        lines.append(f"zeros, as the model does not have them: {', '.join(zeros)}")
    return [*lines, _way_back(settings, (model_dir / "vocab.txt").is_file())]


def _check_target(path: Path) -> None:
    if path.is_dir():
        raise BadInput(f"this is a folder; expected the file to write, e.g. {path / 'encoder.pth'}", str(path))
    if not path.absolute().parent.is_dir():
        raise BadInput(f"there is no folder {path.absolute().parent}; make it first", str(path))


def _way_back(settings: dict[str, Any], vocabulary: bool) -> str:
    """How to import the file as the same model again."""
    options = [f"--attention {settings['attention']}", f"--positions {settings['positions']}"]
    options += [f"--modality {name}" for name in settings["modalities"]]
    words = "; add --vocabulary with the model's vocab.txt" if vocabulary else ""
    return f"an import makes the same encoder of it, as the file says {' '.join(options)}{words}"


def _stored(model_dir: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The encoder's tensors and those of the pretext heads, under published names."""
    try:
        stored = load_file(model_dir / "model.safetensors")
    except (FileNotFoundError, SafetensorError) as error:
        raise BadInput(f"the weights cannot be read ({type(error).__name__})", "model.safetensors") from error
    encoder, heads = {}, {}
    try:
        for name, tensor in stored.items():
            if name.startswith(PRETEXT):
                heads[published_name(name.removeprefix(PRETEXT))] = tensor
            elif name.startswith(PUBLISHED):
                encoder[name.removeprefix(PUBLISHED)] = tensor
            else:
                encoder[published_encoder_name(name)] = tensor
    except KeyError as error:
        raise BadInput(
            f"{error.args[0]} is no tensor of an encoder; fetch the model again", "model.safetensors"
        ) from None
    return encoder, heads


def _write(tensors: dict[str, Tensor], settings: dict[str, Any], path: Path) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        torch.save({"model": tensors, SETTINGS: settings}, partial)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
