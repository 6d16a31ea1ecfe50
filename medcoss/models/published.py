"""Published checkpoints in and out: MedCoSS (Ye et al., CVPR 2024), Uni-Perceiver base (Zhu et al., CVPR 2022).

An imported checkpoint is an ordinary model folder, and goes back to the same names bit for bit. Nothing that a
checkpoint holds beside tensors is used, and no object in it is brought to life.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medcoss.data.tokenizer import Tokenizer
from medcoss.modalities import BUILTIN, Kind, get_modality
from medcoss.models.encoder import Encoder
from medcoss.models.published_export import export_checkpoint
from medcoss.models.published_file import read_checkpoint, read_file
from medcoss.models.published_names import (
    UNUSED,
    our_name,
    published_encoder_name,
    published_name,
    uniperceiver_name,
)
from medcoss.models.published_shapes import (
    FLAT_ROWS,
    Sizes,
    check,
    expected_medcoss,
    expected_uniperceiver,
    meta_model,
    shapes_of,
    sizes_of,
)
from medcoss.models.registry import count_parameters, save_model
from medcoss.run import BadInput, RunContext, Stopped
from medcoss.specs.encoder import Positions, TextAttention
from medcoss.specs.imports import CheckpointFormat, ImportAttention, ImportPositions
from medcoss.specs.preprocess import ImageFolder, OpeniReports, VolumeFolder
from medcoss.specs.records import ModelInfo

__all__ = [
    "export_checkpoint",
    "import_checkpoint",
    "our_name",
    "published_encoder_name",
    "published_name",
    "read_checkpoint",
]

# Uni-Perceiver's own head, and a table that its released code does not read
_NOT_USED = ("loss_prepare.", "video_embed.embeddings_type.weight")
# what only one of them has, in the order of asking
_MARKS = {
    "medcoss": ("video_embed.embeddings_3D.", "video_embed.embeddings_st_pos_2D.", "video_embed.embeddings_st_pos_3D."),
    "uniperceiver": ("video_embed.embeddings_st_pos.",),
}
STEPS = 3


@dataclass
class _Imported:
    """A model in memory, and what became of every tensor of the file."""

    encoder: Encoder
    pretext: nn.Module | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    initialised: list[str] = field(default_factory=list)
    not_used: list[str] = field(default_factory=list)


def import_checkpoint(
    path: Path,
    output_dir: Path,
    context: RunContext,
    *,
    format: CheckpointFormat = "auto",
    vocabulary: Path | None = None,
    modalities: Sequence[str] | None = None,
    attention: ImportAttention = "auto",
    positions: ImportPositions = "auto",
    seed: int = 0,
) -> ModelInfo:
    """Write a published checkpoint as a model folder; what became of each tensor is the artifact `import.json`.

    `vocabulary` is the BERT vocab.txt that the text embedding was trained with. `modalities` are what the encoder has
    learnt, in order. What is not given is what the file says of itself, as `export_checkpoint` writes it, and else the
    format's. Raises BadInput when the file cannot be read, naming every tensor that is missing, surplus or of
    another shape, and when the vocabulary has more tokens than the text embedding; Stopped when asked to stop.
    """
    _step(context, 0, "reading the checkpoint")
    found, said = read_file(path)
    kind = _format(found, format, path.name)
    learnt = _learnt(said.modalities if modalities is None else modalities, kind)
    sizes = sizes_of(shapes_of(found), path.name)
    _check_vocabulary(vocabulary, sizes)
    sizes = _configured(sizes, kind, said.attention or "auto" if attention == "auto" else attention,
                        said.positions or "auto" if positions == "auto" else positions)  # fmt: skip
    _step(context, 1, f"comparing {len(found)} tensors")
    made = _medcoss(found, sizes, path.name) if kind == "medcoss" else _uniperceiver(found, sizes, seed, path.name)
    _step(context, 2, "writing the model")
    info = _describe(made, sizes, learnt, vocabulary is not None)
    save_model(made.encoder, info, output_dir, vocabulary, made.pretext, made.kept)
    _report(made, sizes, kind, path.name, seed, output_dir.parent, context)
    context.log(f"read with attention {sizes.config.attention}, positions {sizes.config.positions}, as one that has "
                f"learnt {', '.join(learnt) or 'nothing'}")  # fmt: skip
    context.progress(STEPS, STEPS, "imported")
    return info


def _step(context: RunContext, done: int, what: str) -> None:
    if context.should_stop():
        raise Stopped
    context.progress(done, STEPS, what)


def _format(found: dict[str, Tensor], asked: CheckpointFormat, where: str) -> str:
    if asked != "auto":
        return asked
    for kind, marks in _MARKS.items():
        if any(name.startswith(marks) for name in found):
            return kind
    raise BadInput(
        f"these are no tensors of a MedCoSS or Uni-Perceiver checkpoint: {', '.join(list(found)[:3])}, ...; expected "
        "fused_encoder.layers.0.norm1.weight, ... Say which format it is to learn what is missing",
        where,
    )


def _learnt(modalities: Sequence[str] | None, kind: str) -> list[str]:
    """The modalities given, or those of the format. Raises BadInput for one that is unknown or named twice."""
    if modalities is None:
        return list(BUILTIN) if kind == "medcoss" else []
    learnt = [modalities] if isinstance(modalities, str) else list(modalities)
    unknown = [name for name in learnt if name not in BUILTIN]
    if unknown:
        raise BadInput(f"unknown modality '{unknown[0]}'; expected some of {', '.join(BUILTIN)}", "modalities")
    if len(set(learnt)) < len(learnt):
        raise BadInput(f"expected every modality once, found {', '.join(learnt)}", "modalities")
    return learnt


def _check_vocabulary(vocabulary: Path | None, sizes: Sizes) -> None:
    if vocabulary is None:
        return
    if not vocabulary.is_file():
        raise BadInput(f"there is no file {vocabulary}; expected a BERT vocab.txt", "vocabulary")
    words = Tokenizer(vocabulary).size
    if words > sizes.config.vocabulary:
        raise BadInput(
            f"it has {words:,} tokens, the checkpoint embeds {sizes.config.vocabulary:,}; give the vocabulary that it "
            "was trained with",
            vocabulary.name,
        )


def _configured(sizes: Sizes, kind: str, attention: ImportAttention, positions: ImportPositions) -> Sizes:
    """Published behaviour for MedCoSS, so that its numbers stay what they were; the library's own otherwise."""
    published = kind == "medcoss"
    attends: TextAttention = ("published" if published else "bidirectional") if attention == "auto" else attention
    places: Positions = ("flat" if published else "grid") if positions == "auto" else positions
    return replace(sizes, config=replace(sizes.config, attention=attends, positions=places))


def _medcoss(found: dict[str, Tensor], sizes: Sizes, where: str) -> _Imported:
    """All 300 tensors, or the 186 that pass on to the next stage."""
    whole, bare = expected_medcoss(sizes, heads=True), expected_medcoss(sizes, heads=False)
    heads = any(name in found for name in whole.keys() - bare.keys())
    check(found, whole if heads else bare, lambda _: False, where)
    model = meta_model(sizes.config, sizes.inputs)
    module: nn.Module = model if heads else nn.ModuleDict({"encoder": model.encoder})
    module.to_empty(device="cpu")
    module.load_state_dict({name: found[published_name(name)] for name in module.state_dict()})
    pretext = nn.ModuleDict({"decoder": model.decoder, "language": model.language}) if heads else None
    kept = {name: found[name].float() for name in UNUSED}
    return _Imported(model.encoder, pretext, kept, taken=[n for n in found if n not in UNUSED], not_used=list(UNUSED))


def _uniperceiver(found: dict[str, Tensor], sizes: Sizes, seed: int, where: str) -> _Imported:
    """Blocks, text embedding and 2-D embedding; what Uni-Perceiver does not have starts from the seed."""
    expected = expected_uniperceiver(sizes)
    check(found, expected, lambda name: name.startswith(_NOT_USED), where)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(sizes.config)
    made = _Imported(encoder, taken=list(expected), not_used=[name for name in found if name not in expected])
    own = encoder.state_dict()
    for name, value in own.items():
        there = uniperceiver_name(published_encoder_name(name))
        if there is None:
            made.initialised.append(published_encoder_name(name))
        else:
            # of the spatial table the first 14 x 14 rows are there
            value[: len(found[there])].copy_(found[there])
            rest = f"{published_encoder_name(name)}, rows {FLAT_ROWS} and on"
            made.initialised += [rest] if len(found[there]) < len(value) else []
    return made


def _describe(made: _Imported, sizes: Sizes, learnt: list[str], words: bool) -> ModelInfo:
    """The model's record. One that has learnt nothing medical yet is described by the images it comes from."""
    last = get_modality(learnt[-1] if learnt else "xray")
    recipes = {name: _recipe(name) for name in learnt if words or get_modality(name).kind is not Kind.TEXT}
    channels = {Kind.TEXT: [], Kind.IMAGE2D: [3], Kind.VOLUME3D: [1]}[last.kind]
    tensors = {"tensors_taken": len(made.taken), "tensors_initialised": len(made.initialised)}
    parameters = count_parameters(made.encoder)
    return ModelInfo(
        task="encoder", size=sizes.name, config=sizes.config.to_dict(), modalities=learnt, stage=len(learnt),
        modality=last.name, kind=last.kind, sample_shape=[*channels, *last.size],
        recipe=recipes.get(last.name, {}), recipes=recipes, learnt=learnt if len(learnt) > 1 else [],
        metrics={name: float(n) for name, n in (tensors | {"parameters": parameters}).items()},
    )  # fmt: skip


def _recipe(modality: str) -> dict[str, Any]:
    """This platform's preprocessing of a modality, as the checkpoint does not say how its data were prepared."""
    kind = get_modality(modality).kind
    if kind is Kind.TEXT:
        return OpeniReports().model_dump(mode="json")
    made = ImageFolder(modality=modality) if kind is Kind.IMAGE2D else VolumeFolder(modality=modality)
    return made.model_dump(mode="json")


def _report(made: _Imported, sizes: Sizes, kind: str, where: str, seed: int, work: Path, context: RunContext) -> None:
    context.log(f"{where} is a {kind} checkpoint, {sizes.words}")
    context.log(f"{len(made.taken)} tensors taken, {len(made.initialised)} initialised from seed {seed}, "
                f"{len(made.not_used)} not used")  # fmt: skip
    for what, names in (("initialised", made.initialised), ("not used", made.not_used)):
        if names:
            context.log(f"{what}: {', '.join(names)}")
    if made.pretext is None:
        context.log("without pretext heads: a next stage starts them anew")
    record = {
        "file": where, "format": kind, "seed": seed, "taken": made.taken, "initialised": made.initialised,
        "not_used": made.not_used,
    }  # fmt: skip
    path = work / "import.json"
    path.write_text(json.dumps(record, indent=1))
    context.artifact(path, "import.json", "application/json")
