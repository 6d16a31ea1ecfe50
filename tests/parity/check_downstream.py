"""Downstream classifiers and segmenters."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medcoss.evaluation.metrics import classification_scores
from medcoss.modalities import Kind
from medcoss.models.heads import Classifier, Segmenter
from medcoss.training.losses import binary_cross_entropy, dice_loss
from tests.parity.check_encoder import limit, precisions
from tests.parity.check_text import reports
from tests.parity.models import Models, classifier, fill_downstream, segmenter, suffix, tensor
from tests.parity.report import EXACT, LOSSES, VALUES, Check

_STAGES = ("encoder1", "encoder2", "encoder3", "encoder4", "decoder5", "decoder4", "decoder3", "decoder2")
_SLAB = 4


@torch.no_grad()
def check_images(check: Check, models: Models) -> None:
    """A classifier of images (one layer) or volumes (two layers)."""
    models.clear()
    kind = Kind.IMAGE2D if check.file.startswith("cls2d") else Kind.VOLUME3D
    model = classifier(check.goldens, kind, check.arguments["num_classes"], mlp=kind is Kind.VOLUME3D)
    fill_downstream(check.goldens, model, check.arguments["weights"])
    labels = check.goldens.make(check.arguments["labels"])
    check.compare("labels", labels, EXACT)
    for dtype in precisions(check):
        model.to(dtype)
        _classes(check, model, (tensor(check.goldens.make(check.arguments["input"]), dtype),), tensor(labels),
                 suffix(dtype))  # fmt: skip


@torch.no_grad()
def check_reports_alone(check: Check, models: Models) -> None:
    """A classifier of reports, each report by itself."""
    _reports(check, models, batched=False)


@torch.no_grad()
def check_reports_batch(check: Check, models: Models) -> None:
    """A classifier of reports on one batch, with the published mix-up of masks."""
    _reports(check, models, batched=True)


def _reports(check: Check, models: Models, batched: bool) -> None:
    models.clear()
    attention = "published_batched" if batched else "published"
    model = classifier(check.goldens, Kind.TEXT, check.arguments["num_classes"], mlp=True, attention=attention)
    fill_downstream(check.goldens, model, check.arguments["weights"], text=True)
    ids, real, _ = reports(check, check.arguments["input"])
    labels = check.goldens.make(check.arguments["labels"])
    check.compare("labels", labels, EXACT)
    for dtype in precisions(check):
        model.to(dtype)
        if batched:
            _classes(check, model, (ids, real), tensor(labels), suffix(dtype))
            continue
        for i in range(len(ids)):
            one = slice(i, i + 1)
            _classes(check, model, (ids[one], real[one]), tensor(labels[one]), f"_{i}{suffix(dtype)}")


def _classes(check: Check, model: Classifier, inputs: tuple[Tensor, ...], labels: Tensor, end: str) -> None:
    logits, feature = model(*inputs)
    near = limit(VALUES, logits.dtype)
    probabilities = torch.softmax(logits, dim=1)
    check.compare(f"head_input{end}", feature, near)
    check.compare(f"logits{end}", logits, near)
    check.compare(f"softmax{end}", probabilities, near)
    check.compare(f"loss{end}", F.cross_entropy(logits, labels), limit(LOSSES, logits.dtype))
    if f"accuracy{end}" in check.golden:
        accuracy = classification_scores(probabilities.double().numpy(), labels.numpy())["accuracy"]
        check.compare(f"accuracy{end}", accuracy, limit(LOSSES, logits.dtype))


@torch.no_grad()
def check_segmenter(check: Check, models: Models) -> None:
    """A segmenter: encoder taps, norms of its stages, logits and losses."""
    models.clear()
    kind = Kind.IMAGE2D if check.file.startswith("seg2d") else Kind.VOLUME3D
    model = segmenter(check.goldens, kind, check.arguments["num_classes"])
    fill_downstream(check.goldens, model, check.arguments["weights"])
    target = check.goldens.make(check.arguments["target"])
    axes = (0, *range(2, target.ndim))
    check.compare("target_fraction", target.mean(axis=axes, dtype="float64"), VALUES)
    for dtype in precisions(check):
        model.to(dtype)
        end, near, loss = suffix(dtype), limit(VALUES, dtype), limit(LOSSES, dtype)
        if dtype is torch.float64:
            _in_slabs(model)
        logits, blocks, norms = _with_stages(model, tensor(check.goldens.make(check.arguments["input"]), dtype))
        for number, block in enumerate(blocks):
            check.compare(f"block{number}{end}", block, near)
        check.compare(f"stage_l2{end}", norms, near)
        check.compare(f"logits{end}", logits, near)
        known = tensor(target, dtype)
        check.compare(f"dice_loss{end}", dice_loss(logits, known, "published"), loss)
        check.compare(f"bce_loss{end}", binary_cross_entropy(logits, known, "published"), loss)


def _in_slabs(model: nn.Module) -> None:
    """Let convolutions of volumes take a few slices at a time.

    In float64 they unfold their input: 27 copies of it, 16 GB for 64 x 192 x 192 voxels.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv3d) and module.stride == (1, 1, 1) and module.kernel_size[0] > 1:
            module._conv_forward = partial(_slab_by_slab, module)  # type: ignore[method-assign]


def _slab_by_slab(module: nn.Conv3d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    depth, halo = x.shape[2], module.kernel_size[0] - 1
    sides = [n for p in reversed(module.padding) for n in (int(p), int(p))]
    padded = F.pad(x, sides)
    starts = range(0, depth, _SLAB)
    return torch.cat([F.conv3d(padded[:, :, z : z + _SLAB + halo], weight, bias) for z in starts], dim=2)


def _with_stages(model: Segmenter, x: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    """Logits, the output of every block, the L2 norms of the stages' outputs."""
    blocks: list[Tensor] = []
    norms: dict[str, Tensor] = {}

    def keep_norm(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, _inputs: object, out: Tensor) -> None:
            norms[name] = out.double().norm()

        return hook

    hooks = [block.register_forward_hook(lambda _m, _i, out: blocks.append(out)) for block in model.encoder.blocks]
    hooks += [getattr(model, name).register_forward_hook(keep_norm(name)) for name in _STAGES]
    logits = model(x)
    for hook in hooks:
        hook.remove()
    return logits, blocks, torch.stack([norms[name] for name in _STAGES])
