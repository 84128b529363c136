"""The Euler loop as one CUDA graph.

Launching a denoising step takes the processor about as long as the GPU needs to run it. Captured,
the whole loop is one launch and the processor waits once, for the result. A graph reads and writes
fixed addresses, so whatever changes from plan to plan lies in buffers made for it, and the cache
is read where it lies.

No part of this has been run yet: it was written where there was no GPU (docs/engines.md).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from alpamayo_ros.errors import PlanCancelled
from alpamayo_ros.model import flow
from alpamayo_ros.model.expert.protocol import ExpertContext, Guidance
from alpamayo_ros.model.kv_cache import KVCache

Velocity = Callable[[Tensor, Tensor], Tensor]
Begin = Callable[[], Velocity]
"""Does on the device what precedes the first step, and gives the field."""
_KEPT = 4


class StaticContext:
    """A context whose position and tail length lie at fixed addresses; its cache stays put."""

    def __init__(self, context: ExpertContext) -> None:
        self.value = ExpertContext(context.cache, context.tail_length.clone(),
                                   context.position.clone())

    def load(self, context: ExpertContext) -> None:
        """Take over another plan's values."""
        self.value.tail_length.copy_(context.tail_length)
        self.value.position.copy_(context.position)


def place(cache: KVCache) -> Hashable:
    """What a captured graph takes for granted: where the cache lies and how long the prompt is."""
    return (cache.groups, cache.prompt_length,
            *(part.data_ptr() for part in (*cache.prompt(0), *cache.tail_room(0))),
            *(part.shape for part in cache.tail_room(0)))


class CapturedLoop:
    """One captured loop for one set of shapes, addresses and guidance weight."""

    def __init__(self, prepare: Callable[[ExpertContext], Begin], noise: Tensor, times: Tensor,
                 context: ExpertContext, guidance: Guidance | None) -> None:
        """``prepare`` binds a context, on the host; what it returns is captured."""
        self._noise, self._times = noise.clone(), times.clone()
        self._contexts = [StaticContext(context)]
        if guidance is not None:
            self._contexts.append(StaticContext(guidance.without))
        # Kept: they hold the buffers that the graph works in.
        self._begin = [prepare(item.value) for item in self._contexts]
        stream = torch.cuda.Stream(noise.device)
        stream.wait_stream(torch.cuda.current_stream(noise.device))
        with torch.cuda.stream(stream):
            # Libraries allocate and choose kernels in their first run, which cannot be captured.
            self._integrate(guidance, self._times[:2])
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile; only this one's calls belong to the graph.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode='thread_local'):
            self._result = self._integrate(guidance, self._times)

    def _integrate(self, guidance: Guidance | None, times: Tensor) -> Tensor:
        fields = [begin() for begin in self._begin]
        return flow.euler(guided_field(fields, guidance), self._noise, times)

    def __call__(self, noise: Tensor, times: Tensor, context: ExpertContext,
                 guidance: Guidance | None) -> Tensor:
        """Run it for a plan. Nothing is waited for: the result is there when the stream is."""
        self._noise.copy_(noise)
        self._times.copy_(times)
        self._contexts[0].load(context)
        if guidance is not None:
            self._contexts[1].load(guidance.without)
        self._graph.replay()
        return self._result.clone()


def guided_field(fields: list[Velocity], guidance: Guidance | None) -> Velocity:
    """The field to integrate: the first, or both weighed by the guidance."""
    if guidance is None:
        return fields[0]
    with_navigation, without = fields
    return lambda x, time: flow.guided(with_navigation(x, time), without(x, time), guidance.weight)


class CapturedLoops:
    """The captured loops of a backend, by what each takes for granted; the last few are kept.

    A rig gives prompts of one length unless the navigation text changes, so as a rule there is
    one.
    """

    def __init__(self, prepare: Callable[[ExpertContext], Begin]) -> None:
        self._prepare = prepare
        self._loops: OrderedDict[Hashable, CapturedLoop] = OrderedDict()

    def integrate(self, noise: Tensor, times: Tensor, context: ExpertContext,
                  guidance: Guidance | None, should_stop: Callable[[], bool]) -> Tensor:
        """See ``ExpertBackend.integrate``; asked to stop before the loop, not within it."""
        if should_stop():
            raise PlanCancelled('planning was stopped before the expert')
        key = (noise.shape, times.shape, place(context.cache),
               None if guidance is None else (place(guidance.without.cache), guidance.weight))
        loop = self._loops.pop(key, None)
        if loop is None:
            while len(self._loops) >= _KEPT:
                self._loops.popitem(last=False)
            loop = CapturedLoop(self._prepare, noise, times, context, guidance)
        self._loops[key] = loop
        return loop(noise, times, context, guidance)

    def clear(self) -> None:
        """Give the graphs' memory back."""
        self._loops.clear()
