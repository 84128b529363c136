"""Other road users: how they move along lines, and which of them keep clear of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.rig import FOOTPRINT_M
from alpamayo_ros.world.lines import Line
from alpamayo_ros.world.types import DT_S, Thing

PAINTS = ((235, 235, 235), (190, 195, 200), (40, 42, 48), (120, 125, 130), (165, 25, 30),
          (30, 60, 130), (25, 90, 60), (200, 170, 60), (110, 70, 45), (90, 140, 190))
CLOTHES = ((180, 40, 40), (40, 70, 150), (40, 40, 45), (210, 180, 60), (70, 120, 70),
           (150, 90, 150), (220, 220, 215))

_SIZES = {'car': ((4.1, 4.8), (1.75, 1.9), (1.4, 1.6)),
          'van': ((5.0, 6.0), (1.95, 2.05), (2.1, 2.6)),
          'truck': ((7.5, 9.5), (2.35, 2.5), (3.0, 3.5)),
          'bus': ((10.5, 12.0), (2.45, 2.55), (2.9, 3.2)),
          'pedestrian': ((0.45, 0.5), (0.5, 0.65), (1.55, 1.9)),
          'cyclist': ((1.7, 1.8), (0.55, 0.65), (1.65, 1.85))}


@dataclass(frozen=True)
class Body:
    """What a road user looks like: ``Thing.kind``, ``size`` m and ``colour``."""

    kind: str
    size: tuple[float, float, float]
    colour: tuple[int, int, int]

    @staticmethod
    def draw(rng: np.random.Generator, kind: str | None = None) -> Body:
        """One of a kind, or a vehicle as often as they are met."""
        if kind is None:
            kind = ('car', 'van', 'truck', 'bus')[int(np.searchsorted(
                (0.58, 0.78, 0.92), rng.random()))]
        size = tuple(float(rng.uniform(*span)) for span in _SIZES[kind])
        paints = CLOTHES if kind in ('pedestrian', 'cyclist') else PAINTS
        return Body(kind, size, paints[int(rng.integers(len(paints)))])


@dataclass(frozen=True)
class Mover:
    """A road user with its pose (steps, 3) and ``Thing.state`` at every step."""

    body: Body
    poses: np.ndarray
    states: Sequence[str]

    def things(self) -> list[Thing]:
        """The thing it is at every step."""
        body = self.body
        made: list[Thing] = []
        last = None
        for (x, y, yaw), state in zip(self.poses.tolist(), self.states, strict=True):
            if (x, y, yaw, state) != last:
                last = (x, y, yaw, state)
                made.append(Thing(body.kind, x, y, yaw, body.size, body.colour, state))
            else:
                made.append(made[-1])
        return made


def travel(start: float, speed: float, steps: int,
           changes: Sequence[tuple[int, float]] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Arc lengths m and speeds m/s at every step.

    ``changes``: (from step, acceleration m/s^2), ascending; it comes to rest and never reverses.
    """
    accel = np.zeros(steps)
    for begin, value in changes:
        accel[max(begin, 0):] = value
    speeds = np.maximum(speed + np.concatenate([[0.0], np.cumsum(accel[:-1] * DT_S)]), 0.0)
    ways = np.concatenate([[0.0], np.cumsum(0.5 * DT_S * (speeds[1:] + speeds[:-1]))])
    return start + ways, speeds


def mover_along(body: Body, line: Line, s: np.ndarray, offset: np.ndarray | float = 0.0,
                states: Sequence[str] | str = '', against: bool = False) -> Mover:
    """A road user whose middle is at arc lengths ``s`` (steps,); ``against`` heads backwards."""
    s = np.asarray(s, dtype=np.float64)
    offset = np.broadcast_to(np.asarray(offset, dtype=np.float64), s.shape)
    poses = line.poses(s, offset)
    if against:
        poses[:, 2] += np.pi
    elif np.ptp(offset) > 0.05:
        ahead = np.maximum(np.abs(np.gradient(s)), 0.05)
        poses[:, 2] += np.arctan2(np.gradient(offset), ahead)
    if isinstance(states, str):
        states = (states,) * len(s)
    return Mover(body, poses, states)


def standing(body: Body, x: float, y: float, yaw: float, state: str = '') -> Thing:
    """A road user that does not move."""
    return Thing(body.kind, x, y, yaw, body.size, body.colour, state)


def circles(poses: np.ndarray, length: float, width: float) -> np.ndarray:
    """Middles (steps, 4, 2) of four circles of ``width`` / 1.8 that cover a footprint."""
    along = np.linspace(-0.5, 0.5, 4) * max(length - 0.8 * width, 0.0)
    heading = np.stack([np.cos(poses[:, 2]), np.sin(poses[:, 2])], axis=-1)
    return poses[:, None, :2] + along[None, :, None] * heading[:, None]


def apart(first: np.ndarray, second: np.ndarray, distance: float, spread: int = 0) -> bool:
    """Whether circles (steps, n, 2) and (steps, m, 2) stay ``distance`` m from each other.

    ``spread``: also where the one was or will be that many steps from now.
    """
    steps = min(len(first), len(second))
    for lag in sorted({-spread, 0, spread}):
        one = first[max(0, lag):steps + min(0, lag)][::2]
        two = second[max(0, -lag):steps + min(0, -lag)][::2]
        near = one[:, :, None] - two[:, None]
        if len(near) and (near[..., 0] ** 2 + near[..., 1] ** 2).min() < distance ** 2:
            return False
    return True


def ego_circles(ego: np.ndarray) -> np.ndarray:
    """``circles`` of the ego vehicle from its states (steps, 6)."""
    middle = 0.5 * (FOOTPRINT_M[0] + FOOTPRINT_M[1])
    poses = ego[:, :3].copy()
    poses[:, 0] += middle * np.cos(ego[:, 2])
    poses[:, 1] += middle * np.sin(ego[:, 2])
    return circles(poses, FOOTPRINT_M[1] - FOOTPRINT_M[0], 2 * FOOTPRINT_M[2])


def keep_clear(ego: np.ndarray, needed: Sequence[Mover], extras: Sequence[Mover],
               spread: int = 12) -> list[Mover]:
    """Those of ``extras`` that never come near the ego, what is ``needed`` or one another.

    ``spread``: steps by which a time gap to the ego must be wide.
    """
    def cover(mover: Mover) -> tuple[np.ndarray, float]:
        length, width, _ = mover.body.size
        return circles(mover.poses, length, width), width / 1.8

    own, own_radius = ego_circles(ego), 2 * FOOTPRINT_M[2] / 1.8
    taken = [cover(mover) for mover in needed]
    kept = []
    for mover in extras:
        spots, radius = cover(mover)
        if not apart(own, spots, own_radius + radius + 0.15, spread):
            continue
        if all(apart(spots, other, radius + reach + 0.1) for other, reach in taken):
            taken.append((spots, radius))
            kept.append(mover)
    return kept


def off_path(ego: np.ndarray, extras: Sequence[Mover]) -> list[Mover]:
    """Those of ``extras`` that are at no time where the ego, states (steps, 6), is at any time."""
    own, own_radius = ego_circles(ego)[::2].reshape(-1, 2), 2 * FOOTPRINT_M[2] / 1.8
    kept = []
    for mover in extras:
        length, width, _ = mover.body.size
        spots = circles(mover.poses, length, width)[::2].reshape(-1, 2)
        near = own[:, None] - spots
        if (near ** 2).sum(axis=-1).min() > (own_radius + width / 1.8 + 0.15) ** 2:
            kept.append(mover)
    return kept
