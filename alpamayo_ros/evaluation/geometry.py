"""Distances between paths, how far they get and how they turn; baselines to compare with.

Paths are (T, 3) or (T, 2) m in the ego frame at t0, waypoint k at t0 + (k + 1) * ``DT_S``. Heights
are left out: the world is flat.
"""

from __future__ import annotations

import numpy as np

from alpamayo_ros.rig import FOOTPRINT_M
from alpamayo_ros.world.types import DT_S, FUTURE_STEPS

HORIZONS_S = (1.0, 3.0, 6.4)
FRONT_M = FOOTPRINT_M[1]
"""From the rear axle to the front bumper."""
_TURN_STEPS = 5
_HEADING_CHORD_M = 0.5


def steps(horizon_s: float) -> int:
    """Waypoints up to and with that time."""
    return round(horizon_s / DT_S)


def ade(path: np.ndarray, other: np.ndarray, horizon_s: float = HORIZONS_S[-1]) -> float:
    """Average displacement: mean distance, m, of the waypoints up to ``horizon_s``.

    ``path`` may also be several, (N, T, 3): then (N,). Infinite where a path is not finite.
    """
    count = steps(horizon_s)
    difference = np.asarray(path)[..., :count, :2] - np.asarray(other)[:count, :2]
    distance = np.hypot(difference[..., 0], difference[..., 1]).mean(axis=-1)
    distance = np.where(np.isfinite(distance), distance, np.inf)
    return distance if distance.ndim else float(distance)


def pairwise(paths: np.ndarray) -> float:
    """Mean ADE, m, over all pairs of (N, T, 3); 0 for a single path."""
    distances = [ade(paths[index + 1:], path) for index, path in enumerate(paths[:-1])]
    return float(np.concatenate(distances).mean()) if distances else 0.0


def spread(paths: np.ndarray) -> float:
    """Root mean square distance, m, of the last waypoints of (N, T, 3) from their mean."""
    ends = np.asarray(paths)[:, -1, :2]
    return float(np.sqrt(((ends - ends.mean(axis=0)) ** 2).sum(axis=-1).mean()))


def travelled(path: np.ndarray) -> np.ndarray:
    """(T,): the way from the vehicle along the path to each waypoint, m."""
    points = np.vstack([np.zeros((1, 2)), np.asarray(path)[:, :2]])
    return np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))


def speed_at_end(path: np.ndarray) -> float:
    """Mean speed, m/s, over the last second."""
    count = steps(1.0)
    moved = np.diff(np.asarray(path)[-count - 1:, :2], axis=0)
    return float(np.linalg.norm(moved, axis=1).sum() / (count * DT_S))


def heading_change(path: np.ndarray) -> float:
    """Radians the path turns left in all: the heading of its last half metre, unwrapped.

    A path shorter than that has not turned.
    """
    points = np.vstack([np.zeros((1, 2)), np.asarray(path)[:, :2]])
    chords = [points[0]]
    for point in points[1:]:
        # Headings of chords, not of steps: a vehicle at rest has no direction of motion.
        if np.linalg.norm(point - chords[-1]) >= _HEADING_CHORD_M:
            chords.append(point)
    moved = np.diff(np.array(chords), axis=0)
    if not len(moved):
        return 0.0
    headings = np.unwrap(np.concatenate([[0.0], np.arctan2(moved[:, 1], moved[:, 0])]))
    return float(headings[-1])


def yaw_rate(history_rot: np.ndarray) -> float:
    """Radians a second over the last half second of the history (16, 3, 3)."""
    yaw = np.unwrap(np.arctan2(history_rot[:, 1, 0], history_rot[:, 0, 0]))
    return float((yaw[-1] - yaw[-1 - _TURN_STEPS]) / (_TURN_STEPS * DT_S))


def constant_velocity(v0: float) -> np.ndarray:
    """(64, 3): straight on at ``v0`` m/s."""
    return constant_turn(v0, 0.0)


def constant_turn(v0: float, rate: float) -> np.ndarray:
    """(64, 3): on at ``v0`` m/s, turning ``rate`` radians a second, exactly."""
    t = np.arange(1, FUTURE_STEPS + 1) * DT_S
    angle = rate * t
    if abs(rate) * t[-1] < 1e-6:
        x, y = v0 * t, 0.5 * v0 * angle * t
    else:
        x, y = v0 * np.sin(angle) / rate, v0 * (1 - np.cos(angle)) / rate
    return np.stack([x, y, np.zeros_like(t)], axis=1)
