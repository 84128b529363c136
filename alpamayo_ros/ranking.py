"""The order in which candidates are published: the medoid first, then by distance to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Distances are compared to the nanometre, so that rounding never decides between equals.
_DECIMALS = 9


def rank(xyz: np.ndarray, plausible: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Order candidates by how close they are to the most central plausible one, the medoid.

    The distance of two candidates is the mean over time of the distance of their waypoints. The
    medoid is the plausible candidate with the least sum of distances to the plausible ones: a path
    the model did sample, in the middle of the largest agreement, which a mean path need not be.

    ``xyz``: (candidates, waypoints, 3) m; ``plausible``: one truth value a candidate. Returns
    ``order`` (candidates,) int, candidate indices best first, and ``scores`` (candidates,) m by
    candidate index, the distance to the medoid. Implausible candidates come after all plausible
    ones, also by distance; those that are not finite come last and have score inf. Equals keep
    their order. With no plausible candidate the finite ones choose the medoid.

    Raises ``ValueError`` for shapes that do not fit.
    """
    xyz = np.asarray(xyz, np.float64)
    accepted = np.asarray(plausible, bool)
    if xyz.ndim != 3 or 0 in xyz.shape:
        raise ValueError(f'xyz has shape {xyz.shape}; expected (candidates, waypoints, 3)')
    if accepted.shape != xyz.shape[:1]:
        raise ValueError(f'plausible has shape {accepted.shape}; expected {xyz.shape[:1]}')

    finite = np.isfinite(xyz).all(axis=(1, 2))
    accepted = accepted & finite
    scores = np.full(len(xyz), np.inf)
    electors = np.flatnonzero(accepted if accepted.any() else finite)
    if len(electors):
        sums = [_mean_distances(xyz[electors], xyz[index]).sum() for index in electors]
        medoid = electors[np.argmin(np.round(sums, _DECIMALS))]
        scores[finite] = _mean_distances(xyz[finite], xyz[medoid])
    order = np.lexsort((np.arange(len(xyz)), np.round(scores, _DECIMALS), ~accepted))
    return order, scores


def _mean_distances(paths: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Mean distance (candidates,) m of each of ``paths`` to one ``path`` (waypoints, 3)."""
    with np.errstate(over='ignore'):  # a finite number too large to square is infinitely far
        return np.linalg.norm(paths - path, axis=-1).mean(axis=-1)
