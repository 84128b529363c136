"""The model's forward passes over batches with gradients, as training needs them.

The planner runs one prompt at a time over a preallocated cache. Training runs many samples at once
and keeps no cache, so attention is arranged differently here; weights, layers and results are the
same (a test compares the two).

``Passes`` holds them as they are or compiled: fused, they take less time (docs/nano.md), but
compiling them takes minutes and a C++ compiler, and again for every new shape.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.vision import VisionTower

Cache = list[tuple[Tensor, Tensor]]
"""Keys and values per layer, each (B, kv_heads, L, head_dim)."""
_MULTIPLE = 64


def patches(images: Tensor, tower: VisionTower) -> Tensor:
    """uint8 RGB images (N, H, W, 3), H and W multiples of 32, to (N, patches, patch_values), the
    tower's input. Both frames of a patch's time span are the same image."""
    g = tower.geometry
    count, height, width, _ = images.shape
    patch, merge = g.patch_size, g.spatial_merge_size
    rows, columns = height // patch, width // patch
    cut = images.view(count, rows // merge, merge, patch, columns // merge, merge, patch, 3)
    cut = cut.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(count, rows * columns, 3, 1, patch * patch)
    values = cut.float().div_(127.5).sub_(1.0)
    return values.expand(-1, -1, -1, g.temporal_patch_size, -1).flatten(2)


def see(model: AlpamayoModel, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Image tokens (N, tokens, hidden) of uint8 images (N, H, W, 3), and the deepstack features."""
    tower = model.vlm.visual
    grid = (1, images.shape[1] // tower.geometry.patch_size,
            images.shape[2] // tower.geometry.patch_size)
    features = tower._batch(patches(images, tower), grid)
    return features[0], features[1:]


def read(model: AlpamayoModel, ids: Tensor, positions: Tensor, image_tokens: Tensor,
         deepstack: Sequence[Tensor]) -> tuple[Tensor, Cache]:
    """Run whole sequences through the text decoder.

    ids (B, L), padded on the right; positions (3, B, L); image_tokens (tokens, hidden) of all
    images of the batch in order, deepstack likewise. Returns hidden states (B, L, hidden) before
    the final norm, and the keys and values, in which padding is to be masked by who reads them.
    """
    decoder = model.vlm.decoder
    x = decoder.embed_tokens(ids)
    where = (ids == model.config.image_token_id).flatten().nonzero().squeeze(-1)
    x = x.flatten(0, 1).index_copy(0, where, image_tokens).view_as(x)
    cos, sin = decoder.rotary(positions, x.dtype)
    cache: Cache = []
    for index, layer in enumerate(decoder.layers):
        q, k, v = layer.project(x, cos, sin)
        cache.append((k, v))
        repeats = q.shape[-3] // k.shape[-3]
        attended = F.scaled_dot_product_attention(
            q, k.repeat_interleave(repeats, -3), v.repeat_interleave(repeats, -3), is_causal=True)
        x = layer.finish(x, attended)
        if index < len(deepstack):
            x = x.flatten(0, 1).index_add(0, where, deepstack[index]).view_as(x)
    return x, cache


def velocity(model: AlpamayoModel, noisy: Tensor, time: Tensor, cache: Cache, lengths: Tensor,
             offsets: Tensor) -> Tensor:
    """The expert's velocity for S noisy actions of each of B samples.

    noisy (B, S, T, 2); time (B, S); cache of the samples, of which ``lengths`` (B,) entries are
    real; offsets (B,): position of the expert's first token. Returns (B, S, T, 2).
    """
    batch, draws, waypoints, _ = noisy.shape
    x = model.action_in_proj(noisy, time[..., None])
    positions = offsets[:, None] + torch.arange(waypoints, device=noisy.device)
    cos, sin = model.expert.rotary.along(positions[:, None], x.dtype)
    real = torch.arange(cache[0][0].shape[-2], device=noisy.device)[None] < lengths[:, None]
    bias = torch.zeros(real.shape, device=noisy.device).masked_fill(~real, -torch.inf)
    if model.config.expert_causal:
        raise ValueError('the expert is causal; expected one whose waypoints see each other')
    for layer, (prefix_k, prefix_v) in zip(model.expert.layers, cache, strict=True):
        q, k, v = layer.project(x, cos, sin)  # (B, S, heads, T, D)
        x = layer.finish(x, _attend(q, k, v, prefix_k, prefix_v, bias))
    return model.action_out_proj(model.expert.norm(x))


def _attend(q: Tensor, own_k: Tensor, own_v: Tensor, prefix_k: Tensor, prefix_v: Tensor,
            bias: Tensor) -> Tensor:
    """Attention of each draw to its sample's prefix and to itself, in one softmax.

    q (B, S, heads, T, D); own_k, own_v (B, S, kv_heads, T, D); prefix_k, prefix_v (B, kv_heads, L,
    D); bias (B, L) on the prefix's logits. Returns (B, S, heads, T, D). Plain products and sums:
    compiled, both ways through them take less than half the time of PyTorch's own attention, which
    would have to mask what the other draws of the sample are.
    """
    kv_heads = prefix_k.shape[1]
    q = (q * q.shape[-1] ** -0.5).unflatten(2, (kv_heads, -1))  # (B, S, kv_heads, reps, T, D)
    shape = q.shape
    prefix = q.transpose(1, 2).flatten(2, 4) @ prefix_k.mT
    prefix = prefix.unflatten(2, (shape[1], *shape[3:5])) + bias[:, None, None, None, None]
    own = (q.flatten(3, 4) @ own_k.mT).unflatten(3, shape[3:5]).transpose(1, 2)
    peak = torch.maximum(prefix.amax(-1, keepdim=True), own.amax(-1, keepdim=True)).detach()
    prefix, own = torch.exp(prefix - peak), torch.exp(own - peak)
    total = prefix.sum(-1, keepdim=True) + own.sum(-1, keepdim=True)
    values = (prefix.flatten(2, 4) @ prefix_v).unflatten(2, (shape[1], *shape[3:5]))
    values = values + (own.transpose(1, 2).flatten(3, 4) @ own_v).unflatten(
        3, shape[3:5]).transpose(1, 2)
    return (values / total).transpose(1, 2).flatten(2, 3)


@dataclass(frozen=True)
class Passes:
    """``see``, ``read`` and ``velocity``. ``multiple``: of what sequences are padded to, so that
    compiled passes meet few shapes."""

    see: Callable[..., tuple[Tensor, list[Tensor]]] = see
    read: Callable[..., tuple[Tensor, Cache]] = read
    velocity: Callable[..., Tensor] = velocity
    multiple: int = 1


EAGER = Passes()


def compiled_passes() -> Passes:
    """The passes compiled at their first use for each shape; ``ValueError`` without a compiler."""
    if not any(map(shutil.which, ('g++', 'c++', 'clang++'))):
        raise ValueError('there is no C++ compiler; expected g++, c++ or clang++ on the path to '
                         "compile the training's passes")
    warnings.filterwarnings('ignore', 'Dynamo detected a call to a', UserWarning)
    return Passes(*(torch.compile(function, dynamic=False)
                    for function in (see, read, velocity)), multiple=_MULTIPLE)
