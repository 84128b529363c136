"""The unicycle written as loops in float64, from spec to numbers, for comparison."""

from __future__ import annotations

from math import atan2, cos, pi, sin

import numpy as np


def reference_v0(xyz: np.ndarray, rot: np.ndarray, dt: float, v_lambda: float = 1e-6,
                 v_ridge: float = 1e-4) -> float:
    """Speed at t0, m/s, of the history (P, 3) m and (P, 3, 3)."""
    theta = [atan2(matrix[1, 0], matrix[0, 0]) for matrix in np.asarray(rot, np.float64)]
    for index in range(1, len(theta)):
        while theta[index] - theta[index - 1] > pi:
            theta[index] -= 2 * pi
        while theta[index] - theta[index - 1] < -pi:
            theta[index] += 2 * pi
    count = len(theta)
    rows, right = [], []
    for index in range(count - 1):
        for axis, part in enumerate((cos, sin)):
            row = np.zeros(count)
            row[index], row[index + 1] = part(theta[index]), part(theta[index + 1])
            rows.append(row)
            right.append(2 * float(xyz[index + 1][axis] - xyz[index][axis]) / dt)
    for index in range(count - 3):
        row = np.zeros(count)
        row[index:index + 4] = -1, 3, -3, 1
        rows.append(row * np.sqrt(v_lambda) / dt ** 3)
        right.append(0.0)
    for index in range(count):
        row = np.zeros(count)
        row[index] = np.sqrt(v_ridge)
        rows.append(row)
        right.append(0.0)
    return float(np.linalg.lstsq(np.stack(rows), np.array(right), rcond=None)[0][-1])


def reference_rollout(action: np.ndarray, v0: float, space: dict, z: float
                      ) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, 3) m and rotations (T, 3, 3) of normalised actions (T, 2)."""
    dt, x, y, theta, speed = space['dt'], 0.0, 0.0, 0.0, v0
    xyz, rot = [], []
    for first, second in np.asarray(action, np.float64):
        accel = first * space['accel_std'] + space['accel_mean']
        curvature = second * space['curvature_std'] + space['curvature_mean']
        turned = theta + curvature * speed * dt + curvature * accel * dt ** 2 / 2
        faster = speed + accel * dt
        x += dt / 2 * (speed * cos(theta) + faster * cos(turned))
        y += dt / 2 * (speed * sin(theta) + faster * sin(turned))
        theta, speed = turned, faster
        xyz.append((x, y, z))
        rot.append(((cos(theta), -sin(theta), 0), (sin(theta), cos(theta), 0), (0, 0, 1)))
    return np.array(xyz), np.array(rot)
