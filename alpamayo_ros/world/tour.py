"""The tour: a red light, a slow vehicle, cones and an instructed turn in one drive."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.world.crowd import populate
from alpamayo_ros.world.driver import NOSE_M, Stop, simulate
from alpamayo_ros.world.obstacles import add_cones
from alpamayo_ros.world.reasoning import navigation_text
from alpamayo_ros.world.roads import Junction
from alpamayo_ros.world.setting import Setting, passage_of
from alpamayo_ros.world.stage import PlayedDrive, Stage
from alpamayo_ros.world.traffic import Body, mover_along, travel

_STEPS = 365
_GREEN_STEP = 85
_TOLD_M = 28.0
"""How far before its line the vehicle is told the way through the second junction."""


def make_tour(seed: int) -> PlayedDrive:
    """Simulate a drive of about half a minute: the light turns green, the slow vehicle picks up
    speed, cones narrow the lane, and at the second junction the way is left."""
    rng = np.random.default_rng([99, seed])
    setting = Setting.draw(rng, lanes=1, lane=0, parking=False)
    stage, cones = _road(rng, setting)
    light, _ = stage.passages
    stage.stops.append(Stop('red_light', light.line, ends=_GREEN_STEP + 4))
    stage.events += [_GREEN_STEP, 170]
    add_cones(stage, cones, 'right')
    # The vehicle ahead goes around the cones as the ego does.
    body = Body.draw(rng, 'van')
    middle, speeds = travel(light.end + 10.0, 3.2, _STEPS,
                            ((170, 1.6), (208, 0.0)))
    shift = stage.shifts[0]
    ease_in = np.clip((middle - shift.start) / (shift.full - shift.start), 0.0, 1.0)
    ease_out = np.clip((middle - shift.back) / (shift.end - shift.back), 0.0, 1.0)
    offset = shift.amount * 0.5 * (np.cos(np.pi * ease_out) - np.cos(np.pi * ease_in))
    lane = stage.layout.lane_line()
    stage.follow(mover_along(body, lane, middle, offset), middle, speeds)
    stage.navigation = _instructions(stage, rng)
    populate(stage)
    return stage.play('tour', seed)


def _road(rng: np.random.Generator, setting: Setting) -> tuple[Stage, float]:
    """The stage with its two junctions, and where the cones begin."""
    speed = setting.limit * rng.uniform(0.7, 0.85)
    corner = rng.uniform(6.0, 7.0)
    first = Junction(NOSE_M + rng.uniform(42.0, 48.0) + 8.0, 1, corner, lit=True, zebra=True)
    second = Junction(first.s + rng.uniform(122.0, 126.0), 1, corner)
    stage = setting.stage(rng, _STEPS, speed, junctions=(first, second), way='left')
    straight = passage_of(stage, first, 'straight', (0, _GREEN_STEP))
    stage.passages += [straight, passage_of(stage, second, 'left', (0, 0))]
    return stage, first.s + rng.uniform(62.0, 66.0)


def _instructions(stage: Stage, rng: np.random.Generator) -> list[str | None]:
    """The way through each junction, at every step: none between them until the second is near,
    so that nobody has to tell it from the cones before it."""
    first, second = stage.passages
    _, _, places = simulate(stage.situation(), (*stage.route.at(0.0)[:3], stage.speed), _STEPS)
    texts = (navigation_text('straight', rng), navigation_text('left', rng))
    return [texts[0] if s <= first.end else texts[1] if s + NOSE_M > second.line - _TOLD_M else None
            for s in places]
