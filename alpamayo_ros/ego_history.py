"""The ego motion a plan starts from: odometry at chosen instants, and whether it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.types import HISTORY_DT_NS, EgoState

# Speeds are compared as means over this many steps (0.5 s): a centimetre of noise in a position is
# 0.14 m/s in one step of 0.1 s but 0.03 m/s over five.
_WINDOW_STEPS = 5


@dataclass(frozen=True)
class HistoryLimits:
    """How far poses and twist of odometry may disagree.

    ``max_speed_mps``: a step between two poses that is faster is a jump, m/s.
    ``max_speed_disagreement_mps``: difference of the planar velocities, m/s, or, where it is more,
    ``max_speed_disagreement_ratio`` of the faster one. ``max_yaw_rate_disagreement_radps``: rad/s.
    """

    max_speed_mps: float = 70.0
    max_speed_disagreement_mps: float = 1.0
    max_speed_disagreement_ratio: float = 0.1
    max_yaw_rate_disagreement_radps: float = 0.15

    def __post_init__(self) -> None:
        for name in ('max_speed_mps', 'max_speed_disagreement_mps',
                     'max_yaw_rate_disagreement_radps'):
            require_above_0(name, getattr(self, name))
        ratio = self.max_speed_disagreement_ratio
        if not (math.isfinite(ratio) and ratio >= 0):
            raise ValueError(
                f'max_speed_disagreement_ratio is {ratio!r}; expected a number of at least 0')


def require_above_0(name: str, value: float) -> None:
    """Raise ``ValueError`` unless the value is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f'{name} is {value!r}; expected a number above 0')


def interpolate_states(pairs: Sequence[tuple[EgoState, EgoState]],
                       stamps_ns: Sequence[int]) -> list[EgoState]:
    """The state at each instant between a pair of states.

    Position and twist are linear, rotation is slerp. An instant that is the stamp of a state gives
    that very state.
    """
    weights = np.array([0.0 if after.stamp_ns == before.stamp_ns else
                        (stamp - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
                        for (before, after), stamp in zip(pairs, stamps_ns, strict=True)])
    start = Rotation.from_quat([before.orientation for before, _ in pairs])
    end = Rotation.from_quat([after.orientation for _, after in pairs])
    turn = (start.inv() * end).as_rotvec()
    orientations = (start * Rotation.from_rotvec(weights[:, None] * turn)).as_quat()

    states = []
    for pair, stamp, weight, orientation in zip(
            pairs, stamps_ns, weights, orientations, strict=True):
        before, after = pair
        if stamp in (before.stamp_ns, after.stamp_ns):
            states.append(before if stamp == before.stamp_ns else after)
            continue
        states.append(EgoState(
            stamp, _between(before.position, after.position, weight), orientation,
            _between(before.linear_velocity, after.linear_velocity, weight),
            _between(before.angular_velocity, after.angular_velocity, weight)))
    return states


def _between(first: np.ndarray, last: np.ndarray, weight: float) -> np.ndarray:
    first = np.asarray(first, np.float64)
    return first + weight * (np.asarray(last, np.float64) - first)


def in_ego_frame(states: Sequence[EgoState]) -> tuple[np.ndarray, np.ndarray]:
    """Poses in the frame of the last one: xyz (N, 3) float64 m and rot (N, 3, 3) float64."""
    rotations = Rotation.from_quat([state.orientation for state in states])
    positions = np.array([state.position for state in states], np.float64)
    to_ego = rotations[-1].inv()
    xyz = to_ego.apply(positions - positions[-1])
    rot = (to_ego * rotations).as_matrix()
    xyz[-1], rot[-1] = 0.0, np.eye(3)  # what rounding left of the identity
    return xyz, rot


def disagreement(states: Sequence[EgoState], xyz: np.ndarray, rot: np.ndarray,
                 limits: HistoryLimits) -> str | None:
    """Why a history cannot be believed, with the numbers; None when it can.

    The model derives the vehicle's speed from these poses and nothing else, so poses that jump,
    stand still or come from another source than the vehicle's motion would make every path wrong.
    The twist tells. ``states``: at least two, 0.1 s apart, ending at t0, twist in the body frame;
    ``xyz`` (N, 3) and ``rot`` (N, 3, 3): the same poses in the ego frame at t0.
    """
    dt = HISTORY_DT_NS / 1e9
    moved = np.diff(xyz, axis=0)
    speeds = np.linalg.norm(moved, axis=1) / dt
    fastest = int(speeds.argmax())
    if speeds[fastest] > limits.max_speed_mps:
        return (f'position jumps by {speeds[fastest] * dt:.2f} m '
                f'{_when(fastest, fastest + 1, len(states))}: {speeds[fastest]:.1f} m/s, '
                f'limit {limits.max_speed_mps:.1f} m/s')

    # Displacements as the vehicle sees them, half way between its headings at both ends.
    body = np.einsum('nij,ni->nj', rot[:-1] + rot[1:], moved) / (2 * dt)
    turned = Rotation.from_matrix(rot[:-1].transpose(0, 2, 1) @ rot[1:]).as_rotvec()[:, 2] / dt
    linear = np.array([state.linear_velocity for state in states], np.float64)[:, :2]
    yaw_rate = np.array([state.angular_velocity for state in states], np.float64)[:, 2]
    window = min(_WINDOW_STEPS, len(moved))

    posed, told = _means(body[:, :2], window), _means(_middles(linear), window)
    apart = np.linalg.norm(posed - told, axis=1)
    allowed = np.maximum(
        limits.max_speed_disagreement_mps, limits.max_speed_disagreement_ratio
        * np.maximum(np.linalg.norm(posed, axis=1), np.linalg.norm(told, axis=1)))
    worst = int((apart / allowed).argmax())
    if apart[worst] > allowed[worst]:
        return (f'speed from poses {_speed(posed[worst])} disagrees with twist '
                f'{_speed(told[worst])} {_when(worst, worst + window, len(states))}, '
                f'limit {allowed[worst]:.2f} m/s')

    posed, told = _means(turned, window), _means(_middles(yaw_rate), window)
    worst = int(np.abs(posed - told).argmax())
    if abs(posed[worst] - told[worst]) > limits.max_yaw_rate_disagreement_radps:
        return (f'yaw rate from poses {posed[worst]:.3f} rad/s disagrees with twist '
                f'{told[worst]:.3f} rad/s {_when(worst, worst + window, len(states))}, '
                f'limit {limits.max_yaw_rate_disagreement_radps:.3f} rad/s')
    return None


def _middles(values: np.ndarray) -> np.ndarray:
    return (values[:-1] + values[1:]) / 2


def _means(values: np.ndarray, window: int) -> np.ndarray:
    """Means over every ``window`` consecutive rows."""
    return np.lib.stride_tricks.sliding_window_view(values, window, axis=0).mean(axis=-1)


def _speed(velocity: np.ndarray) -> str:
    return (f'{np.hypot(*velocity):.2f} m/s (forward {velocity[0]:.2f}, left {velocity[1]:.2f})')


def _when(first: int, last: int, count: int) -> str:
    dt = HISTORY_DT_NS / 1e9
    return f'between t0 - {(count - 1 - first) * dt:.1f} s and t0 - {(count - 1 - last) * dt:.1f} s'
