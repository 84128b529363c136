"""What a path does, found from its speeds and curvatures; whether that is what was stated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.world.types import DT_S

_TIGHT_M = 24.0
"""Turns at junctions are tighter than this radius, bends of roads wider."""
_TURN_RAD = 0.3
_SHIFT_M = 0.55
_LEAVES_S = 3.0
_SOON_S = 4.0


@dataclass(frozen=True)
class Motion:
    """Figures of a path. Speeds m/s, ways m, angles rad.

    ``drop``, ``rise``: how far the speed falls below and rises above the first one before it does
    the other by ``threshold``, within 4 s; ``early``: way in the first 3 s; ``tight``: heading
    gained where the path is tighter than a bend; ``aside``: sideways way between two opposite
    bends, left positive.
    """

    v0: float
    slowest: float
    drop: float
    rise: float
    threshold: float
    early: float
    length: float
    tight: float
    aside: float


def motion(xyz: np.ndarray, v0: float) -> Motion:
    """Invert a path (T, 3) m, ego frame, steps of 0.1 s, the first at 0.1 s, from speed ``v0``.

    ``ValueError`` when it is not finite or too short.
    """
    xyz = np.asarray(xyz, dtype=np.float64)
    if xyz.ndim != 2 or xyz.shape[0] < 10 or xyz.shape[1] < 2 or not np.isfinite(xyz).all():
        raise ValueError(f'path has the shape {xyz.shape}; expected (T, 3) finite, T at least 10')
    points = np.concatenate([np.zeros((1, 2)), xyz[:, :2]])
    ahead = np.diff(points, axis=0)
    ways = np.hypot(ahead[:, 0], ahead[:, 1])
    speeds = np.concatenate([[v0], ways / DT_S])
    speeds = np.convolve(np.pad(speeds, 2, mode='edge'), np.full(5, 0.2), mode='valid')
    threshold = max(0.9, 0.12 * v0)
    change = speeds[:int(_SOON_S / DT_S) + 1] - v0
    slower, faster = change < -threshold, change > threshold
    first_slow = int(slower.argmax()) if slower.any() else len(change)
    first_fast = int(faster.argmax()) if faster.any() else len(change)
    drop = float(-change[:first_fast].min(initial=0.0))
    rise = float(change[:first_slow].max(initial=0.0))
    tight, aside = _across(points, ways)
    return Motion(float(v0), float(speeds.min()), drop, rise, threshold,
                  float(ways[:int(_LEAVES_S / DT_S)].sum()), float(ways.sum()), tight, aside)


def _across(points: np.ndarray, ways: np.ndarray) -> tuple[float, float]:
    """Heading gained in tight bends, and how far the path moves over between opposite bends."""
    along = np.concatenate([[0.0], np.cumsum(ways)])
    if along[-1] < 2.0:
        return 0.0, 0.0
    s = np.arange(0.0, along[-1], 1.0)
    keep = np.concatenate([[True], np.diff(along) > 1e-4])
    x = np.interp(s, along[keep], points[keep, 0])
    y = np.interp(s, along[keep], points[keep, 1])
    yaw = np.unwrap(np.concatenate([[0.0], np.arctan2(np.diff(y), np.diff(x))]))
    yaw = np.convolve(np.pad(yaw, 1, mode='edge'), np.full(3, 1 / 3), mode='valid')
    bend = np.diff(yaw)
    tight = float(bend[np.abs(bend) > 1.0 / _TIGHT_M].sum())
    best = 0.0
    for sign in (1.0, -1.0):
        # The furthest the path gets to that side of its start before it bends back.
        turned = sign * yaw
        peak = int(turned.argmax())
        back = turned[peak] - turned[peak:].min(initial=turned[peak])
        if turned[peak] > 0.035 and back > 0.6 * turned[peak]:
            moved = sign * float(np.max(sign * y))
            if abs(moved) > abs(best):
                best = moved
    return tight, best


def manoeuvre_of_path(xyz: np.ndarray, v0: float) -> tuple[str, str]:
    """What a path (T, 3) from speed ``v0`` m/s does: of ``LONGITUDINAL`` and of ``LATERAL``."""
    return manoeuvre_of(motion(xyz, v0))


def manoeuvre_of(found: Motion) -> tuple[str, str]:
    """``manoeuvre_of_path`` from a path's figures."""
    if found.v0 < 0.5 and found.early < 0.8:
        longitudinal = 'wait'
    elif found.v0 >= 0.5 and found.slowest < 0.5:
        longitudinal = 'stop'
    elif found.drop > found.threshold and found.drop >= found.rise:
        longitudinal = 'slow'
    else:
        longitudinal = 'accelerate' if found.rise > found.threshold else 'keep'
    if abs(found.tight) > _TURN_RAD:
        return longitudinal, 'turn_left' if found.tight > 0 else 'turn_right'
    if abs(found.aside) > _SHIFT_M:
        return longitudinal, 'pass_left' if found.aside > 0 else 'pass_right'
    return longitudinal, 'follow'


def agrees(stated: tuple[str, str], xyz: np.ndarray, v0: float) -> bool:
    """Whether a path (T, 3) from ``v0`` m/s is one of the stated manoeuvre.

    Tolerant where classes border on each other; 'any' goes with every path.
    """
    found = motion(xyz, v0)
    along, across = manoeuvre_of(found)
    return _along_agrees(stated[0], along, found) and _across_agrees(stated[1], across, found)


def _along_agrees(stated: str, seen: str, found: Motion) -> bool:
    if stated in ('any', seen):
        return True
    if stated == 'keep':
        return (found.slowest > 0.5 and max(found.drop, found.rise) < 1.8 * found.threshold)
    if stated == 'slow':
        return found.drop > 0.5 * found.threshold and (seen != 'stop' or found.slowest > 0.2)
    if stated == 'accelerate':
        return found.rise > 0.5 * found.threshold and found.length > 2.0
    if stated == 'stop':
        return found.slowest < 1.0 and (found.v0 >= 0.5 or found.length < 1.5)
    if stated == 'wait':
        return found.v0 < 1.0 and found.early < 1.0
    raise ValueError(f'stated manoeuvre is {stated!r}; expected one of world.causes.LONGITUDINAL')


def _across_agrees(stated: str, seen: str, found: Motion) -> bool:
    if stated in ('any', seen):
        return True
    if stated == 'follow':
        return abs(found.tight) < 1.5 * _TURN_RAD and abs(found.aside) < 1.5 * _SHIFT_M
    if stated in ('turn_left', 'turn_right'):
        return (found.tight if stated == 'turn_left' else -found.tight) > 0.6 * _TURN_RAD
    if stated in ('pass_left', 'pass_right'):
        return (found.aside if stated == 'pass_left' else -found.aside) > 0.6 * _SHIFT_M
    raise ValueError(f'stated manoeuvre is {stated!r}; expected one of world.causes.LATERAL')
