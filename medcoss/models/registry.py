"""Model folders: `model.safetensors`, `config.json` (ModelInfo) and, where reports were learnt, `vocab.txt`."""

import shutil
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medcoss.models.encoder import Embedder, Encoder
from medcoss.models.heads import Classifier, Segmenter
from medcoss.run import BadInput, refuse
from medcoss.specs import fit
from medcoss.specs.encoder import EncoderConfig
from medcoss.specs.records import ModelInfo

PRETEXT = "pretext."
PUBLISHED = "published."


def save_model(module: nn.Module, info: ModelInfo, folder: Path, vocabulary: Path | None = None,
               pretext: nn.Module | None = None, published: dict[str, Tensor] | None = None) -> None:  # fmt: skip
    """Write a model folder; the pretext heads of an encoder go along as `pretext.decoder.` and `pretext.language.`.

    `published` are tensors of an imported checkpoint that no model here has, kept as `published.` for the way back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    if pretext is not None:
        tensors |= {PRETEXT + name: t.detach().cpu().contiguous() for name, t in pretext.state_dict().items()}
    tensors |= {PUBLISHED + name: t.detach().cpu().contiguous() for name, t in (published or {}).items()}
    save_file(tensors, folder / "model.safetensors")
    # one that was learnt lies there already
    if vocabulary is not None and vocabulary != folder / "vocab.txt":
        shutil.copyfile(vocabulary, folder / "vocab.txt")
    (folder / "config.json").write_text(info.model_dump_json(indent=1))


def read_info(folder: Path) -> ModelInfo:
    """The description of a model folder. Raises BadInput when there is none or it cannot be read."""
    path = folder / "config.json"
    if not path.is_file():
        raise BadInput("this folder holds no model (config.json is missing)", folder.name)
    try:
        info = ModelInfo.model_validate_json(path.read_text())
        EncoderConfig(**info.config)
    except (ValidationError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise BadInput(f"this is no description of a model ({first}); write the folder again", path.name) from error
    return info


def build(info: ModelInfo) -> Encoder | Classifier | Segmenter:
    """The untrained architecture that a ModelInfo describes."""
    encoder = Encoder(EncoderConfig(**info.config))
    if info.task == "encoder":
        return encoder
    outputs = len(info.classes or [])
    head = Classifier if info.task == "classification" else Segmenter
    return head(encoder, info.kind, outputs, modality=info.modality)


def load_model(folder: Path) -> tuple[Encoder | Classifier | Segmenter, ModelInfo]:
    """The model of a folder, in evaluation mode, and its description.

    Raises BadInput naming missing and surplus tensors when the weights do not fit.
    """
    info = read_info(folder)
    module = build(info)
    try:
        tensors = load_file(folder / "model.safetensors")
    except (FileNotFoundError, SafetensorError) as error:
        raise BadInput(f"the weights cannot be read ({type(error).__name__})", "model.safetensors") from error
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith((PRETEXT, PUBLISHED))}
    expected = module.state_dict()
    missing, surplus = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    wrong = [f"{n} {tuple(t.shape)} for {tuple(expected[n].shape)}" for n, t in tensors.items()
             if n in expected and t.shape != expected[n].shape]  # fmt: skip
    if missing or surplus or wrong:
        raise BadInput(f"missing {missing[:3]}, surplus {surplus[:3]}, wrong shape {wrong[:3]}", "model.safetensors")
    module.load_state_dict(tensors)
    return module.eval(), info


def load_encoder(folder: Path, field: str = "init_model") -> tuple[Encoder, ModelInfo]:
    """The encoder of an encoder model. Raises BadInput naming the spec's `field` for a fine-tuned model."""
    module, info = load_model(folder)
    refuse(fit.encoder(info, field))
    assert isinstance(module, Encoder)
    return module, info


def encoder_for(module: Encoder, info: ModelInfo, modality: str) -> Embedder:
    """The function from one modality's input to features (B, d). Raises BadInput when it was not learnt."""
    refuse(fit.learnt(info, modality, "modality"))
    return Embedder(module, info.modality_named(modality).kind, modality).eval()


def count_parameters(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
