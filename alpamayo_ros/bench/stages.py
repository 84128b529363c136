"""The sections of a measurement that need no ROS: every stage of a plan, and two comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alpamayo_ros.bench.baseline import CopiedCacheExpert
from alpamayo_ros.bench.measure import Timing, take_turns
from alpamayo_ros.bench.workbench import Workbench
from alpamayo_ros.images import decode_compressed
from alpamayo_ros.model.decoding import never
from alpamayo_ros.model.expert.protocol import ExpertContext
from alpamayo_ros.model.prompt import prompt_text, tokenize_prompt
from alpamayo_ros.types import Plan

_LIGHT = 5
"""How many times as often what takes milliseconds is repeated."""
_STEP_TIME = 0.3


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
    planners = {'single': bench.planner, 'multi': bench.multi_reasoning()}
    plans: dict[str, list[Plan]] = {name: [] for name in planners}

    def action(name: str) -> Callable[[], None]:
        return lambda: plans[name].append(planners[name].plan(bench.observation))

    repeats = bench.options.repeats
    totals = take_turns({name: action(name) for name in planners}, repeats=repeats,
                        synchronise=bench.synchronise)
    result = {}
    for name, total in totals.items():
        counted = plans[name][-repeats:]
        stages = {stage: Timing.of([plan.timings_ms[stage] for plan in counted])
                  for stage in counted[0].timings_ms}
        result[name] = Planned(total, stages, tuple(
            item.token_count for item in counted[-1].reasoning), counted[-1])
    return result


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
