"""A drive between its steps, for cameras and odometry whose stamps lie off its grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.world.types import DT_S, Drive, Thing


@dataclass(frozen=True)
class Motion:
    """The ego motion at one instant: x, y m and yaw rad in the scene frame, speed m/s, yaw rate
    rad/s."""

    x: float
    y: float
    yaw: float
    speed: float
    yaw_rate: float


def _advance(ego: np.ndarray, after_s: float) -> np.ndarray:
    """Ego states (N, 6) that much later within their step, as the unicycle integrates it."""
    later = ego.copy()
    x, y, yaw, speed, accel, curvature = ego.T
    later[:, 3] = speed + accel * after_s
    later[:, 2] = yaw + curvature * (speed * after_s + accel * after_s ** 2 / 2)
    for column, wave in ((0, np.cos), (1, np.sin)):
        later[:, column] += after_s / 2 * (speed * wave(yaw) + later[:, 3] * wave(later[:, 2]))
    return later


def motion_at(drive: Drive, seconds: float) -> Motion:
    """The ego motion ``seconds`` after the drive's first step.

    ``ValueError`` beyond the drive.
    """
    step = math.floor(seconds / DT_S + 1e-9)
    if not 0 <= step < len(drive.ego):
        raise ValueError(f'{seconds:.3f} s is outside the drive; expected 0 to '
                         f'{len(drive.ego) * DT_S:.1f} s')
    row = _advance(drive.ego[step:step + 1], seconds - step * DT_S)[0]
    return Motion(*map(float, row[:4]), yaw_rate=float(row[3] * row[5]))


def between(drive: Drive, share: float) -> Drive:
    """The same drive ``share`` (0 to 1) of a step later at every step; one step shorter.

    ``ValueError`` for a share outside that range.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f'share is {share}; expected 0 up to but not with 1')
    moving = tuple(
        tuple(_mixed(a, b, share) for a, b in zip(now, after, strict=True))
        for now, after in zip(drive.moving, drive.moving[1:], strict=False))
    return replace(drive, ego=_advance(drive.ego, share * DT_S)[:-1], moving=moving,
                   navigation=drive.navigation[:-1])


def _mixed(now: Thing, after: Thing, share: float) -> Thing:
    turn = math.remainder(after.yaw - now.yaw, math.tau)
    return replace(now, x=now.x + share * (after.x - now.x), y=now.y + share * (after.y - now.y),
                   yaw=now.yaw + share * turn)
