"""The kinds of drives: what is set up for each, and the tour that has several of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from alpamayo_ros.world.causes import KINDS
from alpamayo_ros.world.crowd import populate
from alpamayo_ros.world.driver import NOSE_M, Stop
from alpamayo_ros.world.obstacles import add_cones, add_walker, block_lane
from alpamayo_ros.world.reasoning import navigation_text
from alpamayo_ros.world.setting import AHEAD_M, Setting, gentle_bends, junction_stage
from alpamayo_ros.world.stage import PlayedDrive, Stage
from alpamayo_ros.world.tour import make_tour
from alpamayo_ros.world.traffic import Body, mover_along, travel
from alpamayo_ros.world.types import LANE_M, VEHICLES

Random = np.random.Generator
__all__ = ['make_drive', 'make_tour']


def make_drive(kind: str, seed: int) -> PlayedDrive:
    """Simulate a drive of a kind, 10 to 14 s; the same seed gives the same drive.

    ``ValueError`` when the kind is none of ``KINDS``.
    """
    if kind not in KINDS:
        raise ValueError(f'kind is {kind!r}; expected one of {KINDS}')
    rng = np.random.default_rng([KINDS.index(kind), seed])
    stage = _BUILDERS[kind](rng, int(rng.integers(112, 140)))
    populate(stage)
    return stage.play(kind, seed)


def _what(rng: Random) -> Body:
    """A vehicle ahead; each kind of vehicle as often."""
    return Body.draw(rng, VEHICLES[int(rng.choice(4, p=(0.4, 0.25, 0.2, 0.15)))])


def _open_road(rng: Random, steps: int, low: float, high: float) -> Stage:
    """No junction; the first speed is ``low`` to ``high`` of that driven on a free road."""
    setting = Setting.draw(rng)
    zebras = (rng.uniform(20.0, 120.0),) if rng.random() < 0.2 else ()
    return setting.stage(rng, steps, setting.limit * rng.uniform(low, high),
                         bends=gentle_bends(rng, 0.0, AHEAD_M - 40.0), zebras=zebras)


def _any_road(rng: Random, steps: int, low: float, high: float) -> Stage:
    """An open road or, now and then, one with a junction that is free."""
    if rng.random() < 0.65:
        return _open_road(rng, steps, low, high)
    setting = Setting.draw(rng)
    lit = rng.random() < 0.6
    stage, _ = junction_stage(rng, setting, steps, setting.limit * rng.uniform(low, high),
                              rng.uniform(25.0, 110.0), lit=lit)
    if rng.random() < 0.4:
        stage.navigation = [navigation_text('straight', rng)] * steps
    return stage


def _clear_road(rng: Random, steps: int) -> Stage:
    slow = rng.random() < 0.3
    return _open_road(rng, steps, *((0.15, 0.7) if slow else (0.8, 1.03)))


def _curve(rng: Random, steps: int) -> Stage:
    setting = Setting.draw(rng)
    tightest = 1.0 / 32.0
    bend = rng.choice((-1.0, 1.0)) * rng.uniform(1.0 / 85.0, tightest)
    start = rng.uniform(22.0, 75.0)
    length = rng.uniform(0.6, 1.5) / abs(bend)
    stage = setting.stage(rng, steps, setting.limit * rng.uniform(0.75, 1.02),
                          bends=[(start, start + length, bend)])
    stage.details['curve'] = {'side': 'left' if bend > 0 else 'right'}
    return stage


def _slow_lead(rng: Random, steps: int) -> Stage:
    following = rng.random() < 0.5
    stage = _any_road(rng, steps, 0.7, 1.0)
    speed = stage.limit * rng.uniform(0.3, 0.72)
    body, gap = _what(rng), rng.uniform(14.0, 45.0)
    if following:
        stage.speed = speed * rng.uniform(0.9, 1.15)
        gap = 4.0 + stage.speed * rng.uniform(1.3, 2.2)
    elif stage.speed > speed:
        gap = max(gap, 6.0 + (stage.speed - speed) ** 2 / 2.5 + speed)
    _vehicle_ahead(stage, body, gap, speed, ())
    return stage


def _vehicle_ahead(stage: Stage, body: Body, gap: float, speed: float,
                   changes: tuple[tuple[int, float], ...], state: str | None = None) -> None:
    """In the lane, its rear bumper ``gap`` m ahead of the front bumper at the first step.

    ``state``: as ``Thing.state``; None: the brake lights are on while it slows.
    """
    middle, speeds = travel(stage.start + NOSE_M + gap + 0.5 * body.size[0], speed, stage.steps,
                            changes)
    if state is None:
        slowing = np.append(np.diff(speeds) < -0.02, False)
        if changes:
            slowing |= speeds < 0.05
        states = tuple('braking' if value else '' for value in slowing)
    else:
        states = (state,) * stage.steps
    offset = stage.rng.normal(0.0, 0.08)
    stage.follow(mover_along(body, stage.route, middle, offset, states), middle, speeds)


def _braking_lead(rng: Random, steps: int) -> Stage:
    setting = Setting.draw(rng)
    own = max(setting.limit * rng.uniform(0.75, 1.0), 6.5)
    setting = replace(setting, limit=min(setting.limit, 1.05 * own))
    speed = own * rng.uniform(0.95, 1.03)
    begin, braking = int(rng.integers(13, 28)), rng.uniform(2.0, 2.8)
    gap, body = 3.0 + own * rng.uniform(1.3, 2.0), _what(rng)
    if rng.random() < 0.3:
        # It brakes for a red light.
        way = gap + body.size[0] + speed * 0.1 * begin + speed ** 2 / (2.0 * braking)
        stage, _ = junction_stage(rng, setting, steps, own, way + rng.uniform(1.0, 2.5), lit=True,
                                  red=(0, steps + 99))
    else:
        stage = setting.stage(rng, steps, own, bends=gentle_bends(rng, 0.0, AHEAD_M - 40.0))
    _vehicle_ahead(stage, body, gap, speed, ((begin, -braking),))
    stage.events.append(begin)
    return stage


def _standing_lead(rng: Random, steps: int) -> Stage:
    waits = rng.random() < 0.25
    state = 'braking' if rng.random() < 0.4 else ''
    if rng.random() < 0.5:
        stage = _open_road(rng, steps, 0.35, 1.0)
        nose = _stopping_room(rng, stage.speed, stage.limit)
        if waits:
            stage.speed, nose = 0.0, stage.style.gap + rng.uniform(-0.2, 0.4)
        _vehicle_ahead(stage, _what(rng), nose, 0.0, (), state)
        return stage
    # The lead stands first at a red light.
    setting = Setting.draw(rng)
    body = _what(rng)
    speed = 0.0 if waits else setting.limit * rng.uniform(0.35, 1.0)
    room = (setting.style.gap + rng.uniform(-0.2, 0.4) if waits
            else _stopping_room(rng, speed, setting.limit))
    stage, _ = junction_stage(rng, setting, steps, speed,
                              room + body.size[0] + rng.uniform(1.0, 2.0), lit=True,
                              red=(0, steps + 99))
    _vehicle_ahead(stage, body, room, 0.0, (), 'braking' if rng.random() < 0.6 else '')
    return stage


def _stopping_room(rng: Random, speed: float, limit: float) -> float:
    """Metres within which the driver stops in comfort, with some to spare."""
    return speed ** 2 / 2.9 + 3.0 + speed * rng.uniform(0.9, 3.6) * (1.4 - 0.4 * speed / limit)


def _any_way(rng: Random) -> str:
    return ('left', 'straight', 'right')[int(rng.integers(3))]


def _red_light(rng: Random, steps: int) -> Stage:
    setting = Setting.draw(rng)
    told = rng.random() < 0.4
    way = _any_way(rng) if told else 'straight'
    waits = rng.random() < 0.2
    speed = 0.0 if waits else setting.limit * rng.uniform(0.35, 1.0)
    nose = rng.uniform(1.2, 2.2) if waits else _stopping_room(rng, speed, setting.limit)
    stage, passage = junction_stage(rng, setting, steps, speed, nose, way=way, lit=True,
                                    red=(0, steps + 99))
    stage.stops.append(Stop('red_light', passage.line))
    if told:
        stage.navigation = [navigation_text(way, rng)] * steps
    return stage


def _green_light(rng: Random, steps: int) -> Stage:
    return _through(rng, steps, 'straight', lit=True, told=rng.random() < 0.5)


def _go_straight(rng: Random, steps: int) -> Stage:
    return _through(rng, steps, 'straight', lit=False, told=rng.random() < 0.8)


def _turn_left(rng: Random, steps: int) -> Stage:
    lit = rng.random() < 0.4
    return _through(rng, steps, 'left', lit=lit, told=lit or rng.random() < 0.7)


def _turn_right(rng: Random, steps: int) -> Stage:
    lit = rng.random() < 0.4
    return _through(rng, steps, 'right', lit=lit, told=lit or rng.random() < 0.7)


def _through(rng: Random, steps: int, way: str, *, lit: bool, told: bool) -> Stage:
    """Over a junction that is free; now and then from standing at a light that turns green."""
    setting = Setting.draw(rng)
    starts = lit and rng.random() < 0.3
    green = int(rng.integers(6, 30)) if starts else 0
    speed = 0.0 if starts else setting.limit * rng.uniform(0.5, 1.02)
    nose = rng.uniform(1.2, 2.2) if starts else 5.0 + speed * rng.uniform(2.2, 6.0)
    if way != 'straight' and not starts:
        nose = 8.0 + speed * rng.uniform(1.8, 4.2)
    stage, passage = junction_stage(rng, setting, steps, speed, nose, way=way, lit=lit,
                                    red=(0, green))
    if starts:
        stage.stops.append(Stop('red_light', passage.line, ends=green + 4))
        stage.events.append(green)
    if told:
        stage.navigation = [navigation_text(way, rng)] * steps
    return stage


def _pedestrian(rng: Random, steps: int) -> Stage:
    setting = Setting.draw(rng)
    stage = setting.stage(rng, steps, setting.limit * rng.uniform(0.45, 1.0))
    step = int(rng.integers(8, 22))
    there, speed = stage.foresee(step)
    room = speed ** 2 / 2.9 + 2.0 + speed * rng.uniform(0.0, 1.6)
    zebra = there + NOSE_M + room + 3.0
    stage.layout = replace(stage.layout, zebras=(zebra,))
    add_walker(stage, zebra, step)
    return stage


def _cones(rng: Random, steps: int) -> Stage:
    side = 'left' if rng.random() < 0.35 else 'right'
    # To the right there is room only in another lane.
    setting = (Setting.draw(rng, lanes=2, lane=0) if side == 'left'
               else Setting.draw(rng, parking=False))
    speed = setting.limit * rng.uniform(0.5, 1.0)
    stage = setting.stage(rng, steps, speed)
    add_cones(stage, NOSE_M + 22.0 + speed * rng.uniform(1.5, 4.5), side)
    return stage


def _cut_in(rng: Random, steps: int) -> Stage:
    from_kerb = rng.random() < 0.25
    setting = (Setting.draw(rng, lanes=1, parking=True) if from_kerb
               else Setting.draw(rng, lanes=2))
    bends = gentle_bends(rng, 0.0, AHEAD_M - 40.0)
    stage = setting.stage(rng, steps, setting.limit * rng.uniform(0.75, 1.0), bends=bends)
    side = 'right' if from_kerb or setting.lane == 0 else 'left'
    sign = 1.0 if side == 'left' else -1.0
    body = Body.draw(rng, str(rng.choice(('car', 'van', 'truck'), p=(0.6, 0.3, 0.1))))
    first = int(rng.integers(14, 32))
    drifts = first + 5
    length = int(rng.integers(28, 38))
    at, own = stage.foresee(drifts)
    if from_kerb:
        aside = sign * 2.85
        speed = rng.uniform(2.5, 4.0)
        gap = 4.0 + (own - speed) ** 2 / 3.0 + own * rng.uniform(0.5, 1.1)
        middle, speeds = travel(0.0, speed, steps, ((drifts + 5, 0.5), (drifts + 45, 0.0)))
    else:
        aside = sign * LANE_M
        speed = own * rng.uniform(0.72, 0.92)
        gap = 4.0 + (own - speed) * rng.uniform(1.0, 2.0) + own * rng.uniform(0.3, 0.8)
        middle, speeds = travel(0.0, speed, steps)
    there = at + NOSE_M + gap + 0.5 * body.size[0]
    middle = middle + there - middle[drifts]
    phase = np.clip((np.arange(steps) - drifts) / length, 0.0, 1.0)
    offset = aside * (0.5 + 0.5 * np.cos(np.pi * phase))
    states = tuple(('right' if side == 'left' else 'left') if first <= step < drifts + length - 6
                   else '' for step in range(steps))
    stage.events.append(first)
    stage.no_parking.append((there - 60.0, AHEAD_M))
    stage.follow(mover_along(body, stage.route, middle, offset, states), middle, speeds,
                 begins=drifts, cuts=(drifts + 2, drifts + length - 4), side=side)
    return stage


def _blocked_lane(rng: Random, steps: int) -> Stage:
    setting = Setting.draw(rng, lane=None if rng.random() < 0.7 else 0)
    if setting.lanes > 1:
        setting = Setting.draw(rng, lanes=2, lane=1)
    return block_lane(rng, setting, steps)


_BUILDERS: dict[str, Callable[[Random, int], Stage]] = {
    'clear_road': _clear_road, 'curve': _curve, 'slow_lead': _slow_lead,
    'braking_lead': _braking_lead, 'standing_lead': _standing_lead, 'red_light': _red_light,
    'green_light': _green_light, 'pedestrian': _pedestrian, 'cones': _cones, 'cut_in': _cut_in,
    'turn_left': _turn_left, 'turn_right': _turn_right, 'go_straight': _go_straight,
    'blocked_lane': _blocked_lane}
