"""What stands beside the roads: houses, trees, poles, signs, parked vehicles and signal heads."""

from __future__ import annotations

import math

import numpy as np

from alpamayo_ros.world.lines import Line
from alpamayo_ros.world.roads import PARKING_M, SIDEWALK_M, Junction, Layout
from alpamayo_ros.world.traffic import Body, standing
from alpamayo_ros.world.types import LANE_M, Thing

_WALLS = ((205, 190, 165), (180, 95, 75), (150, 150, 155), (220, 215, 205), (165, 140, 110),
          (110, 120, 130), (195, 170, 130))
_SIGNS = ((40, 80, 170), (190, 40, 40), (230, 190, 40))


def scenery(layout: Layout, rng: np.random.Generator) -> list[Thing]:
    """Houses, trees, poles and signs along all the roads, none of them on one."""
    things: list[Thing] = []
    crosses = [(layout.cross_line(junction), junction) for junction in layout.junctions]
    lines = [(layout.middle, max(layout.paved(1), layout.paved(-1)) + SIDEWALK_M)]
    lines += [(line, junction.lanes * LANE_M + SIDEWALK_M) for line, junction in crosses]
    roads = [(line.band(line.start, line.end, step=3.0), half) for line, half in lines]
    town = rng.random()
    for line, half in lines:
        for side in (-1.0, 1.0):
            _row(things, rng, line, side, half, town)
    if not things:
        return things
    places = np.array([(thing.x, thing.y) for thing in things])
    reach = np.array([0.5 * max(thing.size[0], thing.size[1]) if thing.kind == 'building' else 0.3
                      for thing in things])
    free = np.ones(len(things), dtype=bool)
    for points, half in roads:
        away = places[:, None] - points[None]
        nearest = np.sqrt((away[..., 0] ** 2 + away[..., 1] ** 2).min(axis=1))
        free &= nearest > half + reach - 0.4
    return [thing for thing, fine in zip(things, free, strict=True) if fine]


def _row(things: list[Thing], rng: np.random.Generator, line: Line, side: float, half: float,
         town: float) -> None:
    s = line.start + rng.uniform(0.0, 15.0)
    while s < line.end:
        length, depth = rng.uniform(10.0, 22.0), rng.uniform(8.0, 14.0)
        if rng.random() < 0.15 + 0.7 * town:
            back = half + rng.uniform(1.0, 7.0) + 0.5 * max(length, depth)
            x, y, yaw = line.pose(s + 0.5 * length, side * back)
            height = float(rng.choice((3.5, 6.5, 9.5, 13.0), p=(0.2, 0.4, 0.25, 0.15)))
            things.append(Thing('building', x, y, yaw, (length, depth, height),
                                _WALLS[int(rng.integers(len(_WALLS)))]))
        elif rng.random() < 0.7:
            for _ in range(int(rng.integers(1, 4))):
                x, y, yaw = line.pose(s + rng.uniform(0.0, length),
                                      side * (half + rng.uniform(0.6, 9.0)))
                things.append(Thing('tree', x, y, yaw, (4.0, 4.0, 7.0),
                                    (60, int(rng.integers(85, 130)), 50)))
        s += length + rng.uniform(3.0, 14.0)
    s = line.start + rng.uniform(5.0, 30.0)
    while s < line.end:
        x, y, yaw = line.pose(s, side * (half + 0.2))
        if rng.random() < 0.75:
            things.append(Thing('pole', x, y, yaw, (0.2, 0.2, 7.0), (120, 122, 125)))
        else:
            facing = yaw + (math.pi if side < 0 else 0.0)
            things.append(Thing('sign', x, y, facing, (0.1, 0.8, 2.6),
                                _SIGNS[int(rng.integers(len(_SIGNS)))]))
        s += rng.uniform(22.0, 45.0)


def parked(layout: Layout, rng: np.random.Generator,
           free: tuple[tuple[float, float], ...] = ()) -> list[Thing]:
    """Vehicles in the parking rows, away from junctions, crossings and the ``free`` stretches."""
    things = []
    taken = [(j.s - j.setback - 10.0, j.s + j.setback + 10.0) for j in layout.junctions]
    taken += [(s - 10.0, s + 10.0) for s in layout.zebras] + list(free)
    for side, there in ((-1, layout.parking_right), (1, layout.parking_left)):
        s = layout.middle.start + rng.uniform(0.0, 8.0)
        while there and s < layout.middle.end - 10.0:
            body = Body.draw(rng, 'car' if rng.random() < 0.8 else 'van')
            length = body.size[0]
            clear = all(s + length < first or s > last for first, last in taken)
            if clear and rng.random() < 0.55:
                x, y, yaw = layout.middle.pose(s + 0.5 * length,
                                               side * (layout.half + 0.5 * PARKING_M + 0.05))
                things.append(standing(body, x, y, yaw + (math.pi if side > 0 else 0.0)))
            s += length + rng.uniform(0.8, 3.0)
    return things


def signal_heads(layout: Layout, junction: Junction) -> list[tuple[Thing, bool]]:
    """The signals of a junction, without a state, and whether each is for the main road.

    The heads for the ego are on the far side: one at the right kerb, one over the lane.
    """
    heads = []
    cross = layout.cross_line(junction)
    half = junction.lanes * LANE_M
    aside = max(1.4, 0.35 * junction.corner)
    for line, middle, along, across, main, arm in (
            (layout.middle, junction.s, half, layout.paved(-1), True, 1),
            (layout.middle, junction.s, half, layout.paved(1), True, -1),
            (cross, 0.0, layout.half, half, False, 1), (cross, 0.0, layout.half, half, False, -1)):
        if not main and (('left' if arm < 0 else 'right') not in junction.arms):
            continue
        s = middle + arm * (along + aside)
        x, y, yaw = line.pose(s, -arm * (across + aside))
        facing = yaw + (math.pi if arm > 0 else 0.0)
        heads.append((_head(x, y, facing, 3.6), main))
        if main and arm > 0:
            x, y, yaw = line.pose(s, layout.offset)
            heads.append((_head(x, y, yaw + math.pi, 5.6), True))
    return heads


def _head(x: float, y: float, yaw: float, height: float) -> Thing:
    return Thing('traffic_light', x, y, yaw, (0.4, 0.5, height), (30, 32, 34))
