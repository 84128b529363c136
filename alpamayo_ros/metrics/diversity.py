"""How different the candidates of one plan are."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.metrics.displacement import number


def diversity(candidates_xyz: np.ndarray) -> dict[str, float | None]:
    """Return ``diversity_m`` and ``end_spread_m`` of candidates (N, T, 3) m; None for one alone.

    ``diversity_m``: the mean distance of two candidates, over all pairs and waypoints;
    ``end_spread_m``: the root mean square distance of the last waypoints from their mean. Both in
    the plane. Candidates that are not finite are left out.
    """
    points = candidates_xyz[np.isfinite(candidates_xyz).all(axis=(1, 2)), :, :2]
    count = len(points)
    if count < 2:
        return {'diversity_m': None, 'end_spread_m': None}
    total = sum(np.linalg.norm(points[index + 1:] - points[index], axis=-1).mean(axis=1).sum()
                for index in range(count - 1))
    ends = points[:, -1]
    spread = np.sqrt(((ends - ends.mean(axis=0)) ** 2).sum(axis=1).mean())
    pairs = count * (count - 1) / 2
    return {'diversity_m': number(total / pairs), 'end_spread_m': number(spread)}
