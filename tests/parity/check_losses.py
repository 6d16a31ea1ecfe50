"""Segmentation losses on stored logits and targets, with the published rule for unknown voxels."""

import re

import torch

from medcoss.training.losses import binary_cross_entropy, dice_loss
from tests.parity.check_encoder import limit
from tests.parity.models import Models, tensor
from tests.parity.report import LOSSES, Check

_RECORD = re.compile(r"(?P<loss>dice|bce)_(?P<case>.+?)(?P<end>_f64)?$")
_RULES = {"dice": dice_loss, "bce": binary_cross_entropy}


def check_losses(check: Check, models: Models) -> None:
    """`dice_<case>` and `bce_<case>` of `target_<case>` and the `logits_...` that the case begins with."""
    logits_of = sorted((n.removeprefix("logits_") for n in check.golden.names if n.startswith("logits_")), key=len)
    for name in check.golden.names:
        match = _RECORD.match(name)
        if match is None or f"target_{match['case']}" not in check.golden:
            continue
        owners = [o for o in logits_of if match["case"] == o or match["case"].startswith(f"{o}_")]
        if not owners:
            continue
        dtype = torch.float64 if match["end"] else torch.float32
        logits = tensor(check.golden.array(f"logits_{owners[-1]}"), dtype)
        target = tensor(check.golden.array(f"target_{match['case']}")).to(dtype)
        check.compare(name, _RULES[match["loss"]](logits, target, "published"), limit(LOSSES, dtype))
