"""The street the demo drive goes through: a lane to follow and coloured quads to look at.

Everything lies in the scene frame: metres, z up, the road at z = 0, the lane starting at the
origin along x. All of it follows from a seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LANE_M = 3.5
GROUND, ROAD, MARKING, SHADOW, SOLID = range(5)
"""Drawing layers: whatever lies on the ground comes before what stands on it."""

_SUN = np.array([0.45, 0.55, 0.70]) / np.linalg.norm([0.45, 0.55, 0.70])


@dataclass(frozen=True)
class EgoMotion:
    """Where the vehicle is and how it moves: x, y m and yaw rad in the scene frame, body twist."""

    x: float
    y: float
    yaw: float
    speed: float
    yaw_rate: float


class Lane:
    """The centre line of the ego lane, and the ego's and the lead vehicle's progress along it."""

    STEP_M = 0.05
    START_M = -60.0
    LENGTH_M = 420.0

    def __init__(self, seconds: float) -> None:
        self._s = np.arange(self.START_M, self.START_M + self.LENGTH_M, self.STEP_M)
        turn_in = np.clip((self._s - 45.0) / 30.0, 0.0, 1.0)
        turn_out = np.clip((self._s - 105.0) / 35.0, 0.0, 1.0)
        self._curvature = 0.011 * (_smooth(turn_in) - _smooth(turn_out))
        yaw = np.cumsum(self._curvature) * self.STEP_M
        self._yaw = yaw - np.interp(0.0, self._s, yaw)
        x, y = (np.cumsum(wave(self._yaw)) * self.STEP_M for wave in (np.cos, np.sin))
        self._x, self._y = (line - np.interp(0.0, self._s, line) for line in (x, y))
        # The lead vehicle brakes and goes on; the ego follows it a little later and softer.
        self._t = np.arange(0.0, seconds + 1.0, 0.005)
        self._speed = _speed(self._t - 0.9)
        self._ego_s = np.cumsum(self._speed) * 0.005
        self._lead_s = 21.0 + np.cumsum(_speed(self._t)) * 0.005

    def at(self, s: float, lateral: float = 0.0) -> tuple[float, float, float]:
        """Return x, y, yaw at arc length ``s`` m, ``lateral`` m to the left of the lane centre."""
        x, y, yaw = (float(np.interp(s, self._s, line)) for line in (self._x, self._y, self._yaw))
        return x - math.sin(yaw) * lateral, y + math.cos(yaw) * lateral, yaw

    def ego(self, t: float) -> EgoMotion:
        """Return the ego motion ``t`` s into the drive."""
        s = float(np.interp(t, self._t, self._ego_s))
        speed = float(np.interp(t, self._t, self._speed))
        curvature = float(np.interp(s, self._s, self._curvature))
        return EgoMotion(*self.at(s), speed, speed * curvature)

    def lead(self, t: float) -> tuple[float, float, float]:
        """Return x, y, yaw of the lead vehicle's centre ``t`` s into the drive."""
        return self.at(float(np.interp(t, self._t, self._lead_s)))


def _smooth(x: np.ndarray) -> np.ndarray:
    return x * x * (3.0 - 2.0 * x)


def _speed(t: np.ndarray) -> np.ndarray:
    braking = _smooth(np.clip((t - 1.5) / 3.0, 0.0, 1.0))
    going_on = _smooth(np.clip((t - 6.0) / 4.0, 0.0, 1.0))
    return 11.0 - 4.5 * braking + 3.0 * going_on


@dataclass
class Quads:
    """Flat four-cornered faces.

    ``corners`` (N, 4, 3) m in the scene frame, ``colours`` (N, 3) RGB 0..255 with the light
    already in, ``layers`` (N,), ``centres`` (N, 3) m: the middle of the thing each face is part
    of, by which things are sorted; ``parts`` (N,): drawing order within one thing.
    """

    corners: np.ndarray
    colours: np.ndarray
    layers: np.ndarray
    centres: np.ndarray
    parts: np.ndarray

    @staticmethod
    def join(groups: list[Quads]) -> Quads:
        return Quads(*(np.concatenate([getattr(group, name) for group in groups])
                       for name in Quads.__dataclass_fields__))


def _quads(corners: list, colours: list, layer: int, centre: np.ndarray | None = None,
           parts: list[int] | None = None) -> Quads:
    array = np.asarray(corners, dtype=np.float64)
    centres = array.mean(axis=1) if centre is None else np.tile(centre, (len(array), 1))
    return Quads(array, np.asarray(colours, dtype=np.float64),
                 np.full(len(array), layer), centres,
                 np.asarray(parts if parts is not None else [0] * len(array)))


class Thing:
    """Boxes that move and are sorted together; faces turned away are never drawn."""

    def __init__(self, x: float, y: float, yaw: float, z: float = 0.0) -> None:
        self._origin = np.array([x, y, z])
        cos, sin = math.cos(yaw), math.sin(yaw)
        self._rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        self._corners: list = []
        self._colours: list = []
        self._parts: list[int] = []

    def face(self, corners: list, colour: tuple, part: int, lit: bool = True) -> None:
        """Add a face: four corners in the thing's frame, anticlockwise seen from outside."""
        world = np.asarray(corners) @ self._rotation.T + self._origin
        normal = np.cross(world[1] - world[0], world[3] - world[0])
        normal /= np.linalg.norm(normal) + 1e-12
        light = 0.62 + 0.42 * max(0.0, float(normal @ _SUN)) if lit else 1.0
        self._corners.append(world)
        self._colours.append(np.array(colour) * light)
        self._parts.append(part)

    def box(self, middle: tuple, size: tuple, colour: tuple, part: int = 0, taper: float = 1.0,
            windows: tuple[int, int] | None = None, glass: tuple = (70, 86, 104)) -> None:
        """Add a box standing on ``middle``; its top is ``taper`` times its base."""
        (cx, cy, cz), (length, width, height) = middle, size
        signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
        low = [(cx + sx * length / 2, cy + sy * width / 2, cz) for sx, sy in signs]
        high = [(cx + sx * taper * length / 2, cy + sy * taper * width / 2, cz + height)
                for sx, sy in signs]
        self.face(high, colour, part)
        for i in range(4):
            j = (i + 1) % 4
            wall = [low[i], low[j], high[j], high[i]]
            self.face(wall, colour, part)
            if windows:
                self._windows(np.asarray(wall), windows, glass, part)

    def _windows(self, wall: np.ndarray, grid: tuple[int, int], glass: tuple, part: int) -> None:
        columns, rows = grid
        along, up = wall[1] - wall[0], wall[3] - wall[0]
        for column in range(columns):
            for row in range(rows):
                u0, u1 = (column + 0.22) / columns, (column + 0.78) / columns
                v0, v1 = (row + 0.25) / rows, (row + 0.75) / rows
                shade = 1.0 + 0.25 * math.sin(7.1 * column + 3.3 * row + wall[0, 0])
                self.face([wall[0] + along * u + up * v
                           for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))],
                          tuple(shade * c for c in glass), part, lit=False)

    def quads(self) -> Quads:
        return _quads(self._corners, self._colours, SOLID, self._origin, self._parts)


def car(x: float, y: float, yaw: float, colour: tuple, braking: bool = False) -> Quads:
    """Return a car with its centre above x, y (scene frame, m)."""
    thing = Thing(x, y, yaw)
    for cx in (-1.35, 1.35):
        for cy in (-0.8, 0.8):
            thing.box((cx, cy, 0.0), (0.64, 0.22, 0.62), (28, 28, 30), part=0)
    thing.box((0.0, 0.0, 0.24), (4.4, 1.8, 0.68), colour, part=1)
    lamp = (255, 40, 30) if braking else (150, 25, 25)
    for side in (-0.66, 0.66):
        thing.face([(-2.21, side + 0.2, 0.6), (-2.21, side - 0.2, 0.6), (-2.21, side - 0.2, 0.8),
                    (-2.21, side + 0.2, 0.8)], lamp, 2, lit=False)
        thing.face([(2.21, side - 0.2, 0.6), (2.21, side + 0.2, 0.6), (2.21, side + 0.2, 0.78),
                    (2.21, side - 0.2, 0.78)], (250, 245, 220), 2, lit=False)
    thing.box((-0.25, 0.0, 0.92), (2.5, 1.66, 0.56), colour, part=3, taper=0.78, windows=(1, 1),
              glass=(52, 62, 74))
    cos, sin = math.cos(yaw), math.sin(yaw)
    corners = [(x + cx * cos - cy * sin, y + cx * sin + cy * cos, 0.0)
               for cx, cy in ((-2.3, -1.0), (2.3, -1.0), (2.3, 1.0), (-2.3, 1.0))]
    return Quads.join([_quads([corners], [(46, 46, 50)], SHADOW), thing.quads()])


def street(lane: Lane, seed: int) -> Quads:
    """Return everything that stands still: ground, road, markings, houses, trees, lamps, cars."""
    rng = np.random.default_rng(seed)
    start, end = lane.START_M + 2.0, lane.START_M + lane.LENGTH_M - 2.0
    groups = [_strips(lane, rng, start, end)]

    def thing(s: float, lateral: float) -> Thing:
        return Thing(*lane.at(s, lateral))

    for side, nearest in ((-1, 8.5), (1, 13.0)):
        s = start
        while s < end - 16.0:
            length, depth = rng.uniform(10.0, 17.0), rng.uniform(8.0, 12.0)
            floors = int(rng.integers(2, 6))
            lateral = side * (nearest + rng.uniform(0.0, 4.0) + depth / 2)
            house = thing(s + length / 2, lateral)
            wall = rng.uniform((130, 105, 85), (220, 200, 180))
            house.box((0.0, 0.0, 0.0), (length, depth, 3.1 * floors), tuple(wall),
                      windows=(max(2, int(length / 3.2)), floors))
            house.box((0.0, 0.0, 3.1 * floors), (length + 0.6, depth + 0.6, 0.5), (96, 62, 54), 1)
            groups.append(house.quads())
            s += length + rng.uniform(2.0, 12.0)
    for i, s in enumerate(np.arange(start, end, 11.0)):
        for side, lateral in ((-1, -5.2), (1, 8.9)):
            place = thing(s + rng.uniform(-1.5, 1.5) + 4.0 * side, lateral)
            if (i + (side > 0)) % 3 == 0:
                place.box((0.0, 0.0, 0.0), (0.16, 0.16, 6.2), (92, 96, 100))
                place.box((0.0, -0.8 * side, 6.2), (0.3, 1.9, 0.14), (92, 96, 100), 1)
            else:
                tall = rng.uniform(0.8, 1.3)
                green = tuple(rng.uniform((40, 84, 34), (84, 128, 52)))
                place.box((0.0, 0.0, 0.0), (0.3, 0.3, 2.2 * tall), (88, 66, 46))
                place.box((0.0, 0.0, 1.9 * tall), (1.7, 1.7, 1.2), green, 1, taper=1.45)
                place.box((0.0, 0.0, 1.9 * tall + 1.2), (2.46, 2.46, 1.7), green, 2, taper=0.45)
            groups.append(place.quads())
    for s in (8.0, 30.0, 37.0, 66.0, 88.0, 97.0, 140.0, 171.0):
        x, y, yaw = lane.at(s + rng.uniform(-1.0, 1.0), 6.6)
        groups.append(car(x, y, yaw + math.pi, tuple(rng.uniform(50, 215, 3))))
    return Quads.join(groups)


def _strips(lane: Lane, rng: np.random.Generator, start: float, end: float) -> Quads:
    """Return what lies flat along the lane: verge, pavement, road and its markings."""
    def strip(s0: float, s1: float, right: float, left: float) -> list:
        return [(*lane.at(s, lateral)[:2], 0.0)
                for s, lateral in ((s0, right), (s1, right), (s1, left), (s0, left))]

    edge = LANE_M / 2
    flat: dict[int, tuple[list, list]] = {GROUND: ([], []), ROAD: ([], []), MARKING: ([], [])}

    def lay(layer: int, corners: list, colour: np.ndarray) -> None:
        flat[layer][0].append(corners)
        flat[layer][1].append(colour)

    for s in np.arange(start, end, 2.0):
        for lateral in (-21.0, -16.0, -11.5, 13.0, 17.5, 22.5):
            lay(GROUND, strip(s, s + 2.0, lateral - 2.5, lateral + 2.5),
                np.array([96, 122, 74]) + rng.uniform(-9, 9))
        for right, left in ((-9.0, -edge - 0.4), (LANE_M + edge + 2.5, 10.5)):
            lay(GROUND, strip(s, s + 2.0, right, left), np.array([158, 154, 148])
                + rng.uniform(-7, 7))
        lay(ROAD, strip(s, s + 2.0, -edge - 0.4, LANE_M + edge + 2.5),
            np.array([84, 85, 88]) + rng.uniform(-3, 3))
        for lateral in (-edge, LANE_M + edge):
            lay(MARKING, strip(s, s + 2.0, lateral - 0.07, lateral + 0.07),
                np.array([226, 226, 220]))
    for s in np.arange(start, end - 3.0, 7.5):
        lay(MARKING, strip(s, s + 3.0, edge - 0.07, edge + 0.07), np.array([232, 232, 226]))
    return Quads.join([_quads(*faces, layer) for layer, faces in flat.items()])
