"""A loaded checkpoint: model, tokenizer, expert backend and caches, and the stages run on them.

Each stage is a method that can be called, timed and tested alone; ``planner.Planner`` strings them
together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from alpamayo_ros.errors import ObservationError
from alpamayo_ros.model import decoding, flow
from alpamayo_ros.model.checkpoint import fingerprints, load_model, parse_device, parse_dtype
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.decoding import Generated
from alpamayo_ros.model.expert import make_backend
from alpamayo_ros.model.expert.protocol import ExpertContext, ExpertOptions, Guidance
from alpamayo_ros.model.kv_cache import CacheRoom, KVCache
from alpamayo_ros.model.prompt import Prompt, fuse_history, prompt_text, tokenize_prompt
from alpamayo_ros.model.sampling import Sampling
from alpamayo_ros.model.static_decoding import StaticDecoding
from alpamayo_ros.model.tokenizer import load_tokenizer
from alpamayo_ros.model.unicycle import initial_speed, rollout
from alpamayo_ros.types import ImagePatches

_PROMPTS_KEPT = 16


@dataclass(frozen=True)
class Prefilled:
    """A prompt in the cache: ``logits`` (1, vocab) of what follows and its position offset."""

    cache: KVCache
    logits: Tensor
    rope_delta: int


class Runtime:
    """See the module. Not thread-safe: one plan at a time."""

    def __init__(self, checkpoint: str | Path, *, device: str = 'cpu', dtype: str = 'float32',
                 backend: str = 'torch', options: ExpertOptions | None = None) -> None:
        """Load; ``CheckpointError``, ``EngineError`` or ``ValueError`` name what does not fit."""
        self.device = parse_device(device)
        parsed = parse_dtype(dtype)
        self.config = load_config(checkpoint)
        self.tokenizer = load_tokenizer(self.config)
        self.model = load_model(self.config, self.device, parsed)
        # Behind the loading, which has found the files to be whole.
        self.checkpoint_fingerprint, self.expert_fingerprint = fingerprints(self.config)
        statistics = {name: float(value) for name, value in
                      self.model.action_space.named_buffers()}
        self.unicycle = replace(self.config.unicycle, **statistics)
        self.expert = make_backend(backend, self.model, replace(
            options or ExpertOptions(), fingerprint=self.expert_fingerprint))
        self._caches = [KVCache(self.config.text, device=self.device, dtype=parsed,
                                least=self.expert.room) for _ in range(2)]
        self._decoding = StaticDecoding(self.model) if self.device.type == 'cuda' else None
        self._prompts: dict[tuple, Prompt] = {}

    def prompt(self, camera_ids: Sequence[int], frames_per_camera: int,
               grids: Sequence[tuple[int, int, int]], navigation: str | None) -> Prompt:
        """The prompt with history placeholders; the last few are kept, as they rarely change."""
        key = (tuple(camera_ids), frames_per_camera, tuple(grids), navigation)
        if key not in self._prompts:
            if len(self._prompts) == _PROMPTS_KEPT:
                self._prompts.pop(next(iter(self._prompts)))
            merged = self.config.vision.spatial_merge_size ** 2
            text = prompt_text(self.config, self.tokenizer, camera_ids, frames_per_camera,
                               navigation=navigation)
            self._prompts[key] = tokenize_prompt(
                text, self.tokenizer, [rows * columns // merged for _, rows, columns in grids])
        return self._prompts[key]

    def fuse(self, prompt: Prompt, history_xyz: Tensor) -> Tensor:
        """Prompt ids (L,) with the history (16, 3) m put in."""
        return fuse_history(prompt.ids, history_xyz, self.config, self.tokenizer)

    def encode_images(self, images: Sequence[ImagePatches]) -> tuple[Tensor, list[Tensor]]:
        """Image tokens (tokens, hidden) and deepstack features."""
        return decoding.encode_images(self.model, [image.pixel_values for image in images],
                                      [image.grid_thw for image in images])

    def prefill(self, ids: Tensor, grids: Sequence[tuple[int, int, int]],
                features: tuple[Tensor, list[Tensor]], *, groups: int, tail: int,
                slot: int = 0) -> Prefilled:
        """Run a prompt into cache ``slot`` (0, or 1 for the prompt of the guidance).

        ``EngineError`` when the expert's backend was made for other sizes.
        """
        cache = self._caches[slot]
        room = self.expert.fitted(CacheRoom(ids.shape[0], groups, tail))
        cache.reserve(room.prompt, room.groups, room.tail)
        logits, rope_delta = decoding.prefill(self.model, cache, ids, grids, *features)
        return Prefilled(cache, logits, rope_delta)

    def decode(self, prefilled: Prefilled, sampling: Sampling, limit: int,
               generator: torch.Generator, should_stop: Callable[[], bool] = decoding.never
               ) -> Generated:
        """Write the reasoning of every group; on a GPU by captured steps."""
        write = decoding.decode if self._decoding is None else self._decoding.decode
        return write(
            self.model, prefilled.cache, prefilled.logits, prefilled.rope_delta,
            future_start=self.tokenizer.future_start, sampling=sampling, limit=limit,
            generator=generator, should_stop=should_stop)

    def force(self, prefilled: Prefilled, tokens: Tensor) -> None:
        """Put given tokens (G, n) into the tails: all but the last, whose successor nobody asks
        for, as when they were generated."""
        if tokens.shape[1] > 1:
            decoding.extend(self.model, prefilled.cache, tokens[:, :-1].to(self.device),
                            prefilled.rope_delta)

    def context(self, prefilled: Prefilled, generated: Generated) -> ExpertContext:
        """What the expert attends to after a reasoning."""
        cache = prefilled.cache
        offset = cache.prompt_length + generated.length + prefilled.rope_delta
        return ExpertContext(cache, generated.length.clamp(max=cache.tail_length), offset)

    def integrate(self, noise: Tensor, context: ExpertContext, *, steps: int | None = None,
                  guidance: Guidance | None = None,
                  should_stop: Callable[[], bool] = decoding.never) -> Tensor:
        """Noise (N, T, 2), groups in order, to normalised actions (N, T, 2) on the CPU."""
        groups = context.cache.groups
        shaped = noise.to(self.device, torch.float32).unflatten(0, (groups, -1))
        times = flow.schedule(steps or self.config.num_inference_steps, self.device)
        action = self.expert.integrate(shaped, times, context, guidance=guidance,
                                       should_stop=should_stop)
        return action.flatten(0, 1).cpu()

    def trajectories(self, action: Tensor, history_xyz: Tensor, history_rot: Tensor
                     ) -> tuple[Tensor, Tensor, float]:
        """Actions (N, T, 2) to positions (N, T, 3) m, rotations (N, T, 3, 3) and v0, m/s.

        Raises ``ObservationError`` when the history has no speed to start from.
        """
        unicycle = self.unicycle
        try:
            v0 = initial_speed(history_xyz.float(), history_rot.float(), unicycle)
        except ValueError as error:
            raise ObservationError(f'the ego history gives no speed: {error}') from error
        xyz, rot = rollout(action, v0.expand(action.shape[0]), unicycle,
                           z=history_xyz[-1, 2].float())
        return xyz, rot, float(v0)

    def close(self) -> None:
        """Give memory back; nothing can be run afterwards."""
        self.expert.close()
        del self.model, self._caches, self._decoding
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()
