"""``grouped_attention`` without ever holding the logits of the prompt.

Each part is one call of a kernel that also returns the logarithm of its softmax's sum; with it the
parts are weighed into one softmax. On a CPU that is PyTorch's blocked attention, four to seven
times as fast as the plain formulation on two cores. On a GPU it is flash attention for the prompt,
which all queries see whole, and plain products for the other parts, which are short and masked.
Memory then does not grow with the prompt; the plain formulation would write 0.6 GB of logits a
layer at full size. The plain one remains what graphs are exported from, and what runs where no
such kernel does: in float32 on a GPU, and for the few queries of a token that is decoded there.

On a GPU this has not been run yet: there the kernels' results were only checked by type and shape
(docs/engines.md). How parts are merged is the same everywhere and tested.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from alpamayo_ros.model.attention import grouped_attention

Part = Callable[[Tensor, Tensor, Tensor, 'Tensor | None'], tuple[Tensor, Tensor]]
"""q (B, heads, Q, dim), k, v (B, heads, K, dim) and a bias that broadcasts to (B, 1, Q, K), or
None, to the attention's result like q and the logarithm of its softmax's sum (B, heads, Q)."""
# The kernels behind scaled_dot_product_attention; only called directly do they return the sums.
_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLASH = torch.ops.aten._scaled_dot_product_flash_attention
_EFFICIENT = torch.ops.aten._scaled_dot_product_efficient_attention
_FLASH_CAPABILITY = (8, 0)
_LARGEST_HEAD = 256
_MANY_QUERIES = 128
"""Queries to one head of keys from which on the kernels of a GPU are used: they work on so many at
once, and with fewer most of it would idle."""


def shared_attention(
        q: Tensor, own_k: Tensor, own_v: Tensor, *, prompt_k: Tensor, prompt_v: Tensor,
        tail_k: Tensor, tail_v: Tensor, tail_bias: Tensor | None = None,
        own_bias: Tensor | None = None) -> Tensor:
    """What ``grouped_attention`` computes, by the fastest way the device has."""
    parts = dict(prompt_k=prompt_k, prompt_v=prompt_v, tail_k=tail_k, tail_v=tail_v,
                 tail_bias=tail_bias, own_bias=own_bias)
    if q.device.type == 'cpu':
        return merged_attention(q, own_k, own_v, attend=_on_cpu, **parts)
    queries = q.shape[:-1].numel() // prompt_k.shape[0]
    attend = None
    if queries >= _MANY_QUERIES:
        attend = kernel_for(q.dtype, q.shape[-1], _capability(q.device))
    if attend is None:
        return grouped_attention(q, own_k, own_v, **parts)
    return merged_attention(q, own_k, own_v, attend=attend, **parts)


def merged_attention(
        q: Tensor, own_k: Tensor, own_v: Tensor, *, prompt_k: Tensor, prompt_v: Tensor,
        tail_k: Tensor, tail_v: Tensor, tail_bias: Tensor | None = None,
        own_bias: Tensor | None = None, attend: Part) -> Tensor:
    """What ``grouped_attention`` computes, part by part with ``attend``."""
    groups, samples, heads, tokens, dim = q.shape
    kv_heads, tail = prompt_k.shape[0], tail_k.shape[-2]
    reps = heads // kv_heads
    q = q.reshape(groups, samples, kv_heads, reps, tokens, dim)

    # Per part: queries as (batch, kv_heads, queries, dim), and how to come back from there.
    by_prompt = q.permute(2, 0, 1, 3, 4, 5)
    parts = [_back(*attend(by_prompt.reshape(1, kv_heads, -1, dim), prompt_k.unsqueeze(0),
                           prompt_v.unsqueeze(0), None), by_prompt.shape, (1, 2, 0, 3, 4, 5))]
    own_shape = (groups * samples, kv_heads, tokens, dim)
    mask = None if own_bias is None else _finite(own_bias.repeat(reps, 1))
    parts.append(_back(*attend(q.reshape(own_shape[0], kv_heads, -1, dim),
                               own_k.reshape(own_shape), own_v.reshape(own_shape), mask),
                       q.shape, (0, 1, 2, 3, 4, 5)))
    if tail:
        by_tail = q.permute(0, 2, 1, 3, 4, 5)
        queries = by_tail.reshape(groups, kv_heads, -1, dim)
        mask = None if tail_bias is None else _finite(tail_bias).view(groups, 1, 1, tail).expand(
            -1, -1, queries.shape[2], -1)
        parts.append(_back(*attend(queries, tail_k, tail_v, mask), by_tail.shape,
                           (0, 2, 1, 3, 4, 5)))

    value, log_sum = parts[0]
    for other, other_sum in parts[1:]:
        # Each of two softmaxes weighs what its sum is of both.
        value = torch.lerp(value, other, torch.sigmoid(other_sum - log_sum))
        log_sum = torch.logaddexp(log_sum, other_sum)
    return value.to(q.dtype).reshape(groups, samples, heads, tokens, dim)


def plain_part(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """A ``Part`` of products and a softmax in float32."""
    logits = ((q * q.shape[-1] ** -0.5) @ k.mT).float()
    if bias is not None:
        logits = logits + bias
    log_sum = logits.logsumexp(-1, keepdim=True)
    return torch.exp(logits - log_sum).to(q.dtype) @ v, log_sum.squeeze(-1)


def kernel_for(dtype: torch.dtype, dim: int, capability: tuple[int, int]) -> Part | None:
    """How a GPU of that compute capability attends with heads of size ``dim``; None where the
    plain formulation over all parts is to be used."""
    if dtype not in (torch.float16, torch.bfloat16) or dim % 8 or dim > _LARGEST_HEAD:
        return None
    if capability >= _FLASH_CAPABILITY:
        return _by_flash
    return _by_efficient if dtype == torch.float16 else None


def _on_cpu(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    return _CPU(q, k, v, attn_mask=None if bias is None else _finite(bias.to(q.dtype)))


def _by_flash(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    return plain_part(q, k, v, bias) if bias is not None else _FLASH(q, k, v)[:2]


def _by_efficient(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    if bias is not None:
        return plain_part(q, k, v, bias)
    value, log_sum = _EFFICIENT(q, k, v, None, True)[:2]
    return value, log_sum.narrow(-1, 0, q.shape[-2])  # the kernel fills up the last block


@lru_cache(maxsize=16)
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def _finite(bias: Tensor) -> Tensor:
    """An entry at -inf would make a part that is hidden whole 0 / 0; so it weighs nothing."""
    return bias.clamp(min=torch.finfo(bias.dtype).min / 2)


def _back(value: Tensor, log_sum: Tensor, shape: torch.Size, order: tuple[int, ...]
          ) -> tuple[Tensor, Tensor]:
    """A part's results to (G, S, kv_heads, reps, T, dim) and (..., 1), float32."""
    return (value.reshape(shape).permute(order).float(),
            log_sum.reshape(*shape[:-1], 1).permute(order).float())
