"""Roads, junctions and their paint: the layout of a drive and the routes through it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.world.lines import Line, straight, turn_line
from alpamayo_ros.world.types import LANE_M, Strip

PARKING_M = 2.3
SIDEWALK_M = 2.6
ARM_M = 85.0
"""How far the arms of a junction reach from its middle."""


@dataclass(frozen=True)
class Junction:
    """Where another road crosses the main road, at arc length ``s`` m of its middle.

    ``lanes``: lanes each way of the other road; ``corner``: radius of its kerbs, m; ``arms``: which
    of 'left' and 'right' there are; ``lit``: has traffic lights; ``zebra``: has crossings before
    the stop lines; ``skew``: rad by which the other road is off a right angle.
    """

    s: float
    lanes: int
    corner: float
    arms: tuple[str, ...] = ('left', 'right')
    lit: bool = False
    zebra: bool = False
    skew: float = 0.0

    @property
    def half(self) -> float:
        """Half the length of the junction's box along the main road, m."""
        return self.lanes * LANE_M + self.corner

    @property
    def setback(self) -> float:
        """From the middle of the junction to the stop lines of the main road, m."""
        return self.half + (4.8 if self.zebra else 1.2)


@dataclass(frozen=True)
class Layout:
    """The main road with what crosses it.

    ``middle``: between the two directions; ``lanes``: each way; ``lane``: the ego's, 0 next to the
    middle; ``parking_right``, ``parking_left``: a row for parked vehicles; ``zebras``: arc lengths
    m of crossings between junctions.
    """

    middle: Line
    lanes: int
    lane: int
    parking_right: bool
    parking_left: bool
    junctions: tuple[Junction, ...] = ()
    zebras: tuple[float, ...] = ()

    @property
    def half(self) -> float:
        """Half the width of the lanes, m."""
        return self.lanes * LANE_M

    @property
    def offset(self) -> float:
        """Of the middle of the ego's lane from the road's middle, m, negative to the right."""
        return -(self.lane + 0.5) * LANE_M

    def paved(self, side: int) -> float:
        """Width m from the middle to the kerb, on the left (1) or the right (-1)."""
        return self.half + PARKING_M * (self.parking_left if side > 0 else self.parking_right)

    def cross_line(self, junction: Junction) -> Line:
        """The middle of the crossing road, from the right to the left, 0 in the junction."""
        x, y, yaw = self.middle.pose(junction.s)
        left = ARM_M if 'left' in junction.arms else 0.0
        right = ARM_M if 'right' in junction.arms else 0.0
        return straight(x, y, yaw + math.pi / 2 + junction.skew, -right, left + 0.5)

    def lane_line(self) -> Line:
        """The middle of the ego's lane."""
        return self.middle.beside(self.offset)

    def route(self, junction: Junction | None, way: str, rng: np.random.Generator) -> Line:
        """The line the ego follows: its lane and, at the junction, the way it goes."""
        lane = self.lane_line()
        if junction is None or way == 'straight':
            return lane
        x, y, yaw = self.middle.pose(junction.s)
        sign = 1.0 if way == 'left' else -1.0
        out_lane = 0 if way == 'left' else junction.lanes - 1
        heading = yaw + sign * math.pi / 2 + junction.skew
        side = (out_lane + 0.5) * LANE_M
        outbound = straight(x + side * math.sin(heading), y - side * math.cos(heading), heading,
                            -30.0, ARM_M + 80.0)
        if way == 'left':
            radius = junction.half - rng.uniform(0.0, 1.0)
            radius = min(radius, self.half + junction.corner + LANE_M / 2)
        else:
            radius = junction.corner + LANE_M / 2 + rng.uniform(0.0, 0.4)
        return turn_line(lane, outbound, radius)[0]


def strips(layout: Layout) -> tuple[Strip, ...]:
    """Paving and paint of a layout, in drawing order."""
    middle = layout.middle
    walk, paving, paint = [], [], []
    width = layout.paved(1) + layout.paved(-1)
    shift = 0.5 * (layout.paved(1) - layout.paved(-1))
    whole = middle.band(middle.start, middle.end, shift)
    walk.append(Strip('sidewalk', whole, width + 2 * SIDEWALK_M))
    paving.append(Strip('asphalt', whole, width))
    gaps = [(j.s - j.setback, j.s + j.setback, j) for j in layout.junctions]
    for junction in layout.junctions:
        _junction_strips(layout, junction, walk, paving, paint)
    start = middle.start
    for first, last, junction in [*gaps, (middle.end, middle.end, None)]:
        if first - start > 2.0:
            paint += _road_paint(middle, start, first, layout.lanes, layout.paved(-1),
                                 layout.paved(1), solid=junction is not None)
        start = last
    for s in layout.zebras:
        paint += _zebra(middle, s, layout.paved(-1), layout.paved(1))
        paint.append(_stop_line(middle, s - 3.0, -1, layout.half))
        paint.append(_stop_line(middle, s + 3.0, 1, layout.half))
    return (*walk, *paving, *paint)


def _junction_strips(layout: Layout, junction: Junction, walk: list[Strip], paving: list[Strip],
                     paint: list[Strip]) -> None:
    middle, cross = layout.middle, layout.cross_line(junction)
    half = junction.lanes * LANE_M
    for side, sign in (('left', 1), ('right', -1)):
        if side not in junction.arms:
            continue
        far = sign * ARM_M
        arm = cross.band(min(0.0, far), max(0.0, far), 0.0, step=20.0)
        walk.append(Strip('sidewalk', arm, 2 * (half + SIDEWALK_M)))
        paving.append(Strip('asphalt', arm, 2 * half))
        for position in np.arange(0.5, junction.corner, 1.0):
            # The kerb of the corner, a quarter of a circle, in slices across the arm.
            bulge = junction.corner - math.sqrt(
                junction.corner ** 2 - (junction.corner - position) ** 2)
            along = sign * (layout.paved(sign) + position)
            # The first one reaches into the main road, which a skewed arm meets at a slant.
            inner, outer = along - sign * (1.4 if position < 1.0 else 0.55), along + sign * 0.55
            paving.append(Strip('asphalt', cross.band(min(inner, outer), max(inner, outer)),
                                2 * (half + bulge)))
        kerb = layout.paved(sign) + junction.corner
        begin = kerb + (4.8 if junction.zebra else 1.2)
        arm_start, arm_end = sorted((sign * begin, sign * (ARM_M - 1)))
        paint += _road_paint(cross, arm_start, arm_end, junction.lanes, half, half, solid=False)
        if junction.zebra:
            paint += _zebra(cross, sign * (kerb + 2.0), half, half)
        # Towards the junction vehicles keep to their right.
        paint.append(_stop_line(cross, sign * begin, sign, half))
    if junction.zebra:
        for sign in (-1, 1):
            paint += _zebra(middle, junction.s + sign * (junction.half + 2.0), layout.paved(-1),
                            layout.paved(1))
    paint.append(_stop_line(middle, junction.s - junction.setback, -1, layout.half))
    paint.append(_stop_line(middle, junction.s + junction.setback, 1, layout.half))


def _road_paint(line: Line, start: float, end: float, lanes: int, right: float, left: float,
                solid: bool) -> list[Strip]:
    painted = [Strip('edge_line', line.band(start, end, -lanes * LANE_M + 0.12), 0.12),
               Strip('edge_line', line.band(start, end, lanes * LANE_M - 0.12), 0.12)]
    # Before a junction the middle must not be crossed.
    change = max(start, end - 25.0) if solid else end
    if change - start > 1.0:
        painted.append(Strip('dashed_line', line.band(start, change), 0.15, (3.0, 4.5)))
    if end - change > 1.0:
        painted.append(Strip('solid_line', line.band(change, end), 0.15))
    for lane in range(1, lanes):
        for sign in (-1, 1):
            painted.append(Strip('dashed_line', line.band(start, end, sign * lane * LANE_M), 0.12,
                                 (3.0, 6.0)))
    return painted


def _stop_line(line: Line, s: float, side: int, half: float) -> Strip:
    """Over the lanes on the left (1) or right (-1) of the line."""
    return Strip('stop_line', line.across(s, side * 0.1, side * (half - 0.2)), 0.45)


def _zebra(line: Line, s: float, right: float, left: float) -> list[Strip]:
    return [Strip('crossing', line.across(s, left - 0.3, -right + 0.3), 3.0)]
