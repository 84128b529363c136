"""``grouped_attention`` on a CPU without ever holding the logits.

Each part is one call of PyTorch's blocked attention, which also returns the logarithm of its
softmax's sum; with it the parts are weighed into one softmax. Four to seven times as fast as the
plain formulation on two cores, and its memory does not grow with the prompt. The plain one remains
what graphs are exported from, and what runs where the blocked kernel does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from alpamayo_ros.model.attention import grouped_attention

# The kernel behind scaled_dot_product_attention; only called directly does it return the sums.
_KERNEL = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def shared_attention(
        q: Tensor, own_k: Tensor, own_v: Tensor, *, prompt_k: Tensor, prompt_v: Tensor,
        tail_k: Tensor, tail_v: Tensor, tail_bias: Tensor | None = None,
        own_bias: Tensor | None = None) -> Tensor:
    """What ``grouped_attention`` computes, by the fastest way the device has."""
    if q.device.type != 'cpu':
        return grouped_attention(
            q, own_k, own_v, prompt_k=prompt_k, prompt_v=prompt_v, tail_k=tail_k, tail_v=tail_v,
            tail_bias=tail_bias, own_bias=own_bias)
    groups, samples, heads, tokens, dim = q.shape
    kv_heads, tail = prompt_k.shape[0], tail_k.shape[-2]
    reps = heads // kv_heads
    q = q.reshape(groups, samples, kv_heads, reps, tokens, dim)

    # Per part: queries as (batch, kv_heads, queries, dim), and how to come back from there.
    by_prompt = q.permute(2, 0, 1, 3, 4, 5)
    parts = [_back(*_part(by_prompt.reshape(1, kv_heads, -1, dim), prompt_k[None], prompt_v[None]),
                   by_prompt.shape, (1, 2, 0, 3, 4, 5))]
    own_shape = (groups * samples, kv_heads, tokens, dim)
    mask = None if own_bias is None else own_bias.repeat(reps, 1)
    parts.append(_back(*_part(q.reshape(own_shape[0], kv_heads, -1, dim), own_k.reshape(own_shape),
                              own_v.reshape(own_shape), mask), q.shape, (0, 1, 2, 3, 4, 5)))
    if tail:
        by_tail = q.permute(0, 2, 1, 3, 4, 5)
        queries = by_tail.reshape(groups, kv_heads, -1, dim)
        mask = None if tail_bias is None else tail_bias[:, None, None].expand(
            groups, 1, queries.shape[2], tail)
        parts.append(_back(*_part(queries, tail_k, tail_v, mask), by_tail.shape,
                           (0, 2, 1, 3, 4, 5)))

    peak = torch.stack([log_sum for _, log_sum in parts]).amax(0)
    weights = [torch.exp(log_sum - peak) for _, log_sum in parts]
    total = sum(weights)
    merged = sum(value * (weight / total) for (value, _), weight in
                 zip(parts, weights, strict=True))
    return merged.to(q.dtype).reshape(groups, samples, heads, tokens, dim)


def _part(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention to one part alone, and the logarithm of its softmax's sum."""
    if bias is not None:
        # An entry at -inf would make a part that is hidden whole 0 / 0; so it weighs nothing.
        bias = bias.to(q.dtype).clamp(min=torch.finfo(q.dtype).min / 2)
    return _KERNEL(q, k, v, attn_mask=bias)


def _back(value: Tensor, log_sum: Tensor, shape: torch.Size, order: tuple[int, ...]
          ) -> tuple[Tensor, Tensor]:
    """A part's results to (G, S, kv_heads, reps, T, dim) and (..., 1), float32."""
    return (value.reshape(shape).permute(order).float(),
            log_sum.reshape(*shape[:-1], 1).permute(order).float())
