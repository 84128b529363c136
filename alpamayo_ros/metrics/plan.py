"""All figures of one plan in one flat mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from alpamayo_ros.metrics.agreement import agreement
from alpamayo_ros.metrics.displacement import displacement
from alpamayo_ros.metrics.diversity import diversity
from alpamayo_ros.metrics.kinematics import kinematics
from alpamayo_ros.metrics.steadiness import in_odometry, steadiness


def plan_metrics(line: Mapping[str, Any], arrays: Mapping[str, np.ndarray], dt_s: float,
                 previous: tuple[int, np.ndarray] | None) -> dict[str, float | None]:
    """Return the figures of a plan of a run; None where one cannot be given.

    ``line`` and ``arrays``: what the run folder has for it; ``previous``: t0, ns, and selected path
    in the odometry frame (``selected_in_odometry``) of the plan before it, None without one.
    """
    candidates, yaw, v0 = arrays['candidates_xyz'], arrays['candidates_yaw'], line['v0']
    selected = candidates[0], yaw[0], v0, dt_s
    text = line['reasoning'][line['reasoning_of'][0]]
    steady = None if previous is None else steadiness(
        *previous, line['t0_ns'], selected_in_odometry(arrays), dt_s)
    return {
        **displacement(candidates, arrays['future_xyz'], dt_s), **diversity(candidates),
        **kinematics(*selected), 'steadiness_m': steady, **agreement(text, *selected),
        'plausible_share': float(np.mean(arrays['plausible']))}


def selected_in_odometry(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the selected path (T, 3) m in the odometry frame."""
    return in_odometry(arrays['candidates_xyz'][0], arrays['pose_at_t0'])
