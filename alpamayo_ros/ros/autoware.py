"""Candidate paths as what Autoware's planners exchange: trajectories with speeds, in one message.

The message classes are handed in, so this works, and is tested, without them. What means what, and
which fields there are, is in ``docs/autoware.md``.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.ros.conversions import stamp_to_ns

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticStatus
    from nav_msgs.msg import Path

_SECOND_NS = 1_000_000_000
_LEAST_POSES = 3
_NAMESPACE = uuid.UUID('6ae1ad3c-6d0a-5f38-9df3-5bd5c9d3c0d2')


class TrajectoryError(AlpamayoError):
    """Paths that cannot become trajectories; the message says which and why."""


@dataclass(frozen=True)
class AutowareTypes:
    """The classes of autoware_internal_planning_msgs and autoware_planning_msgs by their names."""

    CandidateTrajectories: type
    CandidateTrajectory: type
    GeneratorInfo: type
    TrajectoryPoint: type


@dataclass(frozen=True)
class Kinematics:
    """Motion along a path, one value a pose.

    ``speed``: m/s, negative backwards; ``acceleration``: m/s^2, of the speed without its sign;
    ``heading_rate``: rad/s about the vertical.
    """

    speed: np.ndarray
    acceleration: np.ndarray
    heading_rate: np.ndarray


def kinematics(positions: np.ndarray, orientations: np.ndarray, times_s: np.ndarray) -> Kinematics:
    """How a vehicle moves that is at ``positions`` (T, 3) m with ``orientations`` (T, 4), x, y, z,
    w, at ``times_s`` (T,), T of at least three.

    By differences to both sides, at the ends by the parabola through the last three: exact for a
    constant acceleration.
    """
    turns = Rotation.from_quat(orientations)
    ahead = turns.apply([1.0, 0.0, 0.0])
    steps = np.diff(positions, axis=0)
    forward = np.einsum('ij,ij->i', steps, ahead[:-1] + ahead[1:]) >= 0
    lengths = np.linalg.norm(steps, axis=1) * np.where(forward, 1.0, -1.0)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    speed = np.gradient(along, times_s, edge_order=2)
    yaw = np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0]))
    return Kinematics(speed, np.gradient(np.abs(speed), times_s, edge_order=2),
                      np.gradient(yaw, times_s, edge_order=2))


def generator_id(name: str) -> np.ndarray:
    """The UUID of a generator, (16,) uint8: the same for the same name, today and tomorrow."""
    return np.frombuffer(uuid.uuid5(_NAMESPACE, name).bytes, np.uint8)


def trajectories(paths: Sequence[Path], name: str, frame_id: str, types: AutowareTypes) -> Any:
    """The CandidateTrajectories of one plan, in the order of ``paths``, by the generator ``name``.

    Each trajectory keeps the header of its path: the stamp is t0, and ``time_from_start`` counts
    from it. ``TrajectoryError`` for paths of different plans, in another frame than ``frame_id``,
    or too short.
    """
    stamps = {stamp_to_ns(path.header.stamp) for path in paths}
    if len(stamps) != 1:
        raise TrajectoryError(f'the paths have {len(stamps)} different stamps; expected one')
    identity = generator_id(name)
    message = types.CandidateTrajectories()
    # Receivers look up the name of every trajectory's generator in this list.
    info = types.GeneratorInfo()
    info.generator_id.uuid, info.generator_name.data = identity, name
    message.generator_info = [info]
    message.candidate_trajectories = [
        _trajectory(path, identity, frame_id, types) for path in paths]
    return message


def _trajectory(path: Path, identity: np.ndarray, frame_id: str, types: AutowareTypes) -> Any:
    if path.header.frame_id != frame_id:
        raise TrajectoryError(
            f"the paths are in the frame '{path.header.frame_id}'; expected '{frame_id}' (the "
            "planner's parameter odometry_frame, the bridge's frame_id)")
    if len(path.poses) < _LEAST_POSES:
        raise TrajectoryError(f'a path has {len(path.poses)} poses; expected at least '
                              f'{_LEAST_POSES}')
    t0_ns = stamp_to_ns(path.header.stamp)
    offsets_ns = [stamp_to_ns(pose.header.stamp) - t0_ns for pose in path.poses]
    if offsets_ns[0] < 0 or np.min(np.diff(offsets_ns)) <= 0:
        raise TrajectoryError('the stamps of the poses of a path do not grow from its own on')
    poses = [pose.pose for pose in path.poses]
    motion = kinematics(
        np.array([[pose.position.x, pose.position.y, pose.position.z] for pose in poses]),
        np.array([[pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w]
                  for pose in poses]), np.array(offsets_ns) / 1e9)
    trajectory = types.CandidateTrajectory()
    trajectory.header = path.header
    trajectory.generator_id.uuid = identity
    trajectory.points = [
        _point(types, offset_ns, pose, *values) for offset_ns, pose, *values in zip(
            offsets_ns, poses, motion.speed.tolist(), motion.acceleration.tolist(),
            motion.heading_rate.tolist(), strict=True)]
    return trajectory


def _point(types: AutowareTypes, offset_ns: int, pose: Any, speed: float, acceleration: float,
           heading_rate: float) -> Any:
    point = types.TrajectoryPoint()
    point.time_from_start.sec, point.time_from_start.nanosec = divmod(offset_ns, _SECOND_NS)
    point.pose = pose
    point.longitudinal_velocity_mps = speed
    point.acceleration_mps2 = acceleration
    point.heading_rate_rps = heading_rate
    return point


def plausible(paths: Sequence[Path], info: DiagnosticStatus) -> list[Path]:
    """Those of a plan's paths that the planner's checks had nothing against, in their order.

    ``info``: the plan_info of the same plan. ``TrajectoryError`` when it does not tell of as many
    candidates.
    """
    values = {item.key: item.value for item in info.values}
    if values.get('candidates') != str(len(paths)):
        raise TrajectoryError(f"plan_info tells of {values.get('candidates')} candidates; expected "
                              f'{len(paths)}, as many as there are paths')
    missing = [rank for rank in range(len(paths)) if f'candidate.{rank}.reasons' not in values]
    if missing:
        raise TrajectoryError(f'plan_info has no candidate.{missing[0]}.reasons; expected the '
                              'reasons of every candidate, empty for a plausible one')
    return [path for rank, path in enumerate(paths) if not values[f'candidate.{rank}.reasons']]


def t0_of(info: DiagnosticStatus) -> int:
    """The stamp of the plan a plan_info is about, ns; ``TrajectoryError`` where it has none."""
    text = next((item.value for item in info.values if item.key == 't0'), '')
    seconds, _, nanoseconds = text.partition('.')
    if not (seconds.isdecimal() and nanoseconds.isdecimal() and len(nanoseconds) == 9):
        raise TrajectoryError(f"plan_info has the t0 '{text}'; expected seconds.nanoseconds")
    return int(seconds) * _SECOND_NS + int(nanoseconds)


class PathSet:
    """Gathers the paths of one plan, which come one by one with one stamp.

    ``dropped``: how many plans were not complete when the next began.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._paths: list[Path] = []
        self.dropped = 0

    def add(self, path: Path) -> list[Path] | None:
        """Take a path; all of its plan when this is the last one, otherwise None."""
        if self._paths and path.header.stamp != self._paths[0].header.stamp:
            self.dropped += 1
            self._paths = []
        self._paths.append(path)
        if len(self._paths) < self._count:
            return None
        complete, self._paths = self._paths, []
        return complete
