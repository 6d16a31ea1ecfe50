"""Tokens from images, volumes and text."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medcoss.specs.encoder import PATCH, TABLE_ROWS, TEMPORAL_POSITIONS, TEXT_POSITIONS, Positions

NATIVE_GRID = {2: (14, 14), 3: (1, 12, 12)}


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

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """Tokens (B, L, d) in row-major order, before normalisation; with `kept` (B, k) those patches alone."""
        grid = tuple(int(n) // PATCH for n in x.shape[2:])
        places = self._positions(grid) + self._depths(grid)
        if kept is None:
            return self.projection(x).flatten(2).transpose(1, 2) + places
        # a convolution whose stride is its kernel is a product with each patch
        patches = patches_at(x, kept).flatten(2)
        return F.linear(patches, self.projection.weight.flatten(1), self.projection.bias) + places[kept]

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


def patches_at(x: Tensor, places: Tensor) -> Tensor:
    """The patches (B, k, C, 16, 16) or (B, k, C, 16, 16, 16) of an input (B, C, ...) at the flat `places` (B, k)."""
    batch, channels, *sizes = x.shape
    grid, axes = [n // PATCH for n in sizes], len(sizes)
    split = x.reshape(batch, channels, *(v for n in grid for v in (n, PATCH)))
    cut = split.permute(0, *range(2, 2 + 2 * axes, 2), 1, *range(3, 3 + 2 * axes, 2))
    rows = torch.arange(batch, device=x.device)[:, None]
    return cut[rows, *torch.unravel_index(places, grid)]
