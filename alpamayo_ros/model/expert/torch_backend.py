"""The expert run by PyTorch, step by step, on the device of the model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from alpamayo_ros.errors import PlanCancelled
from alpamayo_ros.model import flow
from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.expert.module import ExpertStep
from alpamayo_ros.model.expert.protocol import ExpertContext, Guidance


class TorchExpert:
    """``ExpertBackend`` in PyTorch."""

    name = 'torch'

    def __init__(self, model: AlpamayoModel) -> None:
        self._step: ExpertStep | None = ExpertStep(model)
        self._dtype = model.dtype

    def _velocity(self, context: ExpertContext, waypoints: int
                  ) -> Callable[[Tensor, Tensor], Tensor]:
        """The velocity field in one context, everything that does not change computed once."""
        step, cache = self._step, context.cache
        if step is None:
            raise ValueError('the expert is closed; expected one that is open')
        layers = range(len(step.expert.layers))
        prompt = [cache.prompt(layer) for layer in layers]
        tail = [cache.tail(layer) for layer in layers]
        cos, sin = step.rotary(context.position, waypoints, self._dtype)
        entries = torch.arange(cache.tail_length, device=context.tail_length.device)
        bias = torch.zeros(cache.groups, cache.tail_length, device=entries.device)
        bias = bias.masked_fill(entries >= context.tail_length[:, None], -torch.inf)
        return lambda x, time: step(x, time, cos, sin, prompt, tail, bias)

    @torch.inference_mode()
    def integrate(self, noise: Tensor, times: Tensor, context: ExpertContext, *,
                  guidance: Guidance | None = None,
                  should_stop: Callable[[], bool]) -> Tensor:
        """See ``ExpertBackend.integrate``."""
        waypoints = noise.shape[-2]
        with_navigation = self._velocity(context, waypoints)
        without = self._velocity(guidance.without, waypoints) if guidance else None

        def velocity(x: Tensor, time: Tensor) -> Tensor:
            if should_stop():
                raise PlanCancelled('planning was stopped between two steps of the expert')
            value = with_navigation(x, time)
            if without is None or guidance is None:
                return value
            return flow.guided(value, without(x, time), guidance.weight)

        return flow.euler(velocity, noise, times)

    def close(self) -> None:
        """See ``ExpertBackend.close``."""
        self._step = None
