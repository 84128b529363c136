"""Lines with arc length: the roads' middles, the lanes and the routes vehicles follow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SPACING_M = 0.5


class Line:
    """A smooth line in the scene plane, sampled every ``SPACING_M``; straight beyond its ends.

    ``start``: arc length of its first point, m. ``x``, ``y``, ``yaw``: (N,) m and continuous rad.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, yaw: np.ndarray, start: float = 0.0) -> None:
        self.x, self.y, self.yaw, self.start = x, y, yaw, start
        self.curvature = np.gradient(yaw, SPACING_M)
        # Reading single values from lists is several times faster than from arrays.
        self._rows = list(zip(x.tolist(), y.tolist(), yaw.tolist(), self.curvature.tolist(),
                              strict=True))

    @property
    def end(self) -> float:
        """Arc length of the last point, m."""
        return self.start + SPACING_M * (len(self.x) - 1)

    def at(self, s: float) -> tuple[float, float, float, float]:
        """x, y m, yaw rad and curvature 1/m at arc length ``s`` m."""
        place = (s - self.start) / SPACING_M
        index = min(max(int(place), 0), len(self._rows) - 2)
        share = place - index
        x0, y0, yaw0, bend0 = self._rows[index]
        x1, y1, yaw1, bend1 = self._rows[index + 1]
        inside = min(max(share, 0.0), 1.0)
        return (x0 + share * (x1 - x0), y0 + share * (y1 - y0), yaw0 + inside * (yaw1 - yaw0),
                bend0 + inside * (bend1 - bend0))

    def poses(self, s: np.ndarray, offset: np.ndarray | float = 0.0) -> np.ndarray:
        """Poses (..., 3) x, y, yaw at arc lengths (...) m, ``offset`` m to the left of the line."""
        place = (np.asarray(s, dtype=np.float64) - self.start) / SPACING_M
        index = np.clip(place.astype(np.int64), 0, len(self.x) - 2)
        share = place - index
        inside = np.clip(share, 0.0, 1.0)
        x = self.x[index] + share * (self.x[index + 1] - self.x[index])
        y = self.y[index] + share * (self.y[index + 1] - self.y[index])
        yaw = self.yaw[index] + inside * (self.yaw[index + 1] - self.yaw[index])
        return np.stack([x - offset * np.sin(yaw), y + offset * np.cos(yaw), yaw], axis=-1)

    def pose(self, s: float, offset: float = 0.0) -> tuple[float, float, float]:
        """x, y m and yaw rad at one arc length."""
        x, y, yaw, _ = self.at(s)
        return x - offset * math.sin(yaw), y + offset * math.cos(yaw), yaw

    def band(self, start: float, end: float, offset: float = 0.0, step: float = 2.0) -> np.ndarray:
        """Points (N, 2) along the line from ``start`` to ``end`` m."""
        count = max(2, int((end - start) / step) + 2)
        return self.poses(np.linspace(start, end, count), offset)[:, :2]

    def across(self, s: float, left: float, right: float) -> np.ndarray:
        """Points (2, 2) across the line at ``s``, between two offsets m."""
        return self.poses(np.array([s, s]), np.array([left, right]))[:, :2]

    def nearest(self, x: float, y: float) -> float:
        """Arc length m of the sampled point nearest a place."""
        return self.start + SPACING_M * int(np.argmin((self.x - x) ** 2 + (self.y - y) ** 2))

    def beside(self, offset: float) -> Line:
        """The line that runs ``offset`` m to the left of this one."""
        shifted = self.poses(self.start + SPACING_M * np.arange(len(self.x)), offset)
        return line_through(shifted[:, :2], self.start)


def line_through(points: np.ndarray, start: float = 0.0) -> Line:
    """The line through points (N, 2) that follow each other, at most about a metre apart."""
    ahead = np.diff(points, axis=0)
    lengths = np.hypot(ahead[:, 0], ahead[:, 1])
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    middles = 0.5 * (along[1:] + along[:-1])
    s = np.arange(0.0, along[-1], SPACING_M)
    yaw = np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0]))
    return Line(np.interp(s, along, points[:, 0]), np.interp(s, along, points[:, 1]),
                np.interp(s, middles, yaw), start)


def road_line(bends: Sequence[tuple[float, float, float]], start: float, end: float) -> Line:
    """A road's middle from arc length ``start`` to ``end`` m, at the origin heading x where s = 0.

    ``bends``: (from m, to m, curvature 1/m), positive to the left; each eases in and out.
    """
    s = np.arange(start, end, SPACING_M)
    curvature = np.zeros(len(s))
    for first, last, bend in bends:
        curvature[(s >= first) & (s < last)] += bend
    ease = np.full(17, 1 / 17)
    curvature = np.convolve(np.pad(curvature, 8, mode='edge'), ease, mode='valid')
    yaw = np.concatenate([[0.0], np.cumsum(curvature[:-1] * SPACING_M)])
    origin = int(round(-start / SPACING_M))
    yaw -= yaw[origin]
    middle = 0.5 * (yaw[1:] + yaw[:-1])
    x = np.concatenate([[0.0], np.cumsum(np.cos(middle) * SPACING_M)])
    y = np.concatenate([[0.0], np.cumsum(np.sin(middle) * SPACING_M)])
    return Line(x - x[origin], y - y[origin], yaw, start)


def straight(x: float, y: float, yaw: float, start: float, end: float) -> Line:
    """The straight line through (x, y) at arc length 0 with heading ``yaw`` rad."""
    s = np.arange(start, end, SPACING_M)
    return Line(x + s * math.cos(yaw), y + s * math.sin(yaw), np.full(len(s), yaw), start)


def turn_line(inbound: Line, outbound: Line, radius: float) -> tuple[Line, float]:
    """Follow ``inbound``, turn into ``outbound`` on an arc of ``radius`` m, follow that.

    Both are straight where they meet. Returns the line, which keeps the arc length of
    ``inbound``, and the arc length at which the arc begins. ``ValueError`` when they are parallel.
    """
    ahead = outbound.poses(np.array([0.0]))[0]
    s_in = inbound.nearest(*_meeting(inbound, outbound))
    px, py, in_yaw, _ = inbound.at(s_in)
    px, py = _meeting(inbound, outbound)
    turn = (ahead[2] - in_yaw + math.pi) % (2 * math.pi) - math.pi
    reach = radius * math.tan(abs(turn) / 2)
    before = inbound.at(s_in)
    s_exact = s_in + (px - before[0]) * math.cos(in_yaw) + (py - before[1]) * math.sin(in_yaw)
    begin = s_exact - reach
    sign = math.copysign(1.0, turn)
    sx, sy = px - reach * math.cos(in_yaw), py - reach * math.sin(in_yaw)
    angles = np.linspace(0.0, abs(turn), max(6, int(abs(turn) * radius / 0.4)))
    arc = np.stack([
        sx + radius * (np.sin(angles) * math.cos(in_yaw)
                       - sign * (1 - np.cos(angles)) * math.sin(in_yaw)),
        sy + radius * (np.sin(angles) * math.sin(in_yaw)
                       + sign * (1 - np.cos(angles)) * math.cos(in_yaw))], axis=1)
    first = int((begin - 0.3 - inbound.start) / SPACING_M)
    end_s = outbound.nearest(*arc[-1])
    last = int((end_s + 0.6 - outbound.start) / SPACING_M) + 1
    points = np.concatenate([
        np.stack([inbound.x[:first], inbound.y[:first]], axis=1), arc,
        np.stack([outbound.x[last:], outbound.y[last:]], axis=1)])
    return line_through(points, inbound.start), begin


def _meeting(inbound: Line, outbound: Line) -> tuple[float, float]:
    """Where the straight end of ``inbound``, near the origin of ``outbound``, crosses it."""
    ox, oy, out_yaw, _ = outbound.at(0.0)
    s = inbound.nearest(ox, oy)
    ix, iy, in_yaw, _ = inbound.at(s)
    cross = math.cos(in_yaw) * math.sin(out_yaw) - math.sin(in_yaw) * math.cos(out_yaw)
    if abs(cross) < 1e-3:
        raise ValueError('inbound and outbound lines are parallel; expected lines that cross')
    along = ((ox - ix) * math.sin(out_yaw) - (oy - iy) * math.cos(out_yaw)) / cross
    return ix + along * math.cos(in_yaw), iy + along * math.sin(in_yaw)
