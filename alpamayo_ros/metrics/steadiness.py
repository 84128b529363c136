"""How much the selected path moves from one plan to the next."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.metrics.displacement import number


def steadiness(previous_t0_ns: int, previous_xyz: np.ndarray, t0_ns: int, xyz: np.ndarray,
               dt_s: float) -> float | None:
    """Return the mean distance of two selected paths over the time both cover, m.

    Paths are (T, 3) m in one fixed frame (odometry), waypoint k at t0 + (k + 1) ``dt_s``; the
    previous one is interpolated where its waypoints are at other times. None when they share no
    time or one of them is not finite.
    """
    if not (np.isfinite(previous_xyz).all() and np.isfinite(xyz).all()):
        return None
    later = (t0_ns - previous_t0_ns) / 1e9
    own = dt_s * np.arange(1, len(previous_xyz) + 1)
    times = later + dt_s * np.arange(1, len(xyz) + 1)
    common = (times >= own[0] - 1e-9) & (times <= own[-1] + 1e-9)
    if later <= 0 or not common.any():
        return None
    before = np.column_stack([np.interp(times[common], own, previous_xyz[:, axis])
                              for axis in range(3)])
    return number(np.linalg.norm(xyz[common] - before, axis=1).mean())


def in_odometry(xyz: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Return points (..., 3) m of the ego frame in the frame of ``pose``: x y z qx qy qz qw."""
    x, y, z, w = pose[3:] / np.linalg.norm(pose[3:])
    matrix = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])
    return xyz @ matrix.T + pose[:3]
