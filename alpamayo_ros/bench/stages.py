"""The sections of a measurement that need no ROS: every stage of a plan, and three comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.bench.baseline import CopiedCacheExpert
from alpamayo_ros.bench.measure import Timing, take_turns
from alpamayo_ros.bench.rates import peak_bytes
from alpamayo_ros.bench.released import ReleasedWay
from alpamayo_ros.bench.workbench import Workbench
from alpamayo_ros.images import decode_compressed
from alpamayo_ros.model.decoding import never
from alpamayo_ros.model.expert.protocol import ExpertContext
from alpamayo_ros.model.prompt import prompt_text, tokenize_prompt
from alpamayo_ros.planner import Planner
from alpamayo_ros.types import Plan

_LIGHT = 5
"""How many times as often what takes milliseconds is repeated."""
_STEP_TIME = 0.3
RELEASED_GOAL = 8.0
"""How many times as long as ours a plan the released way should take, at least."""


@dataclass(frozen=True)
class Planned:
    """Whole plans, taken in turns with the other reasoning mode.

    ``total``: milliseconds of a plan; ``stages``: of each of its stages; ``tokens``: of each
    reasoning, the same in every repeat; ``plan``: the last one.
    """

    total: Timing
    stages: dict[str, Timing]
    tokens: tuple[int, ...]
    plan: Plan

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {'reasonings': len(self.tokens), 'tokens': list(self.tokens),
                'plan': self.total.as_dict(),
                'stages': {name: timing.as_dict() for name, timing in self.stages.items()}}


@dataclass(frozen=True)
class CacheComparison:
    """One denoising step for ``candidates`` over the shared cache and over a copy for each.

    ``copying``: making the copies, once a plan. ``largest_difference``: between the velocities of
    the two.
    """

    candidates: int
    shared: Timing
    copied: Timing
    copying: Timing
    shared_bytes: int
    copied_bytes: int
    largest_difference: float

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            'candidates': self.candidates, 'shared_step': self.shared.as_dict(),
            'copied_step': self.copied.as_dict(), 'copying': self.copying.as_dict(),
            'shared_cache_bytes': self.shared_bytes, 'copied_cache_bytes': self.copied_bytes,
            'copied_to_shared_step_time': round(self.copied.median / self.shared.median, 3),
            'copied_to_shared_bytes': round(self.copied_bytes / self.shared_bytes, 3),
            'largest_velocity_difference': self.largest_difference}


@dataclass(frozen=True)
class ReleasedComparison:
    """Whole plans of the same candidates, our way and the released implementation's.

    ``ours_bytes`` and ``released_bytes``: peak memory of a plan, None where it is not known;
    ``largest_difference``: between their actions after one step of the flow.
    """

    ours: Planned
    released: Planned
    ours_bytes: int | None
    released_bytes: int | None
    largest_difference: float

    @property
    def ratio(self) -> float:
        """How many times as long the released way takes."""
        return self.released.total.median / self.ours.total.median

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {'ours': self.ours.as_dict(), 'released': self.released.as_dict(),
                'released_to_ours_plan_time': round(self.ratio, 3), 'goal': RELEASED_GOAL,
                'peak_bytes': {'ours': self.ours_bytes, 'released': self.released_bytes},
                'largest_action_difference_after_one_step': self.largest_difference}


def input_stages(bench: Workbench) -> dict[str, Timing]:
    """What happens to one image when it arrives, and the prompt text where it is new."""
    jpeg = bench.jpegs[0]
    rgb = decode_compressed(jpeg, 'jpeg')
    merged = bench.config.vision.spatial_merge_size ** 2
    counts = [rows * columns // merged for _, rows, columns in bench.grids]

    def new_prompt() -> None:
        text = prompt_text(bench.config, bench.runtime.tokenizer, bench.camera_ids,
                           bench.options.frames_per_camera)
        tokenize_prompt(text, bench.runtime.tokenizer, counts)

    return take_turns({
        'decode JPEG': lambda: decode_compressed(jpeg, 'jpeg'),
        'preprocess': lambda: bench.planner.preprocessor(rgb),
        'new prompt': new_prompt}, repeats=_LIGHT * bench.options.repeats)


def compare_reasoning(bench: Workbench) -> dict[str, Planned]:
    """Plan in both reasoning modes, in turns: ``single`` and ``multi``."""
    return _plans({'single': bench.planner, 'multi': bench.multi_reasoning()}, bench)


def _plans(planners: Mapping[str, Planner], bench: Workbench, *, warm_up: int = 1
           ) -> dict[str, Planned]:
    """Whole plans of each, in turns."""
    plans: dict[str, list[Plan]] = {name: [] for name in planners}

    def action(name: str) -> Callable[[], None]:
        return lambda: plans[name].append(planners[name].plan(bench.observation))

    repeats = bench.options.repeats
    totals = take_turns({name: action(name) for name in planners}, repeats=repeats,
                        warm_up=warm_up, synchronise=bench.synchronise)
    result = {}
    for name, total in totals.items():
        counted = plans[name][-repeats:]
        stages = {stage: Timing.of([plan.timings_ms[stage] for plan in counted])
                  for stage in counted[0].timings_ms}
        result[name] = Planned(total, stages, tuple(
            item.token_count for item in counted[-1].reasoning), counted[-1])
    return result


def compare_released(bench: Workbench) -> ReleasedComparison:
    """Whole plans of the same candidates our way and the released way, in turns.

    Both write greedily, so that every reasoning is the same and the actions can be compared. That
    is done after one step of the flow: the whole loop of a random checkpoint magnifies rounding
    beyond any comparison. Peak memory is that of these plans, too; further steps take no more.
    """
    greedy = replace(bench.options.settings, top_k=1)
    released = ReleasedWay(bench.runtime)

    def planners(**changes: int) -> dict[str, Planner]:
        return {'ours': Planner(bench.runtime, replace(greedy, **changes)),
                'released': Planner(released, replace(greedy, reasoning_mode='multi', **changes))}

    actions, peaks = {}, {}
    for name, planner in planners(num_inference_steps=1).items():
        plan, peaks[name] = peak_bytes(bench.runtime.device,
                                       partial(planner.plan, bench.observation))
        actions[name] = np.stack([item.action for item in sorted(
            plan.candidates, key=lambda item: item.sample)])
    # A GPU captures its graphs in the first plan; a CPU was warmed up by those just made.
    both = _plans(planners(), bench, warm_up=int(bench.runtime.device.type == 'cuda'))
    return ReleasedComparison(
        both['ours'], both['released'], peaks['ours'], peaks['released'],
        float(np.abs(actions['ours'] - actions['released']).max()))


def compare_cache(bench: Workbench, counts: Sequence[int]) -> list[CacheComparison]:
    """One denoising step over the shared cache and over copied ones, for numbers of candidates.

    Runs before anything plans with many reasonings, whose tails stay allocated.
    """
    context = bench.context()
    return [_compare_cache(bench, context, count) for count in counts]


def _compare_cache(bench: Workbench, context: ExpertContext, count: int) -> CacheComparison:
    steps, copied_bytes, difference = _compare_steps(bench, context, count)
    # The copies of before are gone: there is room for the next ones.
    copying = take_turns({'copy': lambda: CopiedCacheExpert(bench.runtime.model, context, count)},
                         repeats=bench.options.repeats, synchronise=bench.synchronise)['copy']
    return CacheComparison(count, steps['shared'], steps['copied'], copying,
                           context.cache.num_bytes, copied_bytes, difference)


def _compare_steps(bench: Workbench, context: ExpertContext, count: int
                   ) -> tuple[dict[str, Timing], int, float]:
    """Timings of a step, bytes of the copies, largest difference of the velocities."""
    runtime, noise = bench.runtime, bench.noise(count)
    # A step of length 1, so that the velocity is the difference.
    times = torch.tensor([_STEP_TIME, _STEP_TIME + 1], device=runtime.device)
    copied = CopiedCacheExpert(runtime.model, context, count)
    actions: dict[str, Callable[[], Tensor]] = {
        'shared': lambda: runtime.expert.integrate(noise[None], times, context,
                                                   should_stop=never)[0],
        'copied': lambda: noise + copied.velocity(noise, times[0])}
    difference = (actions['shared']() - actions['copied']()).abs().max().item()
    timing = take_turns(actions, repeats=bench.options.repeats, synchronise=bench.synchronise)
    return timing, copied.num_bytes, difference
