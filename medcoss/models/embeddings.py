"""Tokens from images, volumes and text."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medcoss.models.config import Positions

PATCH = 16
NATIVE_GRID = {2: (14, 14), 3: (1, 12, 12)}
TABLE_ROWS = {2: 1024, 3: 4096}
TEXT_POSITIONS = 512
TEMPORAL_POSITIONS = 8


class PatchEmbedding(nn.Module):
    """Patches of 16 voxels a side to tokens with a position.

    `axes` is 2 for images (B, 3, H, W) and 3 for volumes (B, 1, D, H, W). With positions
    "grid" a patch of a volume has its place in the slice from the spatial table and its
    depth from the temporal one; "flat" uses row 0 of the temporal table alone, as published.
    """

    def __init__(self, axes: int, channels: int, dim: int, positions: Positions) -> None:
        super().__init__()
        self.axes, self.positions = axes, positions
        convolution = nn.Conv2d if axes == 2 else nn.Conv3d
        self.projection = convolution(channels, dim, kernel_size=PATCH, stride=PATCH)
        self.spatial = nn.Embedding(TABLE_ROWS[axes], dim)
        self.temporal = nn.Embedding(TEMPORAL_POSITIONS, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, L, d) in row-major order, before normalisation."""
        patches = self.projection(x)
        grid = tuple(int(n) for n in patches.shape[2:])
        return patches.flatten(2).transpose(1, 2) + self._positions(grid) + self._depths(grid)

    def _depths(self, grid: tuple[int, ...]) -> Tensor:
        """Row 0 of the temporal table (d,), or one row for each token (L, d) of a volume deeper than one patch."""
        if self.positions == "flat" or self.axes == 2 or grid[0] == 1:
            return self.temporal.weight[0]
        table = self.temporal.weight[: grid[0]]
        if grid[0] > TEMPORAL_POSITIONS:
            table = F.interpolate(table.T[None], size=grid[0], mode="linear", align_corners=True)[0].T
        return table.repeat_interleave(grid[1] * grid[2], dim=0)

    def _positions(self, grid: tuple[int, ...]) -> Tensor:
        count = 1
        for n in grid:
            count *= n
        native = NATIVE_GRID[self.axes]
        if self.positions == "flat" or grid == native:
            return self.spatial.weight[:count]
        rows = 1
        for n in native:
            rows *= n
        table = self.spatial.weight[:rows].T.reshape(1, -1, *native)
        mode = "bicubic" if self.axes == 2 else "trilinear"
        table = F.interpolate(table, size=grid, mode=mode, align_corners=False)
        return table.flatten(2).transpose(1, 2)[0]


class TextEmbedding(nn.Module):
    """Word pieces (B, L) to normalised tokens (B, L, d)."""

    def __init__(self, vocabulary: int, dim: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, dim)
        self.positions = nn.Embedding(TEXT_POSITIONS, dim)
        self.types = nn.Embedding(2, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, ids: Tensor) -> Tensor:
        """Embedded tokens; `ids` is int64 with at most 512 columns."""
        return self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]] + self.types.weight[0])


def keep_tokens(tokens: Tensor, kept: Tensor) -> Tensor:
    """The tokens (B, k, d) at the positions `kept` (B, k), in that order."""
    return torch.gather(tokens, 1, kept.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))
