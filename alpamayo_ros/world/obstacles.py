"""What narrows or closes the lane: cones, a walker on a crossing, a stopped vehicle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alpamayo_ros.world.driver import NOSE_M, Lead, Shift, Stop, Zone
from alpamayo_ros.world.setting import Setting
from alpamayo_ros.world.stage import Stage
from alpamayo_ros.world.traffic import Body, mover_along, standing
from alpamayo_ros.world.types import DT_S, LANE_M, Thing

_CONE = (240, 110, 30)
_EGO_HALF_M = 0.95


def add_cones(stage: Stage, first: float, side: str) -> None:
    """Close one half of the lane from arc length ``first`` m of the route on."""
    rng = stage.rng
    sign = 1.0 if side == 'left' else -1.0
    length = rng.uniform(8.0, 22.0)
    # How far the cones reach in from the lane's edge, towards its middle.
    inner = sign * rng.uniform(-0.1, 0.3)
    edge = sign * (0.5 * LANE_M - 0.1)
    taper = 7.0
    spacing = rng.uniform(2.2, 3.2)
    for s in np.arange(first, first + length + 0.1, spacing):
        share = min(1.0, (s - first) / taper)
        offset = edge + (inner - edge) * share
        x, y, yaw = stage.route.pose(float(s), offset)
        stage.fixed.append(Thing('cone', x, y, yaw, (0.4, 0.4, 0.75), _CONE))
    if rng.random() < 0.5:
        x, y, yaw = stage.route.pose(first + length + 1.0, 0.5 * (edge + inner))
        stage.fixed.append(Thing('barrier', x, y, yaw, (0.3, 1.4, 1.0), (220, 60, 40)))
    room = _EGO_HALF_M + 0.2 + rng.uniform(0.45, 0.6)
    amount = inner - sign * room
    speed = rng.uniform(5.2, 6.2)
    full = first + 2.0 - NOSE_M
    ease = 2.4 * speed
    stage.shifts.append(Shift(full - ease, full, first + length + 2.5,
                              first + length + 2.5 + ease, amount))
    stage.zones.append(Zone('cones', full - 0.6 * ease, first + length + 2.5 + 0.6 * ease, speed))
    stage.details['cones'] = {'side': side}


def add_walker(stage: Stage, zebra: float, step: int) -> None:
    """Let somebody walk over the crossing at ``zebra`` m of the road's middle from ``step`` on."""
    rng, layout = stage.rng, stage.layout
    side = 'left' if rng.random() < 0.5 else 'right'
    sign = 1 if side == 'left' else -1
    pace = rng.uniform(1.15, 1.6)
    kerb = layout.paved(sign)
    begin = kerb + 0.7 + pace * DT_S * step
    offset = sign * (begin - pace * DT_S * np.arange(stage.steps))
    s = np.full(stage.steps, zebra + rng.uniform(-0.8, 0.8))
    body = Body.draw(rng, 'pedestrian')
    walker = mover_along(body, layout.middle, s, offset)
    walker.poses[:, 2] = layout.middle.at(zebra)[2] - sign * np.pi / 2
    stage.movers.append(walker)
    if rng.random() < 0.3:
        other = Body.draw(rng, 'pedestrian')
        companion = mover_along(other, layout.middle, s + rng.choice((-0.8, 0.8)), offset)
        companion.poses[:, 2] = walker.poses[:, 2]
        stage.movers.append(companion)
    # Free again when the walker is out of the lane and the next metre.
    lane = layout.offset
    beyond = sign * (lane - sign * (0.5 * LANE_M + 0.8))
    clear = int(np.argmax(sign * offset < beyond)) if (sign * offset < beyond).any() else 10_000
    line = stage.along(zebra - 3.0, lane)
    stage.stops.append(Stop('pedestrian', line, begins=step, ends=clear))
    stage.events.append(step)
    stage.details['pedestrian'] = {'side': side}


def block_lane(rng: np.random.Generator, setting: Setting, steps: int) -> Stage:
    """A vehicle with hazard lights stands in the lane; the driver passes it or waits behind it."""
    body = Body.draw(rng, 'van' if rng.random() < 0.55 else 'truck')
    waits = bool(rng.random() < 0.5)
    stands = rng.random() < 0.25
    gap = 7.5 + rng.uniform(-0.4, 0.6)
    speed = 0.0 if stands else setting.limit * rng.uniform(0.4, 0.9)
    room = gap if stands else gap + speed ** 2 / 2.9 + speed * rng.uniform(0.6, 3.0) + 4.0
    stage = setting.stage(rng, steps, speed)
    rear = stage.start + NOSE_M + room
    middle = rear + 0.5 * body.size[0]
    aside = rng.uniform(-0.35, 0.0)
    x, y, yaw = stage.route.pose(middle, aside)
    stage.fixed.append(standing(body, x, y, yaw, 'left+right'))
    stage.no_parking.append((rear - 30.0, middle + 30.0))
    style = replace(setting.style, gap=gap)
    stage.style = style
    # Whether passing or waiting, the driver slows in the same way first.
    passing = rng.uniform(3.8, 4.6)
    front = rear + body.size[0]
    amount = aside + 0.5 * body.size[1] + 0.95 + rng.uniform(0.7, 0.9)
    ease = 13.0
    begin = rear - NOSE_M - gap
    shift = Shift(begin, begin + ease, front + 2.0, front + 17.0, amount)
    zone = Zone('blocked_lane', begin, front + 11.0, passing)
    lead = Lead([rear] * steps, [0.0] * steps, cause='blocked_lane')
    passes = replace(stage.situation(), shifts=(shift,), zones=(zone,))
    halts = replace(stage.situation(), leads=(lead,), zones=(zone,))
    stage.details['blocked_lane'] = {'what': body.kind}
    if waits:
        stage.leads.append(lead)
        stage.zones.append(zone)
        stage.alternative = passes
        return stage
    stage.zones.append(zone)
    stage.shifts.append(shift)
    stage.alternative = halts
    if stands:
        leaves = int(rng.integers(21, 45))
        stage.leads.append(replace(lead, ends=leaves))
        stage.window = (leaves - 6, leaves)
    return stage
