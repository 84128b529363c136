"""Choosing the next token, on the device and without waiting for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """``temperature`` > 0; ``top_k`` None: off, 1: greedy; ``top_p`` in (0, 1], 1: off."""

    temperature: float = 0.6
    top_k: int | None = None
    top_p: float = 0.98


def hide_trajectory_tokens(logits: Tensor, start: int, count: int) -> Tensor:
    """Logits (G, vocab) with the trajectory tokens' at -inf: reasoning is text."""
    logits[:, start:start + count] = -torch.inf
    return logits


def sample(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Draw token ids (G,) from logits (G, vocab): temperature, then top-k, then top-p."""
    return choose(logits, sampling, draw(torch.empty_like(logits), sampling, generator))


def draw(race: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Fill ``race``, of the shape of the logits, with the randomness of one token."""
    return race if sampling.top_k == 1 else race.exponential_(generator=generator)


def choose(logits: Tensor, sampling: Sampling, race: Tensor) -> Tensor:
    """Token ids (G,) of logits (G, vocab) and what was drawn for them."""
    if sampling.top_k == 1:
        return logits.argmax(-1)
    logits = logits / sampling.temperature
    if sampling.top_k is not None:
        kept = torch.topk(logits, min(sampling.top_k, logits.shape[-1])).values
        logits = logits.masked_fill(logits < kept[:, -1:], -torch.inf)
    if sampling.top_p < 1:
        ordered, order = torch.sort(logits, descending=True, dim=-1, stable=True)
        probability = ordered.softmax(-1)
        # A token stays while those before it hold less than top_p; the first always stays.
        drop = probability.cumsum(-1) - probability >= sampling.top_p
        drop[:, 0] = False
        logits = logits.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), -torch.inf)
    # The largest p / Exp(1) is distributed as p, and needs no read-back as multinomial does.
    race = race.clamp(min=torch.finfo(race.dtype).tiny)  # 0 / 0 would win for a hidden token
    return (logits.softmax(-1) / race).argmax(-1)
