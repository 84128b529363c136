"""Decoding in which every token is the same work at the same addresses, captured on a GPU.

Launching the some thousand kernels of one token takes the processor longer than the GPU needs to
read the weights. Here whatever changes from token to token lies on the device: how many tokens
there are, their positions, what was drawn, who has ended. A token attends to all the room of its
tail, masked behind what is written. So one captured graph does any token, and nothing waits for
the device but a look, every few tokens, at whether all reasonings have ended. What was written
meanwhile is cut off afterwards, and the result is that of ``decoding.decode``.

The step itself is tested on a CPU, where it runs uncaptured and writes the same tokens. The
capture has not been run yet: it was written where there was no GPU (docs/engines.md).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from alpamayo_ros.errors import PlanCancelled
from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.decoding import Generated, measure, never
from alpamayo_ros.model.expert.captured import place
from alpamayo_ros.model.fused_attention import shared_attention
from alpamayo_ros.model.kv_cache import KVCache
from alpamayo_ros.model.sampling import Sampling, choose, draw, hide_trajectory_tokens

_KEPT = 4
LOOK_EVERY = 8
"""Tokens between two looks at whether all reasonings have ended."""


class StaticStep:
    """One token of every group, bound to a cache and its addresses.

    ``draw`` chooses the next token of the logits that are there, ``extend`` runs it through the
    decoder and leaves the logits of its successor; neither reads anything back.
    """

    def __init__(self, model: AlpamayoModel, cache: KVCache, sampling: Sampling, limit: int,
                 future_start: int) -> None:
        """``limit``: most tokens of a reasoning, for all but the last of which the tails must
        have room; ``ValueError`` where they have not."""
        room = cache.tail_room(0)[0].shape[-2]
        if limit - 1 > room:
            raise ValueError(f'tails have room for {room} tokens; expected {limit - 1} or more')
        device, groups = model.device, cache.groups
        self._model, self._cache, self._sampling = model, cache, sampling
        self._future_start = future_start
        self.logits = torch.empty(groups, model.config.text.vocab_size, device=device)
        self.race = torch.ones_like(self.logits)
        self.tokens = torch.zeros(groups, limit, dtype=torch.long, device=device)
        self.ended = torch.zeros(groups, dtype=torch.bool, device=device)
        self._count = torch.zeros(1, dtype=torch.long, device=device)
        self._start = torch.zeros_like(self._count)
        self._drawn = torch.zeros(groups, dtype=torch.long, device=device)
        self._entries = torch.arange(room, device=device)

    def begin(self, logits: Tensor, start: int) -> None:
        """Logits (1, vocab) or (G, vocab) of the first token, and its position id."""
        self.logits.copy_(logits.expand_as(self.logits))
        self._start.fill_(start)
        self._count.zero_()
        self.ended.zero_()

    def draw(self) -> None:
        """Choose a token of every group by the logits and ``race``, and note it."""
        config = self._model.config
        logits = hide_trajectory_tokens(self.logits, config.traj_token_start_idx,
                                        config.traj_vocab_size)
        self._drawn.copy_(choose(logits, self._sampling, self.race))
        self.tokens.index_copy_(1, self._count, self._drawn[:, None])
        self.ended.logical_or_(self._drawn == self._future_start)

    def extend(self) -> None:
        """Put the tokens that were drawn into the tails; leaves the logits of what follows."""
        decoder, cache = self._model.vlm.decoder, self._cache
        x = decoder.embed_tokens(self._drawn)[:, None, None]
        cos, sin = decoder.rotary.along(self._start + self._count, x.dtype)
        bias = torch.zeros(cache.groups, self._entries.shape[0], device=x.device).masked_fill(
            self._entries >= self._count, -torch.inf)
        for index, layer in enumerate(decoder.layers):
            q, k, v = layer.project(x, cos, sin)
            prompt_k, prompt_v = cache.prompt(index)
            tail_k, tail_v = cache.tail_room(index)
            attended = shared_attention(q, k, v, prompt_k=prompt_k, prompt_v=prompt_v,
                                        tail_k=tail_k, tail_v=tail_v, tail_bias=bias)
            for part, value in ((tail_k, k), (tail_v, v)):
                part.index_copy_(2, self._count, value[:, 0])
            x = layer.finish(x, attended)
        self.logits.copy_(self._model.vlm.logits(x[:, 0, 0]))
        self._count.add_(1)

    def __call__(self) -> None:
        """A token and what follows from it."""
        self.draw()
        self.extend()


class CapturedStep:
    """A ``StaticStep`` as one CUDA graph."""

    def __init__(self, step: StaticStep) -> None:
        """Captures it; what it has written by then is overwritten when it begins anew."""
        device = step.logits.device
        step.begin(torch.zeros_like(step.logits), 0)
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            # Libraries allocate and choose kernels in their first run, which cannot be captured.
            step()
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile; only this one's calls belong to the graph.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode='thread_local'):
            step()

    def __call__(self) -> None:
        """A token and what follows from it; nothing is waited for."""
        self._graph.replay()


class StaticDecoding:
    """``decoding.decode`` by static steps: captured on a GPU, as they are on a CPU.

    A graph belongs to the addresses of a cache, a prompt's length, a limit and a way of sampling;
    the last few are kept.
    """

    def __init__(self, model: AlpamayoModel) -> None:
        self._captured = model.device.type == 'cuda'
        self._steps: OrderedDict[Hashable, tuple[StaticStep, Callable[[], None]]] = OrderedDict()

    @torch.inference_mode()
    def decode(self, model: AlpamayoModel, cache: KVCache, logits: Tensor, rope_delta: int, *,
               future_start: int, sampling: Sampling, limit: int, generator: torch.Generator,
               should_stop: Callable[[], bool] = never) -> Generated:
        """See ``decoding.decode``. The generator is drawn from for tokens that are cut off, too."""
        step, advance = self._step(model, cache, sampling, limit, future_start)
        step.begin(logits, cache.prompt_length + rope_delta)
        count = 0
        while count < limit - 1:
            if count and count % LOOK_EVERY == 0 and bool(step.ended.all()):
                break
            if should_stop():
                raise PlanCancelled('planning was stopped while the reasoning was being written')
            # Outside the graph, which would repeat what was drawn when it was captured.
            draw(step.race, sampling, generator)
            advance()
            count += 1
        draw(step.race, sampling, generator)
        step.draw()
        found = measure(step.tokens[:, :count + 1], future_start)
        needed = count + 1 if bool(found.truncated.any()) else min(
            count + 1, int(found.length.max()) + 1)
        cache.tail_length = needed - 1
        if needed <= count:
            for layer in range(cache.num_layers):
                for part in cache.tail_room(layer):
                    part[:, :, needed - 1:count].zero_()
        return measure(step.tokens[:, :needed].clone(), future_start)

    def _step(self, model: AlpamayoModel, cache: KVCache, sampling: Sampling, limit: int,
              future_start: int) -> tuple[StaticStep, Callable[[], None]]:
        key = (place(cache), sampling, limit, future_start)
        step = self._steps.pop(key, None)
        if step is None:
            while len(self._steps) >= _KEPT:
                self._steps.popitem(last=False)
            static = StaticStep(model, cache, sampling, limit, future_start)
            step = (static, CapturedStep(static) if self._captured else static)
        self._steps[key] = step
        return step
