"""The planner: an observation in, a plan out. No ROS, no clock, no threads of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.cameras import camera_by_id
from alpamayo_ros.checks import implausible_reasons
from alpamayo_ros.errors import ObservationError, PlanCancelled
from alpamayo_ros.model import decoding, flow
from alpamayo_ros.model.decoding import Generated, never
from alpamayo_ros.model.expert.protocol import ExpertContext, ExpertOptions, Guidance
from alpamayo_ros.model.preprocessing import FramePreprocessor
from alpamayo_ros.model.runtime import Prefilled, Runtime
from alpamayo_ros.model.sampling import Sampling
from alpamayo_ros.ranking import rank
from alpamayo_ros.settings import PlannerSettings
from alpamayo_ros.types import (
    HISTORY_DT_NS,
    HISTORY_STEPS,
    CameraFrame,
    Candidate,
    Observation,
    Plan,
    Reasoning,
)


class Stopwatch:
    """Milliseconds per named stage, in order of execution.

    On a GPU every stage ends with a wait for the device, so that its time is its own.
    """

    def __init__(self, device: torch.device, should_stop: Callable[[], bool]) -> None:
        self.milliseconds: dict[str, float] = {}
        self._device, self._should_stop = device, should_stop

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block; ``PlanCancelled`` before it when asked to stop."""
        if self._should_stop():
            raise PlanCancelled(f"planning was stopped before the stage '{name}'")
        start = time.perf_counter()
        yield
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)
        took = (time.perf_counter() - start) * 1e3
        self.milliseconds[name] = self.milliseconds.get(name, 0.0) + took


class Planner:
    """A loaded checkpoint and the settings to plan with. One plan at a time.

    ``dt_s``: seconds between waypoints; ``num_waypoints``: waypoints of a trajectory;
    ``preprocessor``: makes an arriving image ready, may be called from any thread.
    """

    def __init__(self, runtime: Runtime, settings: PlannerSettings) -> None:
        self._runtime: Runtime | None = runtime
        self.settings = settings
        config = runtime.config
        self.dt_s = config.unicycle.dt
        self.num_waypoints = config.unicycle.n_waypoints
        self.model_type = config.model_type
        self.backend = runtime.expert.name
        self.checkpoint_fingerprint = runtime.checkpoint_fingerprint
        self.expert_fingerprint = runtime.expert_fingerprint
        self.accepts_navigation = config.accepts_navigation
        min_pixels = settings.min_pixels or config.min_pixels
        max_pixels = settings.max_pixels or config.max_pixels
        if min_pixels > max_pixels:
            raise ValueError(f'min_pixels is {min_pixels}; expected at most max_pixels '
                             f'{max_pixels}')
        self.preprocessor = FramePreprocessor(config.vision, min_pixels=min_pixels,
                                              max_pixels=max_pixels)
        self._groups = settings.num_candidates if settings.reasoning_mode == 'multi' else 1

    @classmethod
    def load(cls, checkpoint: str | Path, settings: PlannerSettings | None = None, *,
             device: str = 'cpu', dtype: str = 'float32', backend: str = 'torch',
             engine_dir: str | Path | None = None) -> Planner:
        """Load a checkpoint directory.

        ``engine_dir``: where ``alpamayo export`` or ``build-engine`` wrote what the backends
        ``onnxruntime`` and ``tensorrt`` run. ``CheckpointError`` when the checkpoint is missing,
        incomplete or does not fit; ``EngineError`` when that in ``engine_dir`` does not fit it,
        these settings or this machine; ``ValueError`` for a device, dtype or backend that does
        not exist.
        """
        settings = settings or PlannerSettings()
        multi = settings.reasoning_mode == 'multi'
        options = ExpertOptions(
            groups=settings.num_candidates if multi else 1,
            samples=1 if multi else settings.num_candidates,
            max_tail=settings.max_generation_length,
            engine_dir=Path(engine_dir) if engine_dir else None)
        return cls(Runtime(checkpoint, device=device, dtype=dtype, backend=backend,
                           options=options), settings)

    @property
    def runtime(self) -> Runtime:
        """The loaded model; ``RuntimeError`` after ``close``."""
        if self._runtime is None:
            raise RuntimeError('the planner is closed; expected one that is open')
        return self._runtime

    def close(self) -> None:
        """Give memory back; ``plan`` raises afterwards."""
        if self._runtime is not None:
            self._runtime.close()
            self._runtime = None

    def warm_up(self, camera_ids: Sequence[int], frames_per_camera: int = 4, *,
                image_size: tuple[int, int] = (1080, 1920),
                should_stop: Callable[[], bool] = never) -> dict[str, float]:
        """Plan once on grey images of ``image_size`` (height, width) at standstill and drop it.

        The first plan of a process allocates and compiles; this takes it out of the drive. Returns
        the milliseconds of each stage.
        """
        grey = self.preprocessor(np.full((*image_size, 3), 127, np.uint8))
        frames = tuple(tuple(CameraFrame(camera_id, index, grey)
                             for index in range(frames_per_camera))
                       for camera_id in sorted(camera_ids))
        still = Observation(
            t0_ns=0, frames=frames, history_xyz=np.zeros((HISTORY_STEPS, 3)),
            history_rot=np.broadcast_to(np.eye(3), (HISTORY_STEPS, 3, 3)))
        return self.plan(still, should_stop=should_stop).timings_ms

    def plan(self, observation: Observation, *, noise: np.ndarray | None = None,
             should_stop: Callable[[], bool] = never) -> Plan:
        """Plan from an observation.

        ``noise``: the flow's start, (candidates, waypoints, 2), drawn from the seed where None.
        ``should_stop`` is asked between stages, tokens and denoising steps. The same observation
        gives the same plan, bit for bit, on one machine. Raises ``ObservationError`` for one the
        model cannot plan from and ``PlanCancelled`` when asked to stop.
        """
        runtime, settings = self.runtime, self.settings
        watch = Stopwatch(runtime.device, should_stop)
        self._check(observation)
        history_xyz = torch.from_numpy(np.array(observation.history_xyz, np.float64))
        history_rot = torch.from_numpy(np.array(observation.history_rot, np.float64))
        start = self._start(noise)

        prefilled, without = self._read(observation, history_xyz, watch)
        with watch.stage('decode'):
            generator = torch.Generator(runtime.device).manual_seed(settings.seed)
            generated = runtime.decode(
                prefilled, Sampling(settings.temperature, settings.top_k, settings.top_p),
                settings.max_generation_length, generator, should_stop)
        context, guidance = self._contexts(prefilled, without, generated, watch)
        with watch.stage('expert'):
            action = runtime.integrate(start, context, steps=settings.num_inference_steps,
                                       guidance=guidance, should_stop=should_stop)
        with watch.stage('unicycle'):
            xyz, rot, v0 = runtime.trajectories(action, history_xyz, history_rot)
        with watch.stage('ranking'):
            candidates = self._rank(xyz.double().numpy(), rot.double().numpy(), action.numpy(), v0)
            reasoning = decoding.reasonings(generated, runtime.tokenizer)
        return Plan(
            t0_ns=observation.t0_ns, dt_s=self.dt_s, v0=v0, reasoning=reasoning,
            candidates=candidates, seed=settings.seed, reasoning_mode=settings.reasoning_mode,
            timings_ms=watch.milliseconds, warnings=self._warnings(observation, reasoning))

    def _check(self, observation: Observation) -> None:
        ids = [frames[0].camera_id for frames in observation.frames if frames]
        if not ids or len(ids) != len(observation.frames):
            raise ObservationError(f'{len(observation.frames)} cameras, {len(ids)} of them with '
                                   'frames; expected at least one, each with frames')
        if ids != sorted(set(ids)):
            raise ObservationError(f'camera ids are {ids}; expected ascending and distinct ones')
        for camera_id in ids:
            try:
                camera_by_id(camera_id)
            except ValueError as error:
                raise ObservationError(str(error)) from None
        counts = {len(frames) for frames in observation.frames}
        if len(counts) != 1:
            raise ObservationError(f'cameras have {sorted(counts)} frames; expected as many each')
        for frames in observation.frames:
            stamps = [frame.stamp_ns for frame in frames]
            if len({frame.camera_id for frame in frames}) != 1 or stamps != sorted(set(stamps)):
                raise ObservationError(f'{camera_by_id(frames[0].camera_id).name}: stamps are '
                                       f'{stamps}; expected one camera, oldest first')
            for frame in frames:
                self._check_patches(frame)
        for name, shape in (('history_xyz', (HISTORY_STEPS, 3)),
                            ('history_rot', (HISTORY_STEPS, 3, 3))):
            value = np.asarray(getattr(observation, name))
            if value.shape != shape:
                raise ObservationError(f'{name} has shape {value.shape}; expected {shape}')
            if not np.isfinite(value).all():
                raise ObservationError(f'{name} holds a value that is not finite')
        if observation.navigation and not self.accepts_navigation:
            raise ObservationError(f"navigation is '{observation.navigation}', but "
                                   f'{self.model_type} takes no instruction')

    def _check_patches(self, frame: CameraFrame) -> None:
        vision = self.runtime.config.vision
        images, rows, columns = frame.patches.grid_thw
        merge, shape = vision.spatial_merge_size, tuple(frame.patches.pixel_values.shape)
        if images != 1 or min(rows, columns) < 1 or rows % merge or columns % merge or (
                shape != (rows * columns, vision.patch_values)):
            raise ObservationError(
                f'{camera_by_id(frame.camera_id).name}: patches of shape {shape} with the grid '
                f'{frame.patches.grid_thw}; expected (rows x columns, {vision.patch_values}) with '
                f'rows and columns multiples of {merge}, as the preprocessor makes them')

    def _start(self, noise: np.ndarray | None) -> Tensor:
        shape = (self.settings.num_candidates, self.num_waypoints, 2)
        if noise is None:
            generator = torch.Generator().manual_seed(self.settings.seed)
            return flow.start_noise(shape[0], shape[1], generator)
        if noise.shape != shape or not np.isfinite(noise).all():
            raise ObservationError(f'noise has shape {noise.shape}; expected finite values of '
                                   f'shape {shape}')
        return torch.from_numpy(np.array(noise, np.float32))

    def _read(self, observation: Observation, history_xyz: Tensor, watch: Stopwatch
              ) -> tuple[Prefilled, Prefilled | None]:
        """Vision and prefill: the prompt, and the one without navigation where guidance is on."""
        runtime, settings = self.runtime, self.settings
        images = [frame.patches for frames in observation.frames for frame in frames]
        grids = [image.grid_thw for image in images]
        navigation = observation.navigation or None
        camera_ids = [frames[0].camera_id for frames in observation.frames]
        per_camera = len(observation.frames[0])
        with watch.stage('prompt'):
            prompt = runtime.prompt(camera_ids, per_camera, grids, navigation)
            ids = runtime.fuse(prompt, history_xyz)
        with watch.stage('vision'):
            features = runtime.encode_images(images)
        tail = settings.max_generation_length
        with watch.stage('prefill'):
            prefilled = runtime.prefill(ids, grids, features, groups=self._groups, tail=tail)
        if not navigation or settings.guidance_weight == 0:
            return prefilled, None
        with watch.stage('guidance_prefill'):
            plain = runtime.prompt(camera_ids, per_camera, grids, None)
            without = runtime.prefill(runtime.fuse(plain, history_xyz), grids, features,
                                      groups=self._groups, tail=tail, slot=1)
        return prefilled, without

    def _contexts(self, prefilled: Prefilled, without: Prefilled | None, generated: Generated,
                  watch: Stopwatch) -> tuple[ExpertContext, Guidance | None]:
        context = self.runtime.context(prefilled, generated)
        if without is None:
            return context, None
        with watch.stage('guidance_force'):
            self.runtime.force(without, generated.tokens)
        return context, Guidance(self.runtime.context(without, generated),
                                 self.settings.guidance_weight)

    def _rank(self, xyz: np.ndarray, rot: np.ndarray, action: np.ndarray, v0: float
              ) -> tuple[Candidate, ...]:
        reasons = implausible_reasons(xyz, rot, v0=v0, dt_s=self.dt_s, limits=self.settings.limits)
        order, scores = rank(xyz, [not reason for reason in reasons])
        per_group = len(xyz) // self._groups
        return tuple(
            Candidate(sample=int(index), reasoning=int(index) // per_group, xyz=xyz[index],
                      rot=rot[index], action=action[index], score=float(scores[index]),
                      reasons=tuple(reasons[index]))
            for index in order)

    def _warnings(self, observation: Observation, reasoning: Sequence[Reasoning]
                  ) -> tuple[str, ...]:
        warnings = []
        cut = sum(item.truncated for item in reasoning)
        if cut:
            warnings.append(
                f'{cut} of {len(reasoning)} reasonings reached max_generation_length '
                f'{self.settings.max_generation_length} before <|traj_future_start|>')
        span = (len(observation.frames[0]) - 1) * HISTORY_DT_NS
        oldest = min(frames[0].stamp_ns for frames in observation.frames)
        if observation.t0_ns and observation.t0_ns - oldest > span + HISTORY_DT_NS:
            warnings.append(f'the oldest frame is {(observation.t0_ns - oldest) / 1e9:.3f} s '
                            f'before t0; expected about {span / 1e9:.3f} s')
        return tuple(warnings)
