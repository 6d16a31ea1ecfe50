"""Names and shapes of published tensors, groups of the optimizer, checksums of the generator."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from medcoss.modalities import Kind
from medcoss.models.encoder import Encoder
from medcoss.models.published import published_encoder_name, published_name
from medcoss.models.published_names import UNUSED
from medcoss.training.optim import adamw
from tests.parity.goldens import Goldens, default_folder
from tests.parity.models import Models, classifier, config, downstream_name, empty_pretraining_model, segmenter
from tests.parity.report import Check


def check_checksums(check: Check, models: Models) -> None:
    """SHA-256 of generated weights, and of the inputs that this manifest shares with the list's own."""
    listed = check.goldens.json(check.file)
    fill = check.goldens.fill
    wrong = []
    for label, told in listed["weights"].items():
        name, _, seed = label.partition(" @ ")
        if fill.sha256(fill.fill_array(name, told["shape"], int(seed))) != told["sha256"]:
            wrong.append(label)
    check.equal(f"weights, {len(listed['weights'])} arrays", wrong, [])
    inputs, own = _inputs(check.goldens), (check.goldens.folder / check.file).exists()
    # a list of another folder is about another manifest's inputs
    told = inputs if own else _inputs(Goldens(default_folder()))
    same = [name for name in listed["inputs"] if own or (name in inputs and inputs[name] == told.get(name))]
    wrong = [name for name in same if name not in inputs
             or _sums(check.goldens, inputs[name]) != listed["inputs"][name]]  # fmt: skip
    check.equal(f"inputs, {len(same)} of {len(listed['inputs'])}", wrong, [])


def _inputs(goldens: Goldens) -> dict[str, Any]:
    """Every input of a manifest by the name that the checksums go by."""
    found = dict(goldens.manifest.get("inputs", {}))
    for file, arguments in goldens.files.items():
        if "input" in arguments:
            found[file] = arguments["input"]
        if "target" in arguments:
            found[f"{file} target"] = arguments["target"]
    return found


def _sums(goldens: Goldens, spec: dict[str, Any]) -> Any:
    made = goldens.make(spec)
    if isinstance(made, dict):
        return {name: goldens.fill.sha256(array) for name, array in made.items()}
    return goldens.fill.sha256(made)


def check_state_dict(check: Check, models: Models) -> None:
    """The pre-training model, the teacher, and which parameters decay."""
    listed = check.goldens.json(check.file)
    with torch.device("meta"):
        model, teacher = empty_pretraining_model(check.goldens), Encoder(config(check.goldens, text=True))
    unused = set(listed["never_used_in_any_forward"])
    check.equal("never_used_in_any_forward", sorted(UNUSED), sorted(unused))
    sizes = {"decoder_pos_embed_2D", "decoder_pos_embed_3D"}
    expected = listed["pretraining_model"]
    whole, first = _shapes(model, published_name), _shapes(teacher, published_encoder_name)
    check.equal("pretraining_model", _difference(whole, expected, unused, sizes), [])
    check.equal("teacher_model", _difference(first, listed["teacher_model"], unused), [])
    tables = {name: expected[name] for name in (*sizes, *unused)}
    spare = {name: tables[name] for name in unused}
    counts = {"pretraining_model": _count(whole | tables), "teacher_model": _count(first | spare)}
    check.equal("parameter_count", counts, listed["parameter_count"])
    carried = {published_encoder_name(name) for name in teacher.state_dict()} | unused
    check.equal("carried_to_next_stage", sorted(carried), sorted(listed["carried_to_next_stage"]))
    check.note("checkpoint_top_level", "what else a published file holds; imports use the tensors alone")
    optimizer = adamw(model, 1e-4, 0.05, (0.9, 0.95))
    names = {id(parameter): published_name(name) for name, parameter in model.named_parameters()}
    groups = [{names[id(p)] for p in group["params"]} for group in optimizer.param_groups]
    told = [set(group["names"]) - unused for group in listed["optimizer_groups_in_order"]]
    check.equal("optimizer_groups_in_order", [len(a ^ b) for a, b in zip(groups, told, strict=True)], [0, 0])


def check_downstream_keys(check: Check, models: Models) -> None:
    """The downstream models, by the layers that the list has of them."""
    for model, keys in check.goldens.json(check.file).items():
        kind = {"1": Kind.TEXT, "2": Kind.IMAGE2D, "3": Kind.VOLUME3D}[model.partition("Dim_")[2][0]]
        with torch.device("meta"):
            if "out.conv.conv.bias" in keys:
                mine: nn.Module = segmenter(check.goldens, kind, keys["out.conv.conv.bias"][0])
            else:
                head = "cls_head" if kind is Kind.TEXT else "head"
                mlp = f"{head}.0.weight" in keys
                mine = classifier(check.goldens, kind, keys[f"{head}.{'3.' if mlp else ''}bias"][0], mlp)
        shapes = _shapes(mine, lambda name, kind=kind: downstream_name(name, kind is Kind.TEXT))
        # our encoder keeps the embeddings of the other kinds of input
        spare = {name for name in shapes if name.startswith(("video_embed.", "cls_token"))}
        check.equal(model, [n for n in _difference(shapes, keys, ()) if n not in spare - set(keys)], [])


def _shapes(model: nn.Module, rename: Any) -> dict[str, list[int]]:
    return {rename(name): list(tensor.shape) for name, tensor in model.state_dict().items()}


def _count(shapes: dict[str, list[int]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _difference(mine: dict[str, list[int]], expected: dict[str, list[int]], unused: Iterable[str],
                sizes: Iterable[str] = ()) -> list[str]:  # fmt: skip
    """Names that one side lacks or that have other shapes; those in `sizes` may have another number of rows."""
    known = {name: shape for name, shape in expected.items() if name not in set(unused)}
    odd = set(mine) ^ set(known)
    for name in set(mine) & set(known):
        a, b = ([shape[0], *shape[2:]] if name in set(sizes) else shape for shape in (mine[name], known[name]))
        if a != b:
            odd.add(name)
    return sorted(odd)
