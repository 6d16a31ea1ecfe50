"""Reports in the pre-training model: alone, in a batch with the published mask, and with other attentions."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from medcoss.models.encoder import Encoder, pooled_text
from medcoss.models.pretext import PretrainingModel
from medcoss.training.masking import IGNORED
from tests.parity.check_encoder import limit, precisions
from tests.parity.models import Models, suffix, tensor
from tests.parity.report import EXACT, LOSSES, VALUES, Check
from tests.parity.steps import report_loss

GIVEN = ("input_ids", "attention_mask", "labels")


def reports(check: Check, spec: dict[str, Any]) -> list[Tensor]:
    """Ids, attention and labels (B, L) of the reports, held against those stored in the file."""
    made = check.goldens.make(spec)
    for name in GIVEN:
        # classifiers store their class labels under this name
        if name in check.golden and check.golden.shape(name) == made[name].shape:
            check.compare(name, made[name], EXACT)
    check.compare("lengths", spec["lengths"], EXACT)
    return [tensor(made[name]) for name in GIVEN]


def language_loss(model: PretrainingModel, features: Tensor, reports: list[Tensor]) -> Tensor:
    """Cross-entropy of the masked tokens, whose logits alone are computed: by the training step in float32.

    The step's own cross-entropy is never taken in float64; from the `features` (B, L, d) of the reports it can be.
    """
    if features.dtype is torch.float32:
        return report_loss(model.encoder, model.language, *reports)
    chosen = reports[2] != IGNORED
    return F.cross_entropy(model.language(features[chosen]), reports[2][chosen])


@torch.no_grad()
def check_alone(check: Check, models: Models) -> None:
    """Each report by itself."""
    given = reports(check, check.goldens.manifest["inputs"]["text"])
    for dtype in precisions(check):
        model = models.pretraining(check.arguments["weights"], dtype)
        near = limit(VALUES, dtype)
        assert model.encoder.text_embedding is not None
        for i in range(len(given[0])):
            end, alone = f"{i}{suffix(dtype)}", [x[i : i + 1] for x in given]
            features = model.encoder.encode_text(*alone[:2])
            check.compare(f"embed_{end}", model.encoder.text_embedding(alone[0]), near)
            check.compare(f"features_{end}", features, near)
            check.compare(f"pooled_{end}", pooled_text(model.encoder, *alone[:2]), near)
            check.compare(f"logits_{end}", model.language(features), near)
            check.compare(
                f"loss_{end}",
                language_loss(model, features, alone),
                limit(LOSSES, dtype),
            )


@torch.no_grad()
def check_batch(check: Check, models: Models) -> None:
    """All reports in one batch, with the published mix-up of their masks."""
    given = reports(check, check.goldens.manifest["inputs"]["text"])
    for dtype in precisions(check):
        model = models.pretraining(check.arguments["weights"], dtype, "published_batched")
        features = model.encoder.encode_text(*given[:2])
        check.compare(f"features{suffix(dtype)}", features, limit(VALUES, dtype))
        check.compare(f"loss{suffix(dtype)}", language_loss(model, features, given), limit(LOSSES, dtype))
        if dtype is torch.float32:
            owners = _owners(model.encoder, *given[0].shape)
            check.compare("mask_owner_by_sample_and_head", owners, EXACT)


def _owners(encoder: Encoder, samples: int, length: int) -> Tensor:
    """Which sample's mask each sample and head reads, (B, heads): seen by giving every sample a length of its own."""
    own = (torch.arange(length) <= torch.arange(samples)[:, None]).long()
    last_row = encoder._text_mask(own)[:, :, -1]
    return (last_row > -1).sum(-1) - 1


@torch.no_grad()
def check_variants(check: Check, models: Models) -> None:
    """Attention that the published code does not have: each report with its own mask; both directions."""
    given = reports(check, check.goldens.manifest["inputs"]["text"])
    for dtype in precisions(check):
        near, loss, end = limit(VALUES, dtype), limit(LOSSES, dtype), suffix(dtype)
        model = models.pretraining(check.arguments["weights"], dtype, "published")
        features = model.encoder.encode_text(*given[:2])
        check.compare(f"batched_causal_features{end}", features, near)
        check.compare(f"batched_causal_loss{end}", language_loss(model, features, given), loss)
        model = models.pretraining(check.arguments["weights"], dtype, "bidirectional")
        for i in range(len(given[0])):
            alone = [x[i : i + 1] for x in given]
            features = model.encoder.encode_text(*alone[:2])
            check.compare(f"bidirectional_features_{i}{end}", features, near)
            check.compare(
                f"bidirectional_loss_{i}{end}",
                language_loss(model, features, alone),
                loss,
            )
