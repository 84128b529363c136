"""One plan for one scene, judged: whether each thing asked for is so, as numbers and truth values.

What does not apply to a scene is None. Definitions are in ``docs/evaluation.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.evaluation import geometry
from alpamayo_ros.evaluation.geometry import HORIZONS_S
from alpamayo_ros.types import Plan
from alpamayo_ros.world import manoeuvres, reasoning
from alpamayo_ros.world.types import DT_S, Sample

STANDING_MPS = 2.0
"""Slower than this over the last second, a vehicle is not driving on."""
BEYOND_LINE_M = 3.0
"""How far the true future's bumper must pass a green light's line for the path's to have to."""
YIELD_S = 1.0
"""How much earlier than the driver a path may cross a pedestrian's line."""
TOLD_TURN_RAD = math.radians(40.0)
"""How much the true future must turn for the scene to tell whether a turn is taken."""
TURN_RAD = math.radians(20.0)
"""How much a path must turn to count as a turn, and may turn at most to count as straight on."""
THROUGH_M = 12.0
"""How far beyond the line the true future's bumper must be where the way is straight on."""
NEAR_FUTURE_M = 2.0
"""ADE, m, within which a candidate is an instance of a sensible future."""

Judgement = dict[str, 'float | bool | None']


@dataclass(frozen=True)
class Judged:
    """The figures of one plan, and what comparisons across scenes need of it.

    ``text``: the reasoning of the first candidate; ``path``: (64, 3) m, the first candidate;
    ``v0``: m/s; ``milliseconds``: the model's own stages.
    """

    figures: Judgement
    text: str
    path: np.ndarray
    v0: float
    milliseconds: float


def judge(sample: Sample, plan: Plan) -> Judged:
    """Judge a plan. Where none of its candidates is plausible, displacements are those of the
    first one all the same, and whatever the vehicle was to do it has not done."""
    first, published = plan.candidates[0], plan.selected is not None
    text = plan.reasoning[first.reasoning].cot
    figures: Judgement = {
        'planned': published,
        'plausible_share': float(np.mean([item.plausible for item in plan.candidates]))}
    figures |= _words(sample, text, first.xyz, plan.v0, published)
    figures |= _displacements(sample, plan)
    figures |= _lights(sample, first.xyz, plan.v0, published)
    figures['way'] = way_taken(sample, first.xyz, published)
    ahead = sample.facts.get('stop_line_m', -math.inf) > geometry.FRONT_M
    figures['way_ahead'] = figures['way'] if ahead else None
    figures |= _futures(sample, plan)
    paths = np.stack([item.xyz for item in plan.candidates])
    figures['pairwise'] = geometry.pairwise(paths)
    figures['spread'] = geometry.spread(paths)
    return Judged(figures, text, first.xyz, plan.v0, sum(plan.timings_ms.values()))


def _words(sample: Sample, text: str, path: np.ndarray, v0: float, published: bool) -> Judgement:
    reading = reasoning.read(text)
    if reading is None:
        return {'readable': False, 'cause': False, 'manoeuvre': False, 'open': False,
                'agrees': False}
    left_open, same = is_open(reading.manoeuvre), reading.cause == sample.cause
    true = reasoning.details(sample.reasoning, sample.cause) if same else {}
    told = reasoning.details(text, reading.cause)
    return {'readable': True, 'cause': same,
            **{key: told.get(word) == true[word] if word in true else None
               for key, word in (('object', 'what'), ('side', 'side'))},
            'manoeuvre': tuple(reading.manoeuvre) == tuple(sample.manoeuvre), 'open': left_open,
            'agrees': None if left_open else published and manoeuvres.agrees(
                reading.manoeuvre, path, v0)}


def is_open(manoeuvre: tuple[str, str]) -> bool:
    """Whether every path agrees with what is stated."""
    return tuple(manoeuvre) == ('any', 'any')


def _displacements(sample: Sample, plan: Plan) -> Judgement:
    futures = [sample.future_xyz, *sample.others]
    paths = np.stack([item.xyz for item in plan.candidates])
    straight = geometry.constant_velocity(plan.v0)
    turning = geometry.constant_turn(plan.v0, geometry.yaw_rate(sample.history_rot))
    nearest = _each(paths, futures).argmin(axis=0)
    result: Judgement = {}
    for seconds in HORIZONS_S:
        result |= {
            f'ade_{seconds:g}': to_nearest(paths[0], futures, seconds),
            f'ade_realised_{seconds:g}': geometry.ade(paths[0], futures[0], seconds),
            f'min_ade_{seconds:g}': float(geometry.ade(paths, futures[0], seconds).min()),
            f'min_ade_nearest_{seconds:g}': float(
                _each(paths, futures, seconds)[nearest, range(len(paths))].min()),
            f'velocity_{seconds:g}': to_nearest(straight, futures, seconds),
            f'turn_{seconds:g}': to_nearest(turning, futures, seconds)}
    return result


def _each(paths: np.ndarray, futures: list[np.ndarray], seconds: float = HORIZONS_S[-1]
          ) -> np.ndarray:
    """(F, N): ADE, m, of each path to each future."""
    return np.stack([geometry.ade(paths, future, seconds) for future in futures])


def to_nearest(path: np.ndarray, futures: list[np.ndarray], seconds: float) -> float:
    """ADE, m, to that of the sensible futures which is nearest over the whole 6.4 s."""
    nearest = min(futures, key=lambda future: geometry.ade(path, future))
    return geometry.ade(path, nearest, seconds)


def crossing_s(path: np.ndarray, line_m: float) -> float:
    """When the front bumper, along the path, is beyond the line, s; infinite for never."""
    beyond = geometry.travelled(path) + geometry.FRONT_M > line_m
    return float((beyond.argmax() + 1) * DT_S) if beyond.any() else math.inf


def stays(path: np.ndarray, line_m: float) -> bool:
    return crossing_s(path, line_m) == math.inf


def _lights(sample: Sample, path: np.ndarray, v0: float, published: bool) -> Judgement:
    line_m = sample.facts.get('stop_line_m')
    result: Judgement = dict.fromkeys(
        ('red_stays', 'red_stays_going', 'red_velocity', 'walker_yields', 'green_goes'))
    if sample.cause == 'green_light' and geometry.speed_at_end(sample.future_xyz) >= STANDING_MPS:
        result['green_goes'] = published and drives_on(path, sample.future_xyz, line_m)
    if line_m is None or line_m <= geometry.FRONT_M:
        return result
    if sample.cause == 'pedestrian':
        due = crossing_s(sample.future_xyz, line_m) - YIELD_S
        result['walker_yields'] = published and crossing_s(path, line_m) >= due
    # A line the driver itself crosses is none to stop at.
    if sample.cause == 'red_light' and stays(sample.future_xyz, line_m):
        held = stays(geometry.constant_velocity(v0), line_m)
        result['red_stays'] = published and stays(path, line_m)
        result['red_velocity'] = held
        result['red_stays_going'] = None if held else result['red_stays']
    return result


def drives_on(path: np.ndarray, true: np.ndarray, line_m: float | None) -> bool:
    """Whether a path does not stop where the true future does not.

    Over its last second it is at least ``STANDING_MPS`` fast and half as fast as the true future;
    and where that passes the line by ``BEYOND_LINE_M``, the path passes the line.
    """
    speed = geometry.speed_at_end(path)
    if speed < max(STANDING_MPS, 0.5 * geometry.speed_at_end(true)):
        return False
    return line_m is None or stays(true, line_m + BEYOND_LINE_M) or not stays(path, line_m)


def told_way(sample: Sample) -> int | None:
    """The instructed way, 1 left, 0 straight on, -1 right; None where the true future ends too
    early to tell one from another, or nothing is instructed."""
    way = sample.facts.get('way')
    if way is None or not sample.navigation:
        return None
    turned = geometry.heading_change(sample.future_xyz)
    if way:
        return int(way) if way * turned >= TOLD_TURN_RAD else None
    line_m = sample.facts.get('stop_line_m')
    if line_m is None:
        return None
    through = not stays(sample.future_xyz, line_m + THROUGH_M)
    return 0 if through and abs(turned) <= TURN_RAD else None


def way_taken(sample: Sample, path: np.ndarray, published: bool) -> bool | None:
    """Whether the path takes the instructed way; None where the scene cannot tell."""
    way = told_way(sample)
    if way is None:
        return None
    turned = geometry.heading_change(path)
    return published and (way * turned >= TURN_RAD if way else abs(turned) <= TURN_RAD)


def _futures(sample: Sample, plan: Plan) -> Judgement:
    """Whether each sensible future has a plausible candidate that is an instance of it.

    An instance is within ``NEAR_FUTURE_M`` of the future and nearer to it than half the distance
    of that future to the next one, so no candidate can count for two.
    """
    result: Judgement = dict.fromkeys(('futures', 'futures_rarer', 'futures_between'))
    futures = [sample.future_xyz, *sample.others]
    if len(futures) < 2:
        return result
    paths = [item.xyz for item in plan.candidates if item.plausible]
    if not paths:
        return {'futures': False, 'futures_rarer': 0.0, 'futures_between': 1.0}
    instances = []
    for index, future in enumerate(futures):
        apart = min(geometry.ade(other, future) for position, other in enumerate(futures)
                    if position != index)
        instances.append(geometry.ade(np.stack(paths), future) < min(NEAR_FUTURE_M, apart / 2))
    shares = np.array(instances).mean(axis=1)
    return {'futures': bool((shares > 0).all()), 'futures_rarer': float(shares.min()),
            'futures_between': float(1.0 - shares.sum())}
