"""Encoder, reconstruction and distillation of the pre-training model."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medcoss.models.encoder import Encoder, pooled_image
from medcoss.models.pretext import (
    PretrainingModel,
    patch_statistics,
    patchify,
    random_mask,
)
from tests.parity.models import DTYPES, Models, filled_encoder, suffix, tensor
from tests.parity.report import DOUBLE, EXACT, LOSSES, VALUES, Check, Limit
from tests.parity.steps import image_loss, report_loss


def limit(single: Limit, dtype: torch.dtype) -> Limit:
    """The limit of a precision."""
    return DOUBLE if dtype is torch.float64 else single


def kinds(check: Check) -> list[str]:
    """Which of images and volumes the file has numbers of."""
    return [kind for kind in ("2d", "3d") if kind in check.arguments.get("inputs", ("2d", "3d"))]


def precisions(check: Check) -> list[torch.dtype]:
    """float32, and float64 where there are records of it."""
    return [dtype for dtype in DTYPES if dtype is torch.float32 or check.doubles]


def masked(check: Check, kind: str) -> tuple[Tensor, Tensor]:
    """Kept and removed patches by our masking of the manifest's noise."""
    noise = tensor(check.goldens.input(f"noise_{kind}"))
    return random_mask(noise, float(check.arguments["mask_ratio"]))


@torch.no_grad()
def check_encoder(check: Check, models: Models) -> None:
    """Tokens, features, pooled features, norms of every block, masked features, the masks themselves."""
    for kind in kinds(check):
        _masks(check, kind)
    for dtype in precisions(check):
        encoder = models.pretraining(check.arguments["weights"], dtype).encoder
        for kind in kinds(check):
            compare_features(check, encoder, kind, dtype)


@torch.no_grad()
def compare_features(check: Check, encoder: Encoder, kind: str, dtype: torch.dtype) -> None:
    """What a filled encoder makes of the images or volumes."""
    end, x, near = f"{kind}{suffix(dtype)}", tensor(check.goldens.input(kind), dtype), limit(VALUES, dtype)
    check.compare(f"embed_{end}", encoder.embed_image(x), near)
    features, norms = _with_norms(encoder, x)
    check.compare(f"features_{end}", features, near)
    check.compare(f"layer_l2_{end}", norms, near)
    check.compare(f"pooled_{end}", pooled_image(encoder, x), near)
    kept, _ = masked(check, kind)
    check.compare(f"features_{kind}_masked{suffix(dtype)}", encoder.encode_image(x, kept), near)


def _masks(check: Check, kind: str) -> None:
    kept, removed = masked(check, kind)
    order = torch.cat([kept, removed], dim=1)
    check.compare(f"noise_{kind}", check.goldens.input(f"noise_{kind}"), EXACT)
    check.compare(f"ids_keep_{kind}", kept, EXACT)
    check.compare(f"ids_restore_{kind}", order.argsort(dim=1), EXACT)
    check.compare(f"mask_{kind}", torch.ones(order.shape).scatter(1, kept, 0.0), EXACT)


def _with_norms(encoder: Encoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Encoder output and the L2 norm of the output of every block."""
    norms: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _module, _inputs, out: norms.append(out.double().norm()))
        for block in encoder.blocks
    ]
    features = encoder.encode_image(x)
    for hook in hooks:
        hook.remove()
    return features, torch.stack(norms)


@torch.no_grad()
def check_mae(check: Check, models: Models) -> None:
    """Predicted pixels of every patch, targets and losses."""
    for dtype in precisions(check):
        model = models.pretraining(check.arguments["weights"], dtype)
        for kind in kinds(check):
            _reconstruction(check, model, kind, dtype)


def _reconstruction(check: Check, model: PretrainingModel, kind: str, dtype: torch.dtype) -> None:
    end, near, loss = f"{kind}{suffix(dtype)}", limit(VALUES, dtype), limit(LOSSES, dtype)
    x = tensor(check.goldens.input(kind), dtype)
    kept, removed = masked(check, kind)
    encoded = model.encoder.encode_image(x, kept)
    decoder = model.decoder
    tokens = decoder.decode(encoded, kept, removed, kind)[:, 1:]  # type: ignore[arg-type]
    shuffled = decoder.pixels[kind](decoder.norm(tokens))
    back = torch.cat([kept, removed], dim=1).argsort(dim=1)
    rows = torch.arange(len(x))[:, None]
    check.compare(f"pred_{end}", shuffled[rows, back], near)
    patches = patchify(x)
    mean, deviation = patch_statistics(patches)
    check.compare(f"patches_{end}", patches, near)
    check.compare(f"patch_mean_{end}", mean[..., 0], near)
    check.compare(f"patch_var_{end}", deviation[..., 0] ** 2 - 1e-6, near)
    noise, ratio = check.goldens.input(f"noise_{kind}"), check.arguments["mask_ratio"]
    # the training step, which predicts removed patches alone
    check.compare(f"loss_{end}", image_loss(model.encoder, decoder, x.numpy(), noise, ratio), loss)
    predicted = decoder(encoded, kept, removed, kind)
    check.compare(f"loss_unnormalised_{end}", F.mse_loss(predicted, patches[rows, removed]), loss)


@torch.no_grad()
def check_distill(check: Check, models: Models) -> None:
    """Features of student and teacher under one mask, and their mean squared difference."""
    text = check.goldens.input("text") if "text" in check.arguments["inputs"] else None
    teacher = filled_encoder(check.goldens, check.arguments["teacher"])
    for dtype in precisions(check):
        student = models.pretraining(check.arguments["student"], dtype).encoder
        teacher.to(dtype)
        for kind in kinds(check):
            end, x = f"{kind}{suffix(dtype)}", tensor(check.goldens.input(kind), dtype)
            kept, _ = masked(check, kind)
            mine, target = student.encode_image(x, kept), teacher.encode_image(x, kept)
            check.compare(f"student_{end}", mine, limit(VALUES, dtype))
            check.compare(f"teacher_{end}", target, limit(VALUES, dtype))
            noise, ratio = check.goldens.input(f"noise_{kind}"), check.arguments["mask_ratio"]
            loss = image_loss(student, nn.Identity(), x.numpy(), noise, ratio, teacher)
            check.compare(f"mse_{end}", loss, limit(LOSSES, dtype))
        for i in range(len(text["input_ids"]) if text else 0):
            end = f"text_{i}{suffix(dtype)}"
            report = [tensor(text[name][i : i + 1]) for name in ("input_ids", "attention_mask", "labels")]
            mine, target = student.encode_text(*report[:2]), teacher.encode_text(*report[:2])
            check.compare(f"student_{end}", mine, limit(VALUES, dtype))
            check.compare(f"teacher_{end}", target, limit(VALUES, dtype))
            loss = report_loss(student, nn.Identity(), *report, teacher)
            check.compare(f"mse_{end}", loss, limit(LOSSES, dtype))
