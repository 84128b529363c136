"""What the driving world consists of: frozen values in the scene frame.

The scene frame: metres, z up, the ground at z = 0, yaw in radians from x to y. An ego pose is that
of ``base_link``, the middle of the rear axle on the ground. Time is in steps of ``DT_S``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

DT_S = 0.1
"""Seconds between two ego states, history poses, waypoints and camera frames."""
HISTORY_STEPS = 16
FUTURE_STEPS = 64
LANE_M = 3.5

VEHICLES = ('car', 'van', 'truck', 'bus')
"""Kinds of ``Thing`` that have brake lights and indicators."""


@dataclass(frozen=True)
class Strip:
    """A band along a line on the ground: paving or paint.

    ``kind``: 'asphalt', 'sidewalk', 'edge_line', 'solid_line', 'dashed_line', 'stop_line',
    'crossing' (a zebra: the line runs across the road, bars lie along the road); drawn in the
    order in which the layout lists them. ``points``: (N, 2) m, its middle. ``width``: m. ``dash``:
    lengths (painted, gap) m.
    """

    kind: str
    points: np.ndarray
    width: float
    dash: tuple[float, float] | None = None


@dataclass(frozen=True)
class Thing:
    """Something that stands on the ground, at one instant.

    ``kind``: one of ``VEHICLES``, 'pedestrian', 'cyclist', 'cone', 'barrier', 'traffic_light',
    'building', 'tree', 'pole', 'sign'. ``x``, ``y``: middle of its footprint; ``yaw``: where it
    heads; a traffic light faces ``yaw``, towards the traffic it is for. ``size``: (length, width,
    height) m. ``colour``: RGB 0 to 255. ``state``: of a vehicle any of 'braking', 'left', 'right'
    (indicators) joined by '+'; of a traffic light 'red', 'amber' or 'green'; else empty.
    """

    kind: str
    x: float
    y: float
    yaw: float
    size: tuple[float, float, float]
    colour: tuple[int, int, int]
    state: str = ''


@dataclass(frozen=True)
class Look:
    """Light and weather of a drive.

    ``sun_azimuth``, ``sun_elevation``: radians. ``brightness``: 1 a clear day, 0.35 dusk.
    ``haze_m``: distance after which 63 % of a colour is haze. ``sky``, ``haze``, ``ground``,
    ``asphalt``: RGB. ``rain``: 0 to 1. ``noise``: standard deviation of the sensor's noise, 0..255.
    ``seed``: of textures and noise.
    """

    seed: int
    sun_azimuth: float
    sun_elevation: float
    brightness: float
    haze_m: float
    sky: tuple[int, int, int]
    haze: tuple[int, int, int]
    ground: tuple[int, int, int]
    asphalt: tuple[int, int, int]
    rain: float = 0.0
    noise: float = 2.0


@dataclass(frozen=True)
class Drive:
    """A simulated drive: what stands there, what moves, and how the rule-based driver went.

    ``ego``: (steps, 6) float64: x, y m, yaw rad, speed m/s, and the acceleration m/s^2 and
    curvature 1/m that hold until the next step; row k is at ``k * DT_S``. It follows the unicycle
    of ``alpamayo_ros.model.unicycle`` exactly. ``strips``: paving and paint, in drawing order;
    ``fixed``: what stands still; ``moving``: one tuple a step, what moves or changes state.
    ``navigation``: one entry a step, an instruction or None.
    """

    kind: str
    seed: int
    look: Look
    strips: tuple[Strip, ...]
    fixed: tuple[Thing, ...]
    moving: tuple[tuple[Thing, ...], ...]
    ego: np.ndarray
    navigation: tuple[str | None, ...]

    def things(self, step: int) -> tuple[Thing, ...]:
        """Everything that stands on the ground at a step."""
        return self.fixed + self.moving[step]


@dataclass(frozen=True)
class Sample:
    """One instant of a drive, with what a planner is asked and what it should answer.

    Everything is in the ego frame at the step, m and rad. ``history_xyz`` (16, 3), ``history_rot``
    (16, 3, 3): oldest first, the last is the origin. ``future_xyz`` (64, 3), ``future_rot``
    (64, 3, 3): the first is 0.1 s later. ``cause``: which of ``CAUSES`` of the world's ``causes``
    binds the driver. ``reasoning``: a sentence that says so. ``manoeuvre``: what the text states
    the vehicle does, (longitudinal, lateral) of ``causes``. ``others``: further sensible futures,
    each (64, 3), and ``other_controls`` the accelerations m/s^2 and curvatures 1/m that lead to
    them, each (64, 2). ``facts``: numbers for training and evaluation, such as 'stop_line_m', the
    distance from the rear axle to the line the vehicle must not cross, or 'route_30m', how much
    the route turns over the next 30 m, rad, left positive.
    """

    drive: Drive
    step: int
    cause: str
    reasoning: str
    manoeuvre: tuple[str, str]
    navigation: str | None
    history_xyz: np.ndarray
    history_rot: np.ndarray
    future_xyz: np.ndarray
    future_rot: np.ndarray
    others: tuple[np.ndarray, ...] = ()
    other_controls: tuple[np.ndarray, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)
