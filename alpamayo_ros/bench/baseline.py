"""The expert as the released implementation runs it, to compare with: a copied cache.

There every candidate owns a copy of its reasoning's keys and values. Each step appends the
candidate's own to them, layer by layer, and attends to the whole under a mask.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.expert.module import ExpertStep
from alpamayo_ros.model.expert.protocol import ExpertContext


class CopiedCacheExpert:
    """The expert of ``model`` for ``samples`` candidates of each reasoning in ``context``.

    Construction copies the cache; ``velocity`` is one denoising step.
    """

    @torch.inference_mode()
    def __init__(self, model: AlpamayoModel, context: ExpertContext, samples: int) -> None:
        self._step = ExpertStep(model)
        self._dtype = model.dtype
        cache, self._samples = context.cache, samples
        self._position = context.position.repeat_interleave(samples)
        self._layers: list[tuple[Tensor, Tensor]] = []
        for layer in range(len(model.expert.layers)):
            pair = [torch.cat([prompt.expand(cache.groups, -1, -1, -1), tail], dim=-2)
                    .repeat_interleave(samples, dim=0)
                    for prompt, tail in zip(cache.prompt(layer), cache.tail(layer), strict=True)]
            self._layers.append((pair[0], pair[1]))
        entries = torch.arange(cache.prompt_length + cache.tail_length, device=model.device)
        end = cache.prompt_length + context.tail_length
        self._visible = (entries < end[:, None]).repeat_interleave(samples, dim=0)

    @property
    def num_bytes(self) -> int:
        """Bytes of the copies."""
        return sum(part.numel() * part.element_size() for pair in self._layers for part in pair)

    @torch.inference_mode()
    def velocity(self, noisy: Tensor, time: Tensor) -> Tensor:
        """noisy (N, T, 2) float32, reasonings in order, time a scalar, to velocities (N, T, 2)."""
        step = self._step
        waypoints = noisy.shape[-2]
        cos, sin = (part[:, 0] for part in step.rotary(self._position, waypoints, self._dtype))
        own = torch.ones(waypoints, waypoints, dtype=torch.bool, device=noisy.device)
        if step.causal:
            own = own.tril()
        mask = torch.cat([self._visible[:, None].expand(-1, waypoints, -1),
                          own.expand(noisy.shape[0], -1, -1)], dim=-1)[:, None]
        x = step.action_in_proj(noisy, time).to(self._dtype)
        for layer, (past_k, past_v) in zip(step.expert.layers, self._layers, strict=True):
            q, k, v = layer.project(x, cos, sin)
            k, v = torch.cat([past_k, k], dim=-2), torch.cat([past_v, v], dim=-2)
            x = layer.finish(x, F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, enable_gqa=True))
        return step.action_out_proj(step.expert.norm(x)).float()
