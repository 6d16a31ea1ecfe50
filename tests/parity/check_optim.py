"""Steps of AdamW on the reconstruction loss."""

import re

import torch
from torch import Tensor

from medcoss.models.published import our_name
from medcoss.training.optim import adamw
from tests.parity.check_encoder import kinds, limit, precisions
from tests.parity.models import Models, suffix, tensor
from tests.parity.report import DOUBLE, GRADIENTS, LOSSES, PARAMETERS, Check
from tests.parity.steps import image_loss

_RECORD = re.compile(r"(?:grad|param_step(?P<step>\d+))\.(?P<name>.+?)(?P<end>_f64)?$")


def check_optim(check: Check, models: Models) -> None:
    """Losses, gradient norms, gradients of the first step, parameters after steps."""
    (kind,) = kinds(check)
    settings = check.arguments["adamw"]
    for dtype in precisions(check):
        model = models.taken(check.arguments["weights"], dtype)
        x = tensor(check.goldens.input(kind), dtype).numpy()
        noise, ratio = check.goldens.input(f"noise_{kind}"), check.arguments["mask_ratio"]
        optimizer = adamw(model, settings["lr"], settings["weight_decay"], tuple(settings["betas"]))
        for group in optimizer.param_groups:
            group["eps"] = settings["eps"]
        parameters = dict(model.named_parameters())
        for step in range(1, _steps(check) + 1):
            optimizer.zero_grad()
            loss = image_loss(model.encoder, model.decoder, x, noise, ratio)
            loss.backward()
            end = f"step{step}{suffix(dtype)}"
            check.compare(f"loss_{end}", loss.detach(), limit(LOSSES, dtype))
            gradients = [p.grad for p in parameters.values() if p.grad is not None]
            check.compare(f"grad_norm_{end}", torch.nn.utils.get_total_norm(gradients), limit(GRADIENTS, dtype))
            if step == 1:
                _gradients(check, parameters, dtype)
            optimizer.step()
            _parameters(check, parameters, step, dtype)


def _steps(check: Check) -> int:
    """The last step that a record asks for."""
    found = (re.search(r"_step(\d+)", name) for name in check.golden.names)
    return max((int(match[1]) for match in found if match), default=1)


def _named(check: Check, step: int | None, dtype: torch.dtype) -> list[tuple[str, str]]:
    """Records of gradients or of the parameters after a step, and our parameters' names."""
    found = []
    for record in check.golden.names:
        match = _RECORD.match(record)
        if match and (match["end"] or "") == suffix(dtype) and match["step"] == (str(step) if step else None):
            found.append((record, our_name(match["name"])))
    return found


def _gradients(check: Check, parameters: dict[str, Tensor], dtype: torch.dtype) -> None:
    for record, ours in _named(check, None, dtype):
        gradient = parameters[ours].grad
        check.compare(record, torch.zeros_like(parameters[ours]) if gradient is None else gradient,
                      limit(GRADIENTS, dtype))  # fmt: skip


def _parameters(check: Check, parameters: dict[str, Tensor], step: int, dtype: torch.dtype) -> None:
    for record, ours in _named(check, step, dtype):
        check.compare(record, parameters[ours].detach(), DOUBLE if dtype is torch.float64 else PARAMETERS)
