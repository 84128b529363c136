"""The expert run by PyTorch on the device of the model: step by step on a CPU, on a GPU as one
captured graph (which has not been run yet, see ``captured``)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from alpamayo_ros.errors import PlanCancelled
from alpamayo_ros.model import flow
from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.expert.captured import Begin, CapturedLoops, guided_field
from alpamayo_ros.model.expert.module import ExpertStep
from alpamayo_ros.model.expert.protocol import ExpertContext, Guidance
from alpamayo_ros.model.fused_attention import shared_attention
from alpamayo_ros.model.kv_cache import CacheRoom


class TorchExpert:
    """``ExpertBackend`` in PyTorch."""

    name = 'torch'
    room = None

    def __init__(self, model: AlpamayoModel) -> None:
        self._step: ExpertStep | None = ExpertStep(model, shared_attention)
        self._dtype = model.dtype
        self._waypoints = model.config.unicycle.n_waypoints
        captured = model.device.type == 'cuda'
        self._loops = CapturedLoops(self._prepare) if captured else None

    def _prepare(self, context: ExpertContext) -> Begin:
        """The velocity field in one context, everything that does not change computed once."""
        step, cache = self._step, context.cache
        if step is None:
            raise ValueError('the expert is closed; expected one that is open')
        layers = range(len(step.expert.layers))
        prompt = [cache.prompt(layer) for layer in layers]
        # A captured graph has one shape for reasonings of any length, and masks the rest.
        whole = self._loops is not None
        tail = [cache.tail_room(layer) if whole else cache.tail(layer) for layer in layers]
        if not whole and cache.groups == 1:
            # One reasoning follows its prompt without a gap: one part less to attend to.
            real = int(context.tail_length[0])
            prompt = [tuple(torch.cat([before, after[0, :, :real]], -2)
                            for before, after in zip(*parts, strict=True))
                      for parts in zip(prompt, tail, strict=True)]
            tail = [(k[..., :0, :], v[..., :0, :]) for k, v in tail]
        length = tail[0][0].shape[-2]

        def begin() -> Callable[[Tensor, Tensor], Tensor]:
            cos, sin = step.rotary(context.position, self._waypoints, self._dtype)
            entries = torch.arange(length, device=context.tail_length.device)
            bias = torch.zeros(cache.groups, length, device=entries.device)
            bias = bias.masked_fill(entries >= context.tail_length[:, None], -torch.inf)
            return lambda x, time: step(x, time, cos, sin, prompt, tail, bias)

        return begin

    def fitted(self, wanted: CacheRoom) -> CacheRoom:
        """See ``ExpertBackend.fitted``."""
        return wanted

    @torch.inference_mode()
    def integrate(self, noise: Tensor, times: Tensor, context: ExpertContext, *,
                  guidance: Guidance | None = None,
                  should_stop: Callable[[], bool]) -> Tensor:
        """See ``ExpertBackend.integrate``. On a GPU the loop is one launch, so a wish to stop is
        heard before it."""
        if self._loops is not None:
            with torch.cuda.device(noise.device):
                return self._loops.integrate(noise, times, context, guidance, should_stop)
        contexts = [context] if guidance is None else [context, guidance.without]
        field = guided_field([self._prepare(item)() for item in contexts], guidance)

        def velocity(x: Tensor, time: Tensor) -> Tensor:
            if should_stop():
                raise PlanCancelled('planning was stopped between two steps of the expert')
            return field(x, time)

        return flow.euler(velocity, noise, times)

    def close(self) -> None:
        """See ``ExpertBackend.close``."""
        if self._loops is not None:
            self._loops.clear()
        self._step = None
