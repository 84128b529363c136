"""The expert's backends against PyTorch in float32, on a recorded case.

All are given one and the same cache, rounded to the type they read, so that only the expert is
compared. The loop of a random checkpoint is chaotic (docs/numerics.md), so the field is compared at
every step of one orbit, that of PyTorch in float32; the end of the loop is then judged as for the
recorded results.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from alpamayo_ros.errors import EngineError
from alpamayo_ros.model import flow
from alpamayo_ros.model.checkpoint import DTYPES, EXPERT, load_model, parse_device
from alpamayo_ros.model.config import TextGeometry
from alpamayo_ros.model.decoding import measure, never
from alpamayo_ros.model.expert import make_backend
from alpamayo_ros.model.expert.build import build_engine
from alpamayo_ros.model.expert.export import export_checkpoint
from alpamayo_ros.model.expert.graph import GraphSpec
from alpamayo_ros.model.expert.protocol import ExpertBackend, ExpertContext, ExpertOptions
from alpamayo_ros.model.expert.trt import find
from alpamayo_ros.model.kv_cache import CacheRoom, KVCache
from alpamayo_ros.model.runtime import Runtime
from alpamayo_ros.verification.cases import Case, read_cases
from alpamayo_ros.verification.loop import MAX_DISTANCE_RATIO, sensitivity
from alpamayo_ros.verification.model_checks import largest
from alpamayo_ros.verification.result import ACTION_TOLERANCE, Check

COSINE = 0.999
"""Least cosine between two fields of one candidate, half precision against float32."""
_SAMPLES = 2
_SAME, _HALF_ACTION = 1e-4, 1e-2
"""Largest differences: of a velocity in float32, of an action after a loop in half precision."""


class BackendVerifier:
    """Compares backends on the case of a checkpoint that has the most reasonings."""

    def __init__(self, checkpoint: Path) -> None:
        self._reference = Runtime(checkpoint)
        self._case = max(read_cases(checkpoint), key=lambda case: case.info['num_traj_samples'])
        self._name = f'{checkpoint.name}/{self._case.name}'
        self._context = _recorded_context(self._reference, self._case)
        cache = self._context.cache
        self._steps = flow.schedule(self._reference.config.num_inference_steps)
        generator = torch.Generator().manual_seed(0)
        self._noise = flow.start_noise(
            cache.groups * _SAMPLES, self._reference.config.unicycle.n_waypoints, generator
        ).unflatten(0, (cache.groups, _SAMPLES))
        self._orbit = list(self._steps_of(self._reference.expert, self._context))

    def verify(self, backend: str, dtype: str, device: str) -> list[Check]:
        """One backend in one precision on one device."""
        label = f'{backend} {dtype}'
        with self._backend(backend, dtype, device) as (expert, context):
            fields = [self._field(expert, context, x, time) for x, time, _ in self._orbit]

            def run(noise: Tensor) -> Tensor:
                return _loop(expert, noise, self._steps, context)

            end = run(self._noise)
        exact = [velocity for _, _, velocity in self._orbit]
        checks = [self._steps_check(label, fields, exact, strict=dtype == 'float32')]
        return [*checks, self._end_check(label, end, dtype)]

    def _steps_check(self, label: str, fields: list[Tensor], exact: list[Tensor], *,
                     strict: bool) -> Check:
        differences = [largest(a, b) for a, b in zip(fields, exact, strict=True)]
        cosines = [float(F.cosine_similarity(a.flatten(2).double(), b.flatten(2).double(),
                                             dim=-1).min())
                   for a, b in zip(fields, exact, strict=True)]
        dt = float(self._steps[1] - self._steps[0])
        metres = max(largest(self._path(x + dt * a), self._path(x + dt * b))
                     for (x, _, _), a, b in zip(self._orbit, fields, exact, strict=True))
        note = (f'worst of {len(fields)} steps: least cosine {min(cosines):.6f}, action '
                f'{dt * max(differences):.1e}, path {metres:.1e} m')
        if strict:
            return Check(self._name, f'{label}: velocity', max(differences), _SAME, note)
        return Check(self._name, f'{label}: 1 - cosine', 1 - min(cosines), 1 - COSINE, note)

    def _end_check(self, label: str, end: Tensor, dtype: str) -> Check:
        """After the loop; where rounding alone leaves the end open, by its sensitivity."""
        def reference(noise: Tensor) -> Tensor:
            return _loop(self._reference.expert, noise, self._steps, self._context)

        tolerance = ACTION_TOLERANCE if dtype == 'float32' else _HALF_ACTION
        expected = reference(self._noise)
        error, metres = largest(end, expected), largest(self._path(end), self._path(expected))
        decided, note = None, f'path {metres:.1e} m'
        if error > tolerance:
            felt = sensitivity(reference, self._noise, end, dtype=dtype)
            note += (f'; {dtype} rounding alone moves this result by {felt.spread:.1e}; distance '
                     f'ratio {felt.ratio:.2f}, allowed {MAX_DISTANCE_RATIO}')
            if felt.spread > tolerance:
                decided = felt.consistent
        return Check(self._name, f'{label}: action', error, tolerance, note, decided)

    def _path(self, action: Tensor) -> Tensor:
        """Waypoints (N, T, 3), metres."""
        history = (self._case.tensors['ego_history_xyz'][0, 0],
                   self._case.tensors['ego_history_rot'][0, 0])
        return self._reference.trajectories(action.flatten(0, 1), *history)[0]

    def _steps_of(self, expert: ExpertBackend, context: ExpertContext
                  ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Where the loop is at each step: actions, time and velocity."""
        x = self._noise
        for now, after in zip(self._steps[:-1], self._steps[1:], strict=True):
            velocity = self._field(expert, context, x, now)
            yield x, now, velocity
            x = x + (after - now) * velocity

    @staticmethod
    def _field(expert: ExpertBackend, context: ExpertContext, x: Tensor, time: Tensor) -> Tensor:
        """The velocity at one point, by a step of length one: all a backend offers is the loop."""
        return _loop(expert, x, torch.stack([time, time + 1]), context) - x

    @contextmanager
    def _backend(self, name: str, dtype: str, device: str
                 ) -> Iterator[tuple[ExpertBackend, ExpertContext]]:
        """The backend with what it needs built in a folder that is gone afterwards."""
        config, cache = self._reference.config, self._context.cache
        where = parse_device(device)
        model = load_model(config, where, DTYPES[dtype], parts=EXPERT)
        spec = GraphSpec.of(config, precision=dtype, groups=cache.groups, samples=_SAMPLES,
                            max_prefix=cache.prompt_length, tail=max(1, cache.tail_length))
        with tempfile.TemporaryDirectory(prefix='alpamayo-verify-') as folder:
            directory = Path(folder)
            if name == 'onnxruntime':
                export_checkpoint(config, spec, directory, report=lambda _: None)
            elif name == 'tensorrt':
                build_engine(config, spec, directory, flavour=find(to_build=True),
                             report=lambda _: None)
            expert = make_backend(name, model, ExpertOptions(
                groups=spec.groups, samples=spec.samples, max_tail=spec.tail,
                max_prefix=spec.max_prefix, engine_dir=directory,
                fingerprint=self._reference.expert_fingerprint))
            try:
                yield expert, _copied(self._context, where, DTYPES[dtype], expert, config.text)
            finally:
                expert.close()


def _loop(expert: ExpertBackend, noise: Tensor, times: Tensor, context: ExpertContext) -> Tensor:
    """The loop on the context's device; the result on the CPU."""
    device = context.position.device
    return expert.integrate(noise.to(device), times.to(device), context, should_stop=never).cpu()


def _recorded_context(runtime: Runtime, case: Case) -> ExpertContext:
    """The cache as it is after the recorded prompt and reasonings."""
    ids, groups = case.tensors['fused_ids'][0], case.info['num_traj_samples']
    recorded = measure(case.tensors['sequences'][:, ids.shape[0]:],
                       runtime.tokenizer.future_start)
    images = case.images
    prefilled = runtime.prefill(ids, [image.grid_thw for image in images],
                                runtime.encode_images(images), groups=groups,
                                tail=case.info['max_generation_length'])
    runtime.force(prefilled, recorded.tokens)
    return runtime.context(prefilled, recorded)


def _copied(context: ExpertContext, device: torch.device, dtype: torch.dtype,
            expert: ExpertBackend, geometry: TextGeometry) -> ExpertContext:
    """The context with its cache in another type, with the room that a backend wants."""
    source = context.cache
    cache = KVCache(geometry, device=device, dtype=dtype)
    room = expert.fitted(CacheRoom(source.prompt_length, source.groups,
                                   max(1, source.tail_length)))
    cache.reserve(room.prompt, room.groups, room.tail)
    for layer in range(cache.num_layers):
        cache.write_prompt(layer, *source.prompt(layer))
        cache.write_tail(layer, *source.tail(layer))
    cache.prompt_length, cache.tail_length = source.prompt_length, source.tail_length
    return ExpertContext(cache, context.tail_length.to(device), context.position.to(device))


def verify_backends(checkpoint: Path, backends: Sequence[str], *, device: str = 'cpu',
                    report: Callable[[str], None] = lambda _: None) -> list[Check]:
    """Each backend on one checkpoint: in float32 (the same numbers) and in half precision.

    A backend that is not there is a failed check whose note says what it lacks.
    """
    verifier = BackendVerifier(checkpoint)
    checks = []
    for backend in backends:
        # In float32 PyTorch on a CPU is what the others are compared with.
        is_reference = backend == 'torch' and parse_device(device).type == 'cpu'
        for dtype in ('float16',) if is_reference else ('float32', 'float16'):
            report(f'{checkpoint.name}: comparing {backend} {dtype}')
            try:
                checks += verifier.verify(backend, dtype, device)
            except EngineError as error:
                checks.append(Check(checkpoint.name, f'{backend} {dtype}', float('inf'), 0,
                                    f'not compared: {error}'))
                break
    return checks
