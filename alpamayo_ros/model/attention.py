"""Attention of many sequences to one shared prefix, without copying the prefix.

Sequences are arranged as groups x samples: a group is one reasoning, a sample one candidate of
it. Every query sees three parts: the prompt (shared by all groups), the tail (what its group
generated after the prompt) and its own block. The parts are one softmax: their maxima and sums are
merged, so the result equals attention over the concatenation while nothing is concatenated or
repeated. Memory for keys and values is thereby independent of the number of samples.
"""

from __future__ import annotations

import torch
from torch import Tensor


def grouped_attention(
        q: Tensor, own_k: Tensor, own_v: Tensor, *, prompt_k: Tensor, prompt_v: Tensor,
        tail_k: Tensor, tail_v: Tensor, tail_bias: Tensor | None = None,
        own_bias: Tensor | None = None) -> Tensor:
    """Attend to prompt, tail and own block in one softmax (computed in float32).

    q: (G, S, heads, T, D); own_k, own_v: (G, S, kv_heads, T, D); prompt_k, prompt_v:
    (kv_heads, L, D); tail_k, tail_v: (G, kv_heads, M, D), M may be 0. Biases are added to the
    logits, -inf hides an entry: tail_bias (G, M), own_bias (T, T).
    Returns (G, S, heads, T, D) in q's dtype.
    """
    groups, samples, heads, tokens, dim = q.shape
    kv_heads, length, _ = prompt_k.shape
    reps, tail = heads // kv_heads, tail_k.shape[-2]
    q = q.reshape(groups, samples, kv_heads, reps, tokens, dim) * dim ** -0.5
    # The same queries in the layout each part's batched product wants.
    q_prompt = q.permute(2, 0, 1, 3, 4, 5).reshape(kv_heads, -1, dim)
    q_own = q.reshape(groups, samples, kv_heads, reps * tokens, dim)

    logits_prompt = (q_prompt @ prompt_k.mT).float()
    logits_own = (q_own @ own_k.mT).float().unflatten(-2, (reps, tokens))
    if own_bias is not None:
        logits_own = logits_own + own_bias
    common = (groups, samples, kv_heads, reps, tokens, 1)
    by_prompt = (kv_heads, groups, samples, reps, tokens, 1)
    peak = logits_own.amax(-1, keepdim=True)
    peak = torch.maximum(peak, logits_prompt.amax(-1, keepdim=True).reshape(by_prompt)
                         .permute(1, 2, 0, 3, 4, 5))
    if tail:
        q_tail = q.permute(0, 2, 1, 3, 4, 5).reshape(groups, kv_heads, -1, dim)
        logits_tail = (q_tail @ tail_k.mT).float()
        if tail_bias is not None:
            logits_tail = logits_tail + tail_bias[:, None, None, :]
        by_tail = (groups, kv_heads, samples, reps, tokens, 1)
        peak = torch.maximum(peak, logits_tail.amax(-1, keepdim=True).reshape(by_tail)
                             .permute(0, 2, 1, 3, 4, 5))

    weight_prompt = torch.exp(logits_prompt - peak.permute(2, 0, 1, 3, 4, 5)
                              .reshape(kv_heads, -1, 1))
    weight_own = torch.exp(logits_own - peak)
    total = weight_own.sum(-1, keepdim=True) + weight_prompt.sum(-1, keepdim=True).reshape(
        by_prompt).permute(1, 2, 0, 3, 4, 5)
    if tail:
        weight_tail = torch.exp(logits_tail - peak.permute(0, 2, 1, 3, 4, 5)
                                .reshape(groups, kv_heads, -1, 1))
        total = total + weight_tail.sum(-1, keepdim=True).reshape(by_tail).permute(
            0, 2, 1, 3, 4, 5)

    # Weights are divided by their total before they meet the values: a sum of some thousand
    # undivided ones leaves the range of float16.
    weight_prompt = weight_prompt / total.permute(2, 0, 1, 3, 4, 5).reshape(kv_heads, -1, 1)
    result = ((weight_prompt.to(q.dtype) @ prompt_v).float()
              .reshape(*by_prompt[:-1], dim).permute(1, 2, 0, 3, 4, 5))
    result = result + ((weight_own / total).to(q.dtype).flatten(-3, -2) @ own_v).float().reshape(
        *common[:-1], dim)
    if tail:
        weight_tail = weight_tail / total.permute(0, 2, 1, 3, 4, 5).reshape(
            groups, kv_heads, -1, 1)
        result = result + (weight_tail.to(q.dtype) @ tail_v).float().reshape(
            *by_tail[:-1], dim).permute(0, 2, 1, 3, 4, 5)
    return result.to(q.dtype).reshape(groups, samples, heads, tokens, dim)
