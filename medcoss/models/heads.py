"""What is fine-tuned on an encoder: a classifier and a UNETR segmenter (Hatamizadeh et al., WACV 2022)."""

from typing import Literal

import torch
from torch import Tensor, nn

from medcoss.modalities import Kind
from medcoss.models.encoder import Encoder, pooled_text
from medcoss.specs.encoder import PATCH

HeadShape = Literal["linear", "mlp"]


class Classifier(nn.Module):
    """Logits from the mean over the patch tokens (images) or the real tokens (reports).

    `head` is one linear layer, or two with LayerNorm and GELU between them ("mlp"); without `normalise`
    the mean goes into it as it is, as in the published classifier of reports.
    """

    def __init__(self, encoder: Encoder, kind: Kind, classes: int, head: HeadShape = "linear",
                 normalise: bool = True, modality: str | None = None) -> None:  # fmt: skip
        super().__init__()
        self.encoder, self.kind, self.modality = encoder, kind, modality
        dim = encoder.config.dim
        self.norm = nn.LayerNorm(dim, eps=1e-6) if normalise else nn.Identity()
        last = nn.Linear(dim, classes)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        self.head: nn.Module = last
        if head == "mlp":
            self.head = nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim, eps=1e-5), nn.GELU(), last)
        self.spread: nn.Module = nn.Identity()

    @property
    def first(self) -> nn.Linear:
        """The first linear layer of the head."""
        return self.head if isinstance(self.head, nn.Linear) else self.head[0]  # type: ignore[index,return-value]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """`(images,)` or `(ids, attention)` to logits (B, K) and the feature (B, d) they are read from."""
        if self.kind is Kind.TEXT:
            feature = pooled_text(self.encoder, *inputs)
        else:
            feature = self.encoder.encode_image(*inputs, modality=self.modality)[:, 1:].mean(dim=1)
        feature = self.norm(feature)
        return self.head(self.spread(feature)), feature

    def standardise(self) -> None:
        """Standardise the features over each batch from now on, as for linear probes of masked autoencoders.

        What all samples share is hundreds of times larger in them than what tells samples
        apart (He et al., CVPR 2022, appendix A.1).
        """
        self.spread = nn.BatchNorm1d(self.first.in_features, eps=1e-6, affine=False)

    def fold(self, features: Tensor) -> None:
        """Put the standardisation into the first linear layer, by the statistics of `features` (N, d).

        Without standardisation nothing changes.
        """
        if not isinstance(self.spread, nn.BatchNorm1d):
            return
        # in float64: the mean is large beside the deviations
        known = features.detach().double()
        with torch.no_grad():
            self.first.weight /= (known.var(dim=0, correction=0) + self.spread.eps).sqrt()
            self.first.bias -= self.first.weight.double() @ known.mean(dim=0)
        self.spread = nn.Identity()


class OfClassifier(nn.Module):
    """What a classifier says of its input (B, width): class `probabilities`, else the feature they are read from."""

    def __init__(self, classifier: Classifier, *, probabilities: bool) -> None:
        super().__init__()
        self.classifier, self.probabilities = classifier, probabilities

    @property
    def encoder(self) -> Encoder:
        """The encoder below the head."""
        return self.classifier.encoder

    @property
    def width(self) -> int:
        """Numbers of an answer: the classes, or those of a feature."""
        if not self.probabilities:
            return self.encoder.config.dim
        last = self.classifier.head if isinstance(self.classifier.head, nn.Linear) else self.classifier.head[-1]  # type: ignore[index]
        assert isinstance(last, nn.Linear)
        return last.out_features

    def forward(self, *inputs: Tensor) -> Tensor:
        """`(images,)` or `(ids, attention)` to the answer."""
        logits, feature = self.classifier(*inputs)
        return torch.softmax(logits.float(), dim=1) if self.probabilities else feature


class Segmenter(nn.Module):
    """Logits of K independent channels on the input's grid, from four depths of the encoder.

    The patch tokens run without the class token, as in the published downstream models.
    """

    def __init__(self, encoder: Encoder, kind: Kind, channels: int, modality: str | None = None) -> None:
        super().__init__()
        if kind is Kind.TEXT:
            raise ValueError("reports cannot be segmented; expected images or volumes")
        # here, because it takes a second and a half that other jobs need not wait for
        from monai.networks.blocks import UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock

        self.encoder, self.kind, self.modality = encoder, kind, modality
        config, axes = encoder.config, 2 if kind is Kind.IMAGE2D else 3
        dim, width = config.dim, config.feature_size
        inputs = 3 if axes == 2 else 1
        up = {"kernel_size": 3, "upsample_kernel_size": 2, "norm_name": "instance", "res_block": True}
        skip = {**up, "stride": 1, "conv_block": True}
        self.encoder1 = UnetrBasicBlock(axes, inputs, width, 3, 1, "instance", res_block=True)
        self.encoder2 = UnetrPrUpBlock(axes, dim, width * 2, num_layer=2, **skip)
        self.encoder3 = UnetrPrUpBlock(axes, dim, width * 4, num_layer=1, **skip)
        self.encoder4 = UnetrPrUpBlock(axes, dim, width * 8, num_layer=0, **skip)
        self.decoder5 = UnetrUpBlock(axes, dim, width * 8, **up)
        self.decoder4 = UnetrUpBlock(axes, width * 8, width * 4, **up)
        self.decoder3 = UnetrUpBlock(axes, width * 4, width * 2, **up)
        self.decoder2 = UnetrUpBlock(axes, width * 2, width, **up)
        convolution = nn.Conv2d if axes == 2 else nn.Conv3d
        self.out = convolution(width, channels, kernel_size=1)

    def set_prior(self, fractions: Tensor) -> None:
        """Start every channel at the share (K,) of voxels that it covers (Lin et al., ICCV 2017)."""
        with torch.no_grad():
            self.out.bias.copy_(torch.logit(fractions.clamp(1e-3, 0.5)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, ...) of images (B, 3, H, W) or volumes (B, 1, D, H, W)."""
        grid = [n // PATCH for n in x.shape[2:]]
        outputs = self.encoder.run_blocks(self.encoder.embed_image(x, modality=self.modality))
        first, second, third, last = (
            outputs[tap].transpose(1, 2).reshape(len(x), -1, *grid) for tap in self.encoder.config.taps
        )
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # of small volumes, torch 2.13 gives wrong and varying weight gradients of convolutions in bf16 on CPUs
            with torch.autocast("cpu", enabled=False):
                return self._decoded(x.float(), first.float(), second.float(), third.float(), last.float())
        return self._decoded(x, first, second, third, last)

    def _decoded(self, x: Tensor, first: Tensor, second: Tensor, third: Tensor, last: Tensor) -> Tensor:
        up = self.decoder5(last, self.encoder4(third))
        up = self.decoder4(up, self.encoder3(second))
        up = self.decoder3(up, self.encoder2(first))
        return self.out(self.decoder2(up, self.encoder1(x)))
