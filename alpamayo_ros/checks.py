"""Which candidates a vehicle could not drive, and why.

The released models integrate a unicycle by the trapezoid rule. That rule is undone here exactly,
step by step, so what is compared with the limits are the accelerations and curvatures the path was
made from: a path within the limits passes whatever its shape, and a single step beyond one fails.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.settings import PlausibilityLimits
from alpamayo_ros.types import Plan

# A turn within dt is dt * speed * curvature. Below this speed a step is so short that headings
# rounded to float32, or turned by a hair, read as any curvature; the turn is then judged as if the
# vehicle moved this fast, which still refuses turning on the spot.
CURVATURE_SPEED_FLOOR_MPS = 0.5

# Positions and headings come from float32: at 200 m a rounding of 8e-6 m is 2e-4 m/s in a speed,
# and the trapezoid rule carries it on with alternating sign, 0.04 m/s^2 after 64 steps.
_ACCEL_TOLERANCE_MPS2 = 0.1
_RELATIVE_TOLERANCE = 1e-3


def implausible_reasons(xyz: np.ndarray, rot: np.ndarray, *, v0: float, dt_s: float,
                        limits: PlausibilityLimits) -> list[tuple[str, ...]]:
    """Say for each candidate what a vehicle could not do; an empty tuple is a plausible one.

    ``xyz``: (candidates, waypoints, 3) m and ``rot``: (candidates, waypoints, 3, 3), in the ego
    frame at t0, waypoint k at t0 + (k + 1) ``dt_s``; ``v0``: the very speed at t0 that the paths
    were integrated from, m/s, negative in reverse. Reasons are short sentences with the worst
    number, where it is and the limit. A candidate that is not finite has that one reason.

    Raises ``ValueError`` for shapes that do not fit, a ``v0`` that is not finite or a ``dt_s``
    that is not above 0.
    """
    xyz = np.asarray(xyz, np.float64)
    rot = np.asarray(rot, np.float64)
    if xyz.ndim != 3 or xyz.shape[1] < 1 or xyz.shape[2] != 3:
        raise ValueError(f'xyz has shape {xyz.shape}; expected (candidates, waypoints, 3)')
    if rot.shape != (*xyz.shape[:2], 3, 3):
        raise ValueError(f'rot has shape {rot.shape}; expected {(*xyz.shape[:2], 3, 3)}')
    if not np.isfinite(v0):
        raise ValueError(f'v0 is {v0}; expected a finite speed')
    if not (np.isfinite(dt_s) and dt_s > 0):
        raise ValueError(f'dt_s is {dt_s}; expected a time above 0')

    reasons: list[tuple[str, ...]] = [('not finite',)] * len(xyz)
    # The largest coordinate bounds every square below, so nothing overflows on the way.
    usable = np.flatnonzero((np.abs(xyz) < 1e9).all(axis=(1, 2))
                            & np.isfinite(rot).all(axis=(1, 2, 3)))
    if len(usable):
        findings = _findings(xyz[usable], rot[usable], float(v0), float(dt_s), limits)
        for row, index in enumerate(usable):
            reasons[index] = tuple(finding.sentence(row) for finding in findings
                                   if finding.exceeded[row])
    return reasons


def why_implausible(plan: Plan) -> str:
    """Say why a plan without a plausible candidate is not published.

    All reasons of all candidates would be a page: those of the best, and a count.
    """
    best = plan.candidates[0]
    return (f'all {len(plan.candidates)} candidates are implausible, the first (sample '
            f'{best.sample}) because {"; ".join(best.reasons)}')


@dataclass(frozen=True)
class _Finding:
    """One check of every candidate: the worst value, the step where it is, and the limit."""

    name: str
    unit: str
    value: np.ndarray
    limit: float
    exceeded: np.ndarray
    step: np.ndarray | None = None

    def sentence(self, row: int) -> str:
        where = '' if self.step is None else f' at waypoint {self.step[row]}'
        return f'{self.name} {self.value[row]:.3f} {self.unit}{where}, limit {self.limit:.3f}'


def _findings(xyz: np.ndarray, rot: np.ndarray, v0: float, dt: float,
              limits: PlausibilityLimits) -> list[_Finding]:
    start = np.linalg.norm(xyz[:, 0], axis=-1)
    start_limit = abs(v0) * dt + limits.max_start_offset_m
    off_vehicle = start > start_limit

    turn, mean_speed = _turns_and_mean_speeds(xyz, rot, dt)
    if xyz.shape[1] > 2:
        # The way from the vehicle to a start elsewhere was never driven; leave it out, so that
        # one fault does not show up as five.
        second, third = mean_speed[off_vehicle, 1], mean_speed[off_vehicle, 2]
        mean_speed[off_vehicle, 0] = 1.5 * second - 0.5 * third
        turn[off_vehicle, 0] = 0.0
    accel = _accelerations(mean_speed, v0, dt, anchored=~off_vehicle)
    curvature = np.abs(turn) / (dt * np.maximum(np.abs(mean_speed), CURVATURE_SPEED_FLOOR_MPS))
    lateral = np.abs(mean_speed * turn) / dt
    backward = np.maximum(-mean_speed * dt, 0.0).sum(axis=1)

    return [
        _Finding('starts off the vehicle: first waypoint at', 'm', start, start_limit,
                 off_vehicle),
        _Finding('runs backwards', 'm', backward, limits.max_backward_m,
                 backward > limits.max_backward_m),
        _worst('acceleration', 'm/s^2', accel, limits.max_accel_mps2, _ACCEL_TOLERANCE_MPS2),
        _worst('deceleration', 'm/s^2', -accel, limits.max_decel_mps2, _ACCEL_TOLERANCE_MPS2),
        _worst('curvature', '1/m', curvature, limits.max_curvature_1pm),
        _worst('lateral acceleration', 'm/s^2', lateral, limits.max_lateral_accel_mps2),
    ]


def _worst(name: str, unit: str, values: np.ndarray, limit: float,
           tolerance: float = 0.0) -> _Finding:
    step = values.argmax(axis=1)
    worst = values[np.arange(len(values)), step]
    return _Finding(name, unit, worst, limit,
                    worst > limit * (1 + _RELATIVE_TOLERANCE) + tolerance, step)


def _turns_and_mean_speeds(xyz: np.ndarray, rot: np.ndarray,
                           dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Heading change (candidates, waypoints) rad and signed mean speed m/s of every step.

    Step k leads to waypoint k; step 0 starts at the vehicle. The trapezoid rule makes the part of
    a displacement along the mean heading dt * mean speed * cos(turn / 2).
    """
    count = len(xyz)
    heading = np.concatenate(
        [np.zeros((count, 1)), np.arctan2(rot[..., 1, 0], rot[..., 0, 0])], axis=1)
    turn = np.diff(heading, axis=1)
    turn -= 2 * np.pi * np.round(turn / (2 * np.pi))
    middle = heading[:, :-1] + turn / 2
    moved = np.diff(xyz[..., :2], axis=1, prepend=np.zeros((count, 1, 2)))
    along = moved[..., 0] * np.cos(middle) + moved[..., 1] * np.sin(middle)
    # A half turn within one step (cosine 0) is no driving; the floor only keeps numbers finite.
    return turn, along / (dt * np.maximum(np.cos(turn / 2), 1e-3))


def _accelerations(mean_speed: np.ndarray, v0: float, dt: float,
                   anchored: np.ndarray) -> np.ndarray:
    """Acceleration of every step, (candidates, waypoints) m/s^2.

    The mean speed of a step is the mean of the speeds at its ends, so from v0 on each end follows:
    v_k+1 = 2 mean_k - v_k. A path that is not ``anchored`` to v0 starts with its own speed.
    """
    steps = mean_speed.shape[1]
    sign = np.where(np.arange(steps) % 2, -1.0, 1.0)
    start = np.where(anchored, v0, mean_speed[:, 0])
    # Written without a loop: multiplied by alternating signs the recursion is a running sum.
    ends = sign * (2 * np.cumsum(sign * mean_speed, axis=1) - start[:, None])
    return np.diff(ends, axis=1, prepend=start[:, None]) / dt
