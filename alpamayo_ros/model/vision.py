"""The Qwen3-VL vision tower, batched over images of one size.

Images do not attend to each other, and the images of a rig have one size, so they are a batch:
(images, patches, hidden). A set of differing sizes is run size by size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alpamayo_ros.model.config import VisionGeometry

_LAYER_NORM_EPS = 1e-6
_ROPE_THETA = 10000.0


class PatchEmbedding(nn.Module):
    """A convolution whose kernel is one patch; as patches arrive flattened, a matrix product."""

    def __init__(self, geometry: VisionGeometry) -> None:
        super().__init__()
        kernel = (geometry.temporal_patch_size, geometry.patch_size, geometry.patch_size)
        self.proj = nn.Conv3d(geometry.in_channels, geometry.hidden_size, kernel, stride=kernel)

    def forward(self, patches: Tensor) -> Tensor:
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class VisionAttention(nn.Module):
    def __init__(self, geometry: VisionGeometry) -> None:
        super().__init__()
        self.num_heads = geometry.num_heads
        self.qkv = nn.Linear(geometry.hidden_size, 3 * geometry.hidden_size)
        self.proj = nn.Linear(geometry.hidden_size, geometry.hidden_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x (images, patches, hidden); cos, sin (patches, head_dim), float32."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(-2))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    wide = x.float()
    first, second = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)


class VisionMLP(nn.Module):
    def __init__(self, geometry: VisionGeometry) -> None:
        super().__init__()
        self.linear_fc1 = nn.Linear(geometry.hidden_size, geometry.intermediate_size)
        self.linear_fc2 = nn.Linear(geometry.intermediate_size, geometry.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_fc2(F.gelu(self.linear_fc1(x), approximate='tanh'))


class VisionBlock(nn.Module):
    def __init__(self, geometry: VisionGeometry) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(geometry.hidden_size, eps=_LAYER_NORM_EPS)
        self.norm2 = nn.LayerNorm(geometry.hidden_size, eps=_LAYER_NORM_EPS)
        self.attn = VisionAttention(geometry)
        self.mlp = VisionMLP(geometry)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), cos, sin)
        return x + self.mlp(self.norm2(x))


class PatchMerger(nn.Module):
    """Join merge x merge patches into one token of the decoder's width."""

    def __init__(self, geometry: VisionGeometry, *, norm_merged: bool) -> None:
        super().__init__()
        self.width = geometry.hidden_size * geometry.spatial_merge_size ** 2
        self.norm_merged = norm_merged
        self.norm = nn.LayerNorm(self.width if norm_merged else geometry.hidden_size,
                                 eps=_LAYER_NORM_EPS)
        self.linear_fc1 = nn.Linear(self.width, self.width)
        self.linear_fc2 = nn.Linear(self.width, geometry.out_hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x (images, patches, hidden) to (images, patches / merge^2, out_hidden)."""
        if self.norm_merged:
            x = self.norm(x.reshape(x.shape[0], -1, self.width))
        else:
            x = self.norm(x).reshape(x.shape[0], -1, self.width)
        return self.linear_fc2(F.gelu(self.linear_fc1(x)))


class VisionTower(nn.Module):
    """Patches to image tokens, and the deep features the decoder adds in its first layers."""

    def __init__(self, geometry: VisionGeometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.patch_embed = PatchEmbedding(geometry)
        self.pos_embed = nn.Embedding(geometry.num_position_embeddings, geometry.hidden_size)
        self.blocks = nn.ModuleList(VisionBlock(geometry) for _ in range(geometry.depth))
        self.merger = PatchMerger(geometry, norm_merged=False)
        self.deepstack_merger_list = nn.ModuleList(
            PatchMerger(geometry, norm_merged=True) for _ in geometry.deepstack_indexes)

    def forward(self, patches: Sequence[Tensor], grids: Sequence[tuple[int, int, int]]
                ) -> tuple[Tensor, list[Tensor]]:
        """Each image's patches (rows * columns, patch_values) and grid (1, rows, columns).

        Returns the images' tokens in order, (tokens, out_hidden), and as many deepstack features
        of that shape as the decoder takes.
        """
        sizes: dict[tuple[int, int, int], list[int]] = {}
        for index, grid in enumerate(grids):
            sizes.setdefault(tuple(grid), []).append(index)
        if len(sizes) == 1:
            features = self._batch(torch.stack(list(patches)), grids[0])
            return features[0].flatten(0, 1), [deep.flatten(0, 1) for deep in features[1:]]
        per_image: list[list[Tensor]] = [[] for _ in grids]
        for grid, members in sizes.items():
            features = self._batch(torch.stack([patches[i] for i in members]), grid)
            for row, member in enumerate(members):
                per_image[member] = [feature[row] for feature in features]
        joined = [torch.cat(parts) for parts in zip(*per_image, strict=True)]
        return joined[0], joined[1:]

    def _batch(self, patches: Tensor, grid: tuple[int, int, int]) -> list[Tensor]:
        """Images of one size (images, patches, values): tokens, then the deepstack features."""
        _, rows, columns = grid
        geometry, device = self.geometry, patches.device
        x = self.patch_embed(patches.to(self.patch_embed.proj.weight.dtype))
        side = round(geometry.num_position_embeddings ** 0.5)
        corners, weights = _position_corners(rows, columns, geometry.spatial_merge_size, side)
        # Weights in the model's dtype: the tower was trained so.
        position = (self.pos_embed(corners.to(device))
                    * weights.to(device, x.dtype)[..., None]).sum(0)
        x = x + position
        angle = _rotary_angles(rows, columns, geometry.spatial_merge_size,
                               geometry.hidden_size // geometry.num_heads).to(device)
        cos, sin = angle.cos(), angle.sin()
        deep = []
        for index, block in enumerate(self.blocks):
            x = block(x, cos, sin)
            if index in geometry.deepstack_indexes:
                which = geometry.deepstack_indexes.index(index)
                deep.append(self.deepstack_merger_list[which](x))
        return [self.merger(x), *deep]


def _merge_order(grid: Tensor, merge: int) -> Tensor:
    """(..., rows, columns) to (..., patches): merge x merge neighbours stand together."""
    rows, columns = grid.shape[-2:]
    grid = grid.reshape(*grid.shape[:-2], rows // merge, merge, columns // merge, merge)
    return grid.transpose(-3, -2).flatten(-4)


# What is kept must serve gradients too, whoever asks first: hence no inference tensors.
@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _position_corners(rows: int, columns: int, merge: int, side: int) -> tuple[Tensor, Tensor]:
    """Bilinear sampling of the learned side x side position grid at rows x columns points.

    Returns the four corners' indices and their weights, each (4, patches), patches in merge order.
    """
    y = torch.linspace(0, side - 1, rows)
    x = torch.linspace(0, side - 1, columns)
    y0, x0 = y.long(), x.long()
    y1, x1 = (y0 + 1).clamp(max=side - 1), (x0 + 1).clamp(max=side - 1)
    dy, dx = y - y0, x - x0
    corners = torch.stack([a[:, None] * side + b[None, :] for a, b in
                           ((y0, x0), (y0, x1), (y1, x0), (y1, x1))])
    weights = torch.stack([a[:, None] * b[None, :] for a, b in
                           ((1 - dy, 1 - dx), (1 - dy, dx), (dy, 1 - dx), (dy, dx))])
    return _merge_order(corners, merge), _merge_order(weights, merge)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _rotary_angles(rows: int, columns: int, merge: int, head_dim: int) -> Tensor:
    """Angles (patches, head_dim) float32: a quarter of the head turns with the row, the next with
    the column, and the second half repeats the first."""
    inv_freq = 1.0 / _ROPE_THETA ** (
        torch.arange(0, head_dim // 2, 2, dtype=torch.float32) / (head_dim // 2))
    row = torch.arange(rows)[:, None].expand(rows, columns)
    column = torch.arange(columns)[None, :].expand(rows, columns)
    place = _merge_order(torch.stack([row, column]), merge)
    angle = torch.cat([place[0][:, None] * inv_freq, place[1][:, None] * inv_freq], dim=-1)
    return torch.cat([angle, angle], dim=-1)
