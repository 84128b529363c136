"""The reasoning stage: prefill of a prompt, then decoding until the trajectory is to begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alpamayo_ros.errors import PlanCancelled
from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.kv_cache import KVCache
from alpamayo_ros.model.sampling import Sampling, hide_trajectory_tokens, sample
from alpamayo_ros.model.text import prompt_positions
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer, special
from alpamayo_ros.types import Reasoning


@dataclass(frozen=True)
class Generated:
    """What decoding gave. ``tokens``: (G, n) int64, all that was sampled, junk after the end
    included; ``length``: (G,) tokens up to and with ``<|traj_future_start|>``, or n where the
    length limit came first; ``truncated``: (G,) bool, the limit came first."""

    tokens: Tensor
    length: Tensor
    truncated: Tensor


def never() -> bool:
    """The default ``should_stop``."""
    return False


@torch.inference_mode()
def encode_images(model: AlpamayoModel, patches: Sequence[Tensor],
                  grids: Sequence[tuple[int, int, int]]) -> tuple[Tensor, list[Tensor]]:
    """Image tokens and deepstack features, see ``VisionTower.forward``."""
    return model.vlm.visual([patch.to(model.device, non_blocking=True) for patch in patches], grids)


@torch.inference_mode()
def prefill(model: AlpamayoModel, cache: KVCache, ids: Tensor,
            grids: Sequence[tuple[int, int, int]], features: Tensor, deepstack: Sequence[Tensor]
            ) -> tuple[Tensor, int]:
    """Run the prompt ids (L,); room for it must have been reserved.

    Returns the logits (1, vocab) of what follows and ``rope_delta``, see ``prompt_positions``.
    """
    config = model.config
    positions, rope_delta = prompt_positions(ids, grids, config.image_token_id,
                                             config.vision.spatial_merge_size)
    hidden = model.vlm.decoder.prefill(
        ids.to(model.device), positions.to(model.device), cache,
        image_mask=(ids == config.image_token_id).to(model.device), image_features=features,
        deepstack=deepstack)
    return model.vlm.logits(hidden), rope_delta


@torch.inference_mode()
def extend(model: AlpamayoModel, cache: KVCache, tokens: Tensor, rope_delta: int) -> Tensor:
    """Append tokens (G, n) to the tails; returns logits (G, n, vocab)."""
    start = cache.prompt_length + cache.tail_length + rope_delta
    positions = torch.arange(start, start + tokens.shape[1], device=model.device)
    return model.vlm.logits(model.vlm.decoder.extend(tokens, positions, cache))


@torch.inference_mode()
def decode(model: AlpamayoModel, cache: KVCache, logits: Tensor, rope_delta: int, *,
           future_start: int, sampling: Sampling, limit: int, generator: torch.Generator,
           should_stop: Callable[[], bool] = never,
           append: Callable[..., Tensor] = extend) -> Generated:
    """Sample until every group has written ``future_start`` and one step more, or ``limit``.

    logits (1, vocab) or (G, vocab) of the first token. The one step more puts the end token's keys
    and values into the cache. ``PlanCancelled`` when ``should_stop`` says so between tokens.
    ``append``: how tokens are put into ``cache``, see ``extend``.
    """
    config = model.config
    hidden = (config.traj_token_start_idx, config.traj_vocab_size)
    logits = logits.expand(cache.groups, -1).clone()
    tokens: list[Tensor] = []
    ended = torch.zeros(cache.groups, dtype=torch.bool, device=model.device)
    while True:
        drawn = sample(hide_trajectory_tokens(logits, *hidden), sampling, generator)
        tokens.append(drawn)
        if len(tokens) == limit or bool(ended.all()):
            break
        if should_stop():
            raise PlanCancelled('planning was stopped while the reasoning was being written')
        ended |= drawn == future_start
        logits = append(model, cache, drawn[:, None], rope_delta)[:, -1]
    return measure(torch.stack(tokens, dim=1), future_start)


def measure(tokens: Tensor, future_start: int) -> Generated:
    """Find the end of each row of generated tokens (G, n)."""
    is_end = tokens == future_start
    found = is_end.any(-1)
    length = torch.where(found, is_end.int().argmax(-1) + 1, tokens.shape[1])
    return Generated(tokens, length, ~found)


def text_between(text: str, name: str) -> str:
    """What stands between ``<|name_start|>`` and ``<|name_end|>``.

    Cut at the first end token, begun after the last start token before it, stripped; empty without
    an end token.
    """
    before, end, _ = text.partition(special(f'{name}_end'))
    return before.rpartition(special(f'{name}_start'))[2].strip() if end else ''


def reasonings(generated: Generated, tokenizer: AlpamayoTokenizer) -> tuple[Reasoning, ...]:
    """The text fields of every group's tokens."""
    found = []
    rows = zip(generated.tokens.tolist(), generated.length.tolist(),
               generated.truncated.tolist(), strict=True)
    for tokens, length, truncated in rows:
        text = tokenizer.decode(tokens[:length])
        found.append(Reasoning(
            cot=text_between(text, 'cot'), meta_action=text_between(text, 'meta_action'),
            answer=text_between(text, 'answer'), token_count=length, truncated=truncated))
    return tuple(found)
