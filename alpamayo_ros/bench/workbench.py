"""A loaded planner with everything at hand to run each of its stages alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.bench import scene
from alpamayo_ros.cameras import SIX_CAMERA_RIG
from alpamayo_ros.images import decode_compressed
from alpamayo_ros.model import flow
from alpamayo_ros.model.config import AlpamayoConfig
from alpamayo_ros.model.expert.protocol import ExpertContext
from alpamayo_ros.model.runtime import Prefilled, Runtime
from alpamayo_ros.model.sampling import Sampling
from alpamayo_ros.planner import Planner
from alpamayo_ros.settings import PlannerSettings
from alpamayo_ros.types import Observation


@dataclass(frozen=True)
class Options:
    """``checkpoint`` directory; ``candidates`` a plan; ``tokens`` of a reasoning; ``image_size``
    (height, width) of a camera; ``repeats`` of the slow measurements; ``threads`` of torch, None
    for its default; the rest as in ``Planner.load`` and ``PlannerSettings``."""

    checkpoint: Path
    device: str = 'cpu'
    dtype: str = 'float32'
    candidates: int = 32
    tokens: int = 40
    cameras: tuple[str, ...] = SIX_CAMERA_RIG
    frames_per_camera: int = 4
    image_size: tuple[int, int] = (1080, 1920)
    min_pixels: int | None = None
    max_pixels: int | None = None
    repeats: int = 3
    threads: int | None = None

    @property
    def settings(self) -> PlannerSettings:
        """Of the planner; the limit of a reasoning is its length, as it never ends by itself."""
        return PlannerSettings(
            num_candidates=self.candidates, max_generation_length=self.tokens,
            min_pixels=self.min_pixels, max_pixels=self.max_pixels)


class Workbench:
    """Loads the checkpoint; ``jpegs``: one a camera; ``observation``: what is planned from."""

    def __init__(self, options: Options) -> None:
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self.options = options
        self.planner = Planner.load(options.checkpoint, options.settings, device=options.device,
                                    dtype=options.dtype)
        self.jpegs = [scene.jpeg(scene.picture(index, *options.image_size))
                      for index in range(len(options.cameras))]
        images = [self.planner.preprocessor(decode_compressed(data, 'jpeg'))
                  for data in self.jpegs]
        self.observation: Observation = scene.observation(
            options.cameras, images, options.frames_per_camera)
        self.images = [frame.patches for frames in self.observation.frames for frame in frames]
        self.grids = [image.grid_thw for image in self.images]
        self.history_xyz = torch.from_numpy(self.observation.history_xyz)
        self.history_rot = torch.from_numpy(np.array(self.observation.history_rot))

    @property
    def runtime(self) -> Runtime:
        return self.planner.runtime

    @property
    def config(self) -> AlpamayoConfig:
        return self.runtime.config

    @property
    def camera_ids(self) -> Sequence[int]:
        return [frames[0].camera_id for frames in self.observation.frames]

    def multi_reasoning(self) -> Planner:
        """A second planner on the same weights: one reasoning a candidate."""
        return Planner(self.runtime, replace(self.options.settings, reasoning_mode='multi'))

    def prefill(self) -> Prefilled:
        """The prompt in the cache, nothing generated yet, one reasoning."""
        runtime = self.runtime
        prompt = runtime.prompt(self.camera_ids, self.options.frames_per_camera, self.grids, None)
        ids = runtime.fuse(prompt, self.history_xyz)
        return runtime.prefill(ids, self.grids, runtime.encode_images(self.images), groups=1,
                               tail=self.options.tokens)

    def context(self) -> ExpertContext:
        """What the expert attends to after a reasoning of full length."""
        prefilled = self.prefill()
        generator = torch.Generator(self.runtime.device).manual_seed(0)
        generated = self.runtime.decode(prefilled, Sampling(), self.options.tokens, generator)
        return self.runtime.context(prefilled, generated)

    def noise(self, candidates: int) -> Tensor:
        """The flow's start (candidates, waypoints, 2) on the model's device."""
        generator = torch.Generator().manual_seed(candidates)
        return flow.start_noise(candidates, self.planner.num_waypoints, generator).to(
            self.runtime.device)

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.runtime.device.type == 'cuda':
            torch.cuda.synchronize(self.runtime.device)

    def describe(self) -> dict[str, object]:
        """Sizes of the model and of what is planned from, for the table's head and for JSON."""
        parameters = {name: value.numel() for name, value
                      in self.runtime.model.named_parameters()}
        first = self.grids[0]
        patch = self.config.vision.patch_size
        prompt = self.runtime.prompt(self.camera_ids, self.options.frames_per_camera, self.grids,
                                     None)
        text, expert = self.config.text, self.config.expert
        return {
            'model_type': self.config.model_type,
            'device': self.options.device, 'dtype': self.options.dtype,
            'backend': self.planner.backend,
            'parameters': sum(parameters.values()),
            'expert_parameters': sum(count for name, count in parameters.items()
                                     if name.startswith(('expert.', 'action_'))),
            'text': {'layers': text.num_layers, 'hidden': text.hidden_size,
                     'heads': text.num_heads, 'kv_heads': text.num_kv_heads,
                     'head_dim': text.head_dim, 'vocabulary': text.vocab_size},
            'expert': {'layers': expert.num_layers, 'hidden': expert.hidden_size,
                       'heads': expert.num_heads},
            'vision': {'layers': self.config.vision.depth,
                       'hidden': self.config.vision.hidden_size},
            'cameras': list(self.options.cameras),
            'frames_per_camera': self.options.frames_per_camera,
            'image_size': list(self.options.image_size),
            'jpeg_bytes': round(sum(map(len, self.jpegs)) / len(self.jpegs)),
            'resized_to': [first[1] * patch, first[2] * patch],
            'prompt_tokens': prompt.ids.shape[0],
            'candidates': self.options.candidates, 'tokens': self.options.tokens,
            'waypoints': self.planner.num_waypoints,
            'steps': self.config.num_inference_steps}
