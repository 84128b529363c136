"""Keys and values as the released implementation holds them: one growing copy for every sequence.

There every candidate owns its keys and values. What is added, a token or the expert's own block,
is concatenated to them layer by layer, and the block is cropped off again after each denoising
step.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.expert.module import ExpertStep
from alpamayo_ros.model.expert.protocol import ExpertContext


class GrowingCache:
    """Keys and values (N, kv_heads, length, head_dim) of each layer for N sequences.

    ``prompt_length``: how many of the entries are the prompt's; the rest is the tail.
    """

    def __init__(self, groups: int) -> None:
        self.groups, self.prompt_length = groups, 0
        self._layers: list[tuple[Tensor, Tensor]] = []

    @property
    def length(self) -> int:
        """Entries of each sequence."""
        return self._layers[0][0].shape[-2] if self._layers else 0

    @property
    def tail_length(self) -> int:
        """Entries behind the prompt."""
        return self.length - self.prompt_length

    @property
    def num_bytes(self) -> int:
        """Bytes of what is held."""
        return sum(part.numel() * part.element_size() for pair in self._layers for part in pair)

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put k, v (N, kv_heads, n, head_dim) behind what is there; returns all of it."""
        if layer == len(self._layers):
            self._layers.append((k, v))
        else:
            past_k, past_v = self._layers[layer]
            self._layers[layer] = (torch.cat([past_k, k], dim=-2), torch.cat([past_v, v], dim=-2))
        return self._layers[layer]

    def crop(self, length: int) -> None:
        """Forget what is behind the first ``length`` entries."""
        self._layers = [(k[..., :length, :], v[..., :length, :]) for k, v in self._layers]


class GrowingCacheExpert:
    """The expert over a cache for every candidate; ``velocity`` is one denoising step.

    ``end``: (N,) entries of each sequence that count; ``position``: (N,) of the first waypoint.
    """

    def __init__(self, model: AlpamayoModel, cache: GrowingCache, end: Tensor, position: Tensor
                 ) -> None:
        self._step, self._dtype, self._cache = ExpertStep(model), model.dtype, cache
        self._position, self._length = position, cache.length
        waypoints = model.config.unicycle.n_waypoints
        own = torch.zeros(waypoints, waypoints, device=model.device)
        if self._step.causal:
            own = own.fill_(-torch.inf).triu(1)
        hidden = torch.arange(self._length, device=model.device) >= end[:, None]
        past = torch.zeros(hidden.shape, device=model.device).masked_fill(hidden, -torch.inf)
        self._mask = torch.cat([past[:, None].expand(-1, waypoints, -1),
                                own.expand(cache.groups, -1, -1)], dim=-1)[:, None].to(self._dtype)

    @property
    def num_bytes(self) -> int:
        """Bytes of the candidates' keys and values."""
        return self._cache.num_bytes

    @torch.inference_mode()
    def velocity(self, noisy: Tensor, time: Tensor) -> Tensor:
        """noisy (N, T, 2) float32, sequences in order, time a scalar, to velocities (N, T, 2)."""
        step = self._step
        cos, sin = (part[:, 0] for part in step.rotary(
            self._position, noisy.shape[-2], self._dtype))
        x = step.action_in_proj(noisy, time).to(self._dtype)
        for index, layer in enumerate(step.expert.layers):
            q, k, v = layer.project(x, cos, sin)
            k, v = self._cache.append(index, k, v)
            x = layer.finish(x, F.scaled_dot_product_attention(
                q, k, v, attn_mask=self._mask, enable_gqa=True))
        self._cache.crop(self._length)
        return step.action_out_proj(step.expert.norm(x)).float()


class CopiedCacheExpert(GrowingCacheExpert):
    """The expert for ``samples`` candidates of each reasoning in a shared cache, which is copied
    for each of them."""

    @torch.inference_mode()
    def __init__(self, model: AlpamayoModel, context: ExpertContext, samples: int) -> None:
        shared = context.cache
        cache = GrowingCache(shared.groups * samples)
        for layer in range(len(model.expert.layers)):
            k, v = (torch.cat([prompt.expand(shared.groups, -1, -1, -1), tail], dim=-2)
                    .repeat_interleave(samples, dim=0)
                    for prompt, tail in zip(shared.prompt(layer), shared.tail(layer), strict=True))
            cache.append(layer, k, v)
        cache.prompt_length = shared.prompt_length
        end = shared.prompt_length + context.tail_length
        super().__init__(model, cache, end.repeat_interleave(samples),
                         context.position.repeat_interleave(samples))
