"""How a path would be driven: speed and its derivatives, and whether a unicycle can follow it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.metrics.displacement import number


@dataclass(frozen=True)
class Motion:
    """A path as motion, step by step; step k leads to waypoint k, step 0 from the vehicle.

    ``speed``: (T,) m/s, the mean over the step, negative backwards; ``yaw_rate``: (T,) rad/s;
    ``acceleration``: (T,) m/s^2, between the middles of two steps, the first one from v0 at t0 to
    the middle of step 0; ``lateral_acceleration``: (T,) m/s^2; ``jerk``: (T - 2,) m/s^3.
    """

    speed: np.ndarray
    yaw_rate: np.ndarray
    acceleration: np.ndarray
    lateral_acceleration: np.ndarray
    jerk: np.ndarray


def motion(xyz: np.ndarray, yaw: np.ndarray, v0: float, dt_s: float) -> Motion:
    """Return the motion of a path (T, 3) m with headings (T,) rad in the ego frame at t0."""
    turn, speed = _steps(xyz, yaw, dt_s)
    between = np.diff(speed) / dt_s
    acceleration = np.concatenate([[(speed[0] - v0) / (dt_s / 2)], between])
    return Motion(speed, turn / dt_s, acceleration, speed * turn / dt_s, np.diff(between) / dt_s)


def kinematics(xyz: np.ndarray, yaw: np.ndarray, v0: float, dt_s: float
               ) -> dict[str, float | None]:
    """Return the extremes of a path's motion and its reconstruction error.

    Keys: ``max_speed_mps``, ``max_accel_mps2``, ``max_decel_mps2`` (positive),
    ``max_lateral_accel_mps2``, ``max_jerk_mps3``, ``max_yaw_rate_radps`` (of absolute values),
    ``reconstruction_m``. None for a path that is not finite.
    """
    names = ('max_speed_mps', 'max_accel_mps2', 'max_decel_mps2', 'max_lateral_accel_mps2',
             'max_jerk_mps3', 'max_yaw_rate_radps', 'reconstruction_m')
    if not (np.isfinite(xyz).all() and np.isfinite(yaw).all() and np.isfinite(v0)):
        return dict.fromkeys(names)
    moved = motion(xyz, yaw, v0, dt_s)
    accel, curvature = controls(xyz, yaw, v0, dt_s)
    again = path_of_controls(accel, curvature, v0, dt_s)
    residual = np.linalg.norm(again[:, :2] - xyz[:, :2], axis=-1).max()
    values = (np.abs(moved.speed).max(), max(0.0, moved.acceleration.max()),
              max(0.0, -moved.acceleration.min()), np.abs(moved.lateral_acceleration).max(),
              np.abs(moved.jerk).max(initial=0.0), np.abs(moved.yaw_rate).max(), residual)
    return {name: number(value) for name, value in zip(names, values, strict=True)}


def controls(xyz: np.ndarray, yaw: np.ndarray, v0: float, dt_s: float
             ) -> tuple[np.ndarray, np.ndarray]:
    """Return the accelerations (T,) m/s^2 and curvatures (T,) 1/m of a unicycle along a path.

    The trapezoid rule of the models undone step by step: exact for a path that was made by it. The
    curvature of a step without way is 0.
    """
    turn, mean = _steps(xyz, yaw, dt_s)
    sign = np.where(np.arange(len(mean)) % 2, -1.0, 1.0)
    # v[k + 1] = 2 mean[k] - v[k], as a running sum of alternating signs.
    ends = sign * (2 * np.cumsum(sign * mean) - v0)
    speeds = np.concatenate([[v0], ends])
    accel = np.diff(speeds) / dt_s
    way = dt_s * speeds[:-1] + 0.5 * dt_s ** 2 * accel
    usable = np.abs(way) > 1e-9
    return accel, np.where(usable, turn / np.where(usable, way, 1.0), 0.0)


def path_of_controls(accel: np.ndarray, curvature: np.ndarray, v0: float, dt_s: float
                     ) -> np.ndarray:
    """Return positions and headings (T, 3), m, m, rad, of a unicycle driven by controls (T,)."""
    speed = v0 + np.concatenate([[0.0], np.cumsum(accel * dt_s)])
    turn = curvature * (speed[:-1] * dt_s + 0.5 * accel * dt_s ** 2)
    yaw = np.concatenate([[0.0], np.cumsum(turn)])
    velocity = speed[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    plane = np.cumsum((velocity[:-1] + velocity[1:]) * (dt_s / 2), axis=0)
    return np.column_stack([plane, yaw[1:]])


def _steps(xyz: np.ndarray, yaw: np.ndarray, dt_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Heading change (T,) rad and mean speed (T,) m/s of every step."""
    headings = np.concatenate([[0.0], yaw])
    turn = np.diff(headings)
    turn = turn - 2 * np.pi * np.round(turn / (2 * np.pi))
    middle = headings[:-1] + turn / 2
    moved = np.diff(xyz[:, :2], axis=0, prepend=np.zeros((1, 2)))
    along = moved[:, 0] * np.cos(middle) + moved[:, 1] * np.sin(middle)
    return turn, along / (dt_s * np.maximum(np.cos(turn / 2), 1e-3))
