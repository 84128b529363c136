"""How far candidates are from the way the vehicle went: ADE, FDE, minADE, misses."""

from __future__ import annotations

import numpy as np

HORIZONS_S = (1.0, 3.0, 6.4)
MISS_THRESHOLD_M = 2.0
"""A plan misses when no candidate ends within this distance of where the vehicle went, m."""


def displacement(candidates_xyz: np.ndarray, future_xyz: np.ndarray, dt_s: float,
                 horizons_s: tuple[float, ...] = HORIZONS_S) -> dict[str, float | None]:
    """Return the displacement figures of a plan, m, by horizon; None beyond the known future.

    ``candidates_xyz``: (N, T, 3) m, the selected one first; ``future_xyz``: (T, 3) m, NaN where it
    is not known; both in the ego frame at t0, waypoint k at (k + 1) ``dt_s``. Distances are in the
    plane. Keys: ``ade_<h>s`` and ``fde_<h>s`` of the selected candidate, ``min_ade_<h>s`` and
    ``min_fde_<h>s`` over all, ``miss_<h>s`` (1 or 0).
    """
    distances = np.linalg.norm(candidates_xyz[..., :2] - future_xyz[..., :2], axis=-1)
    figures: dict[str, float | None] = {}
    for horizon in horizons_s:
        count, name = round(horizon / dt_s), f'{horizon:g}s'
        known = 0 < count <= distances.shape[1] and bool(
            np.isfinite(future_xyz[:count, :2]).all())
        part = distances[:, :count] if known else np.full((1, 1), np.nan)
        mean, end = part.mean(axis=1), part[:, -1]
        nearest = lowest(end)
        figures |= {
            f'ade_{name}': number(mean[0]), f'fde_{name}': number(end[0]),
            f'min_ade_{name}': lowest(mean), f'min_fde_{name}': nearest,
            f'miss_{name}': None if nearest is None else float(nearest > MISS_THRESHOLD_M)}
    return figures


def number(value: float) -> float | None:
    """Return a finite number as such, any other as None."""
    return float(value) if np.isfinite(value) else None


def lowest(values: np.ndarray) -> float | None:
    """Return the least finite value, None without one."""
    finite = values[np.isfinite(values)]
    return float(finite.min()) if len(finite) else None
