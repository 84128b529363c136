"""A whole plan the way the released implementation makes it, to compare with.

One sequence for every candidate goes through prefill and decoding as a batch, over a cache that
grows by concatenation; the expert appends its own block to every candidate's cache and crops it
off after each step; nothing is captured or compiled. The weights, the layers and PyTorch's fused
attention are ours, so what differs is the way alone. Images are encoded once, which
favours the released way where its library encodes them for every sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from alpamayo_ros.bench.baseline import GrowingCache, GrowingCacheExpert
from alpamayo_ros.errors import PlanCancelled
from alpamayo_ros.model import decoding, flow
from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.decoding import Generated
from alpamayo_ros.model.expert.protocol import ExpertContext, Guidance
from alpamayo_ros.model.runtime import Prefilled, Runtime
from alpamayo_ros.model.sampling import Sampling
from alpamayo_ros.model.text import prompt_positions


@torch.inference_mode()
def prefill(model: AlpamayoModel, cache: GrowingCache, ids: Tensor,
            grids: Sequence[tuple[int, int, int]], features: tuple[Tensor, list[Tensor]]
            ) -> tuple[Tensor, int]:
    """Run the prompt ids (L,) once for every sequence; logits (N, vocab) and ``rope_delta``."""
    config, decoder = model.config, model.vlm.decoder
    positions, rope_delta = prompt_positions(ids, grids, config.image_token_id,
                                             config.vision.spatial_merge_size)
    where = (ids == config.image_token_id).nonzero().squeeze(-1).to(model.device)
    x = decoder.embed_tokens(ids.to(model.device).expand(cache.groups, -1))
    image, deepstack = features
    x[:, where] = image.to(x.dtype)
    cos, sin = decoder.rotary(positions.to(model.device), x.dtype)
    for index, layer in enumerate(decoder.layers):
        q, k, v = layer.project(x, cos, sin)
        k, v = cache.append(index, k, v)
        x = layer.finish(x, F.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=True))
        if index < len(deepstack):
            x[:, where] = x[:, where] + deepstack[index].to(x.dtype)
    cache.prompt_length = cache.length
    return model.vlm.logits(x[:, -1]), rope_delta


@torch.inference_mode()
def extend(model: AlpamayoModel, cache: GrowingCache, tokens: Tensor, rope_delta: int) -> Tensor:
    """Append one token (N, 1) to every sequence; returns logits (N, 1, vocab)."""
    decoder = model.vlm.decoder
    position = torch.tensor([cache.length + rope_delta], device=model.device)
    x = decoder.embed_tokens(tokens)
    cos, sin = decoder.rotary.along(position, x.dtype)
    for index, layer in enumerate(decoder.layers):
        q, k, v = layer.project(x, cos, sin)
        k, v = cache.append(index, k, v)
        x = layer.finish(x, F.scaled_dot_product_attention(q, k, v, enable_gqa=True))
    return model.vlm.logits(x)


class ReleasedWay(Runtime):
    """The stages of a loaded ``Runtime`` done the released way, for the ``Planner`` to string
    together; ``groups`` of a plan must be its candidates (reasoning mode ``multi``)."""

    def __init__(self, runtime: Runtime) -> None:
        """Shares everything with ``runtime``, which is closed by whoever opened it."""
        vars(self).update(vars(runtime))

    def prefill(self, ids: Tensor, grids: Sequence[tuple[int, int, int]],
                features: tuple[Tensor, list[Tensor]], *, groups: int, tail: int,
                slot: int = 0) -> Prefilled:
        """See ``Runtime.prefill``; nothing is reserved."""
        cache = GrowingCache(groups)
        return Prefilled(cache, *prefill(self.model, cache, ids, grids, features))

    def decode(self, prefilled: Prefilled, sampling: Sampling, limit: int,
               generator: torch.Generator, should_stop: Callable[[], bool] = decoding.never
               ) -> Generated:
        """See ``Runtime.decode``."""
        return decoding.decode(
            self.model, prefilled.cache, prefilled.logits, prefilled.rope_delta,
            future_start=self.tokenizer.future_start, sampling=sampling, limit=limit,
            generator=generator, should_stop=should_stop, append=extend)

    @torch.inference_mode()
    def integrate(self, noise: Tensor, context: ExpertContext, *, steps: int | None = None,
                  guidance: Guidance | None = None,
                  should_stop: Callable[[], bool] = decoding.never) -> Tensor:
        """See ``Runtime.integrate``; ``ValueError`` with guidance, which is not rebuilt here."""
        if guidance is not None:
            raise ValueError(f'guidance has weight {guidance.weight}; expected none')
        expert = GrowingCacheExpert(self.model, context.cache,
                                    context.cache.prompt_length + context.tail_length,
                                    context.position)

        def velocity(x: Tensor, time: Tensor) -> Tensor:
            if should_stop():
                raise PlanCancelled('planning was stopped between two steps of the expert')
            return expert.velocity(x, time)

        times = flow.schedule(steps or self.config.num_inference_steps, self.device)
        return flow.euler(velocity, noise.to(self.device, torch.float32), times).cpu()

    def close(self) -> None:
        """Nothing is given back: it belongs to the runtime this was made from."""
