"""An evaluation from options to results: scenes are drawn, planned and judged in processes."""

from __future__ import annotations

import concurrent.futures
import functools
import math
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros.bench.machine import describe
from alpamayo_ros.evaluation import scenes
from alpamayo_ros.evaluation.judge import Judged, is_open, judge
from alpamayo_ros.evaluation.seeds import SceneId, scene_ids
from alpamayo_ros.evaluation.variants import (
    ABLATIONS,
    VARIANTS,
    CheckpointDriver,
    Driver,
    Variant,
)
from alpamayo_ros.model.checkpoint import parse_device
from alpamayo_ros.settings import PlannerSettings
from alpamayo_ros.types import Plan
from alpamayo_ros.world import manoeuvres, reasoning
from alpamayo_ros.world.causes import KINDS


@dataclass(frozen=True)
class Options:
    """What is evaluated. ``per_kind``: scenes of each kind; ``ablations`` and ``modes``: of how
    many of those also the changed eyes and ears, and multi-reasoning; ``guidance``: weight where
    a plan is guided; ``threads``: torch's in each of ``workers`` processes; ``show``: a folder
    for pictures of the first ``show_per_kind`` scenes of each kind. ``ValueError`` for what
    cannot be."""

    checkpoint: Path
    per_kind: int = 40
    seed: int = 0
    validation: bool = False
    kinds: tuple[str, ...] = KINDS
    ablations: int = 0
    modes: int = 0
    guidance: float = 1.5
    settings: PlannerSettings = field(default_factory=PlannerSettings)
    device: str = 'cpu'
    dtype: str = 'float32'
    workers: int = 1
    threads: int = 1
    show: Path | None = None
    show_per_kind: int = 2

    def __post_init__(self) -> None:
        scene_ids(self.per_kind, self.seed, validation=self.validation, kinds=self.kinds)
        for name, least in (('workers', 1), ('threads', 1), ('ablations', 0), ('modes', 0),
                            ('show_per_kind', 1)):
            if getattr(self, name) < least:
                raise ValueError(f'{name} is {getattr(self, name)}; expected at least {least}')
        if not (self.guidance > 0 and math.isfinite(self.guidance)):
            raise ValueError(f'guidance is {self.guidance}; expected a finite weight above 0')

    def tasks(self) -> list[Task]:
        """One a scene, kinds in turns, with the ways in which it is planned."""
        found = []
        ids = scene_ids(self.per_kind, self.seed, validation=self.validation, kinds=self.kinds)
        for index, scene_id in enumerate(ids):
            number = index // len(self.kinds)
            names = ['plain', 'guided']
            names += ABLATIONS if number < self.ablations else ()
            names += ['multi'] if number < self.modes else ()
            picture = None
            if self.show is not None and number < self.show_per_kind:
                picture = self.show / f'{scene_id.kind}_{number}.png'
            found.append(Task(scene_id, number, tuple(names), picture))
        return found


@dataclass(frozen=True)
class Task:
    """One scene to plan: ``number`` of its kind, names of ``VARIANTS``, where its picture goes."""

    scene_id: SceneId
    number: int
    variants: tuple[str, ...]
    picture: Path | None = None


@dataclass(frozen=True)
class SceneResult:
    """What became of one scene, for each way in which it was planned."""

    scene_id: SceneId
    judged: dict[str, Judged]


@dataclass(frozen=True)
class Results:
    """``checkpoint``: name, model type and fingerprint; ``head``: machine, load, versions and date
    as they were at the start; ``seconds``: the whole run."""

    scenes: list[SceneResult]
    checkpoint: dict[str, Any]
    head: dict[str, Any]
    seconds: float


def run_scene(driver: Driver, task: Task, options: Options) -> SceneResult:
    """Draw, render, plan in each way, judge; write the picture of the plain plan if asked to."""
    scene = scenes.draw(task.scene_id, driver.preprocessor)
    if not driver.accepts_navigation:
        # Who cannot be told the way is not judged by it, with or without guidance.
        scene = replace(scene, sample=replace(scene.sample, navigation=None))
    judged = {}
    for name in task.variants:
        if not VARIANTS[name].applies(scene.sample):
            continue
        plan = _plan(driver, scene, VARIANTS[name], task, options)
        judged[name] = judge(scene.sample, plan)
        if name == 'plain' and task.picture is not None:
            from alpamayo_ros.evaluation.picture import draw_scene
            draw_scene(scene, plan, judged[name].figures, task.picture)
    return SceneResult(task.scene_id, judged)


def _plan(driver: Driver, scene: scenes.Scene, variant: Variant, task: Task,
          options: Options) -> Plan:
    patches = scene.patches
    if variant.eyes == 'grey':
        patches = scenes.blank(driver.preprocessor)
    elif variant.eyes == 'another':
        other = scenes.stranger(task.scene_id, task.number, options.seed,
                                validation=options.validation)
        patches = scenes.draw(other, driver.preprocessor).patches
    observation = scenes.observation(scene.sample, patches,
                                     scene.sample.navigation if variant.told else None)
    return driver.plan(observation, task.scene_id.seed, mode=variant.mode,
                       guidance=options.guidance if variant.guided else 0.0)


def add_chance(results: Sequence[SceneResult]) -> None:
    """Put ``agrees_chance`` into the plain figures: each text with the path of another scene.

    The scenes form one random cycle, so nobody is their own partner.
    """
    order = np.random.default_rng(0).permutation(len(results))
    for place, index in enumerate(order):
        own = results[index].judged['plain']
        other = results[order[(place + 1) % len(order)]].judged['plain']
        reading = reasoning.read(own.text)
        silent = reading is not None and is_open(reading.manoeuvre)
        own.figures['agrees_chance'] = None if len(order) < 2 or silent else (
            reading is not None
            and bool(np.isfinite(other.path).all())
            and manoeuvres.agrees(reading.manoeuvre, other.path, other.v0))


def evaluate(options: Options, *, driver: Driver | None = None,
             progress: Callable[[Iterable[SceneResult], int], Iterable[SceneResult]] | None = None
             ) -> Results:
    """Run an evaluation. ``driver``: plans instead of the checkpoint, in this process.

    ``progress``: wraps the results as they come, given their number. The same options give the
    same figures, whatever the number of workers. Raises what loading the checkpoint raises, and
    ``ChildProcessError`` when a worker was killed.
    """
    start, head = time.perf_counter(), describe(parse_device(options.device))
    tasks = options.tasks()
    follow = progress or (lambda results, count: results)
    if driver is not None or options.workers == 1:
        own = driver or _load(options)
        about = _about(options, own)
        results = list(follow((run_scene(own, task, options) for task in tasks), len(tasks)))
    else:
        try:
            with _pool(options) as pool:
                about = pool.submit(_describe, options).result()
                results = list(follow(_in_order(pool, tasks, options), len(tasks)))
        except BrokenProcessPool as error:
            raise ChildProcessError(
                f'one of {options.workers} workers was ended from outside, as a system does that '
                'runs out of memory; expected all to go on (fewer workers need less)') from error
    add_chance(results)
    return Results(results, about, head, time.perf_counter() - start)


def _about(options: Options, driver: Driver) -> dict[str, Any]:
    return {'name': options.checkpoint.resolve().name,
            'model_type': getattr(driver, 'model_type', None),
            'fingerprint': getattr(driver, 'fingerprint', None)}


def _in_order(pool: concurrent.futures.Executor, tasks: Sequence[Task],
              options: Options) -> Iterator[SceneResult]:
    futures = [pool.submit(_work, task, options) for task in tasks]
    try:
        for future in futures:
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _pool(options: Options) -> concurrent.futures.ProcessPoolExecutor:
    return concurrent.futures.ProcessPoolExecutor(
        options.workers, multiprocessing.get_context('spawn'), initializer=_quiet)


def _quiet() -> None:
    # A keypress for the parent ends the workers through the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _load(options: Options) -> CheckpointDriver:
    return _loaded(options.checkpoint, options.settings, options.device, options.dtype,
                   options.threads)


@functools.lru_cache(maxsize=1)
def _loaded(checkpoint: Path, settings: PlannerSettings, device: str, dtype: str,
            threads: int) -> CheckpointDriver:
    """The checkpoint's driver, loaded once a process."""
    import cv2
    import torch
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    return CheckpointDriver(checkpoint, settings, device=device, dtype=dtype)


def _describe(options: Options) -> dict[str, Any]:
    return _about(options, _load(options))


def _work(task: Task, options: Options) -> SceneResult:
    return run_scene(_load(options), task, options)


def bar(results: Iterable[SceneResult], count: int) -> Iterable[SceneResult]:
    """``results`` with a progress bar and the time left on standard error."""
    from tqdm import tqdm
    return tqdm(results, total=count, unit='scene', file=sys.stderr, smoothing=0.1,
                dynamic_ncols=True)
