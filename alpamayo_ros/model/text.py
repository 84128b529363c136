"""The VLM's text decoder over the preallocated cache: prefill of a prompt, extension of tails."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alpamayo_ros.model.config import TextGeometry
from alpamayo_ros.model.fused_attention import shared_attention
from alpamayo_ros.model.kv_cache import KVCache
from alpamayo_ros.model.layers import DecoderLayer, RMSNorm, Rotary


class TextDecoder(nn.Module):
    """Qwen3-VL text model; names of its weights are those of the checkpoint."""

    def __init__(self, geometry: TextGeometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.embed_tokens = nn.Embedding(geometry.vocab_size, geometry.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(geometry) for _ in range(geometry.num_layers))
        self.norm = RMSNorm(geometry.hidden_size, geometry.rms_norm_eps)
        self.rotary = Rotary(geometry)

    def prefill(self, ids: Tensor, positions: Tensor, cache: KVCache, *,
                image_mask: Tensor, image_features: Tensor,
                deepstack: Sequence[Tensor]) -> Tensor:
        """Run a prompt and write its keys and values.

        ids (L,), positions (3, L), image_mask (L,) bool with as many True as image_features
        (tokens, hidden) has rows; deepstack: features of the same shape, added after the first
        layers. Returns the hidden state of the last token, (1, hidden), before the final norm.
        """
        x = self.embed_tokens(ids)
        where = image_mask.nonzero().squeeze(-1)
        x[where] = image_features.to(x.dtype)
        cos, sin = self.rotary(positions, x.dtype)
        for index, layer in enumerate(self.layers):
            q, k, v = layer.project(x, cos, sin)
            cache.write_prompt(index, k, v)
            attended = F.scaled_dot_product_attention(
                q[None], k[None], v[None], is_causal=True, enable_gqa=True)[0]
            x = layer.finish(x, attended)
            if index < len(deepstack):
                x[where] = x[where] + deepstack[index].to(x.dtype)
        cache.prompt_length = ids.shape[0]
        return x[-1:]

    def extend(self, ids: Tensor, positions: Tensor, cache: KVCache) -> Tensor:
        """Append tokens to every tail and write their keys and values.

        ids (G, n), positions (n,) equal on the three axes and for all groups. Returns hidden
        states (G, n, hidden) before the final norm.
        """
        count = ids.shape[1]
        x = self.embed_tokens(ids)[:, None]
        cos, sin = self.rotary(positions.expand(3, -1), x.dtype)
        causal = None
        if count > 1:
            causal = torch.full((count, count), -torch.inf, device=x.device).triu(1)
        for index, layer in enumerate(self.layers):
            q, k, v = layer.project(x, cos, sin)
            prompt_k, prompt_v = cache.prompt(index)
            tail_k, tail_v = cache.tail(index)
            attended = shared_attention(q, k, v, prompt_k=prompt_k, prompt_v=prompt_v,
                                        tail_k=tail_k, tail_v=tail_v, own_bias=causal)
            cache.write_tail(index, k[:, 0], v[:, 0])
            x = layer.finish(x, attended)
        cache.tail_length += count
        return x[:, 0]


def prompt_positions(ids: Tensor, grids: Sequence[tuple[int, int, int]], image_token_id: int,
                     merge: int) -> tuple[Tensor, int]:
    """M-RoPE positions of a prompt and the offset of what follows it.

    Text counts on all three axes alike; an image stands at one time and spreads over height and
    width. ids (L,); grids: patches (t, rows, columns) of each image in order. Returns positions
    (3, L) and ``rope_delta``: the position of token index i >= L is i + rope_delta.
    ``ValueError`` when images and placeholders do not match.
    """
    is_image = (ids == image_token_id).tolist()
    positions = torch.empty(3, len(is_image), dtype=torch.long)
    index = current = used = 0
    while index < len(is_image):
        if not is_image[index]:
            positions[:, index] = current
            index, current = index + 1, current + 1
            continue
        if used == len(grids):
            raise ValueError(f'the prompt has more than {used} images; expected as many as given')
        _, rows, columns = grids[used]
        rows, columns = rows // merge, columns // merge
        size = rows * columns
        if sum(is_image[index:index + size]) != size:
            raise ValueError(f'image {used} has fewer placeholders than its {size} tokens')
        grid = positions[:, index:index + size].view(3, rows, columns)
        grid[0] = current
        grid[1] = current + torch.arange(rows)[:, None]
        grid[2] = current + torch.arange(columns)[None, :]
        index, current, used = index + size, current + max(rows, columns), used + 1
    if used != len(grids):
        raise ValueError(f'the prompt has {used} images; expected {len(grids)}')
    return positions, current - len(is_image)
