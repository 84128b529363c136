"""Messages to core types and back: stamps, odometry, images, paths.

Every outgoing stamp comes from the plan's t0; nothing here reads a clock. Incoming messages are
known by their fields, outgoing ones made from ``messages``: those of a bag do as well as ROS's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.checks import why_implausible
from alpamayo_ros.errors import ObservationError
from alpamayo_ros.images import decode_compressed, decode_raw
from alpamayo_ros.ros.messages import ROS, Messages
from alpamayo_ros.types import EgoState, Plan

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from nav_msgs.msg import Odometry, Path
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import Header

_SECOND_NS = 1_000_000_000


def stamp_to_ns(stamp: Time) -> int:
    """Nanoseconds of a message stamp."""
    return stamp.sec * _SECOND_NS + stamp.nanosec


def ns_to_stamp(nanoseconds: int, messages: Messages = ROS) -> Time:
    """Message stamp of a time in nanoseconds."""
    return messages.Time(sec=nanoseconds // _SECOND_NS, nanosec=nanoseconds % _SECOND_NS)


def decode_image(message: CompressedImage | Image) -> np.ndarray:
    """RGB uint8 (H, W, 3) of an image message; ``ImageError`` says what is wrong with it."""
    if hasattr(message, 'encoding'):
        return decode_raw(message.data, height=message.height, width=message.width,
                          step=message.step, encoding=message.encoding,
                          is_bigendian=message.is_bigendian)
    return decode_compressed(message.data, message.format)


def ego_state(message: Odometry, *, odometry_frame: str, base_frame: str) -> EgoState:
    """The state in an odometry message; ``ObservationError`` when it is about other frames."""
    if message.header.frame_id != odometry_frame:
        raise ObservationError(f"header.frame_id is '{message.header.frame_id}'; expected "
                               f"'{odometry_frame}' (parameter odometry_frame)")
    if message.child_frame_id != base_frame:
        raise ObservationError(f"child_frame_id is '{message.child_frame_id}'; expected "
                               f"'{base_frame}' (parameter base_frame)")
    pose, twist = message.pose.pose, message.twist.twist
    return EgoState(
        stamp_ns=stamp_to_ns(message.header.stamp),
        position=np.array([pose.position.x, pose.position.y, pose.position.z]),
        orientation=np.array([pose.orientation.x, pose.orientation.y, pose.orientation.z,
                              pose.orientation.w]),
        linear_velocity=np.array([twist.linear.x, twist.linear.y, twist.linear.z]),
        angular_velocity=np.array([twist.angular.x, twist.angular.y, twist.angular.z]))


def why_not_published(plan: Plan) -> str | None:
    """Say why a plan must not be sent; None for one that may be.

    One candidate that is not finite holds the plan back: a set lacks none of its paths, and what
    reads them need not know of NaN.
    """
    if plan.selected is None:
        return why_implausible(plan)
    broken = sorted(candidate.sample for candidate in plan.candidates
                    if not (np.isfinite(candidate.xyz).all() and np.isfinite(candidate.rot).all()))
    if not broken:
        return None
    return (f'{len(broken)} of {len(plan.candidates)} candidates are not finite (sample '
            f'{", ".join(map(str, broken))}); expected numbers in every path of the set')


@dataclass(frozen=True)
class PlacedPlan:
    """The candidates of a plan, best first, in the frame they are published in.

    ``positions``: (N, T, 3) m; ``orientations``: (N, T, 4) quaternions x, y, z, w; ``origin`` (3,)
    and ``origin_orientation`` (4,): base_link at t0 in that frame. ``t0_ns`` and ``dt_ns``:
    waypoint k is at t0 + (k + 1) dt.
    """

    frame_id: str
    t0_ns: int
    dt_ns: int
    positions: np.ndarray
    orientations: np.ndarray
    origin: np.ndarray
    origin_orientation: np.ndarray

    def header(self, messages: Messages = ROS) -> Header:
        """The header every message about this plan has."""
        return messages.Header(stamp=ns_to_stamp(self.t0_ns, messages), frame_id=self.frame_id)


def place(plan: Plan, pose: EgoState | None, frame_id: str) -> PlacedPlan:
    """The plan in the frame ``pose`` is given in, or in base_link at t0 when it is None.

    Only of a plan that may be sent, see ``why_not_published``.
    """
    xyz = np.stack([candidate.xyz for candidate in plan.candidates])
    turns = Rotation.from_matrix(
        np.stack([candidate.rot for candidate in plan.candidates]).reshape(-1, 3, 3))
    origin, origin_orientation = np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0])
    if pose is not None:
        origin, origin_orientation = pose.position, pose.orientation
        ego = Rotation.from_quat(origin_orientation)
        xyz = ego.apply(xyz.reshape(-1, 3)).reshape(xyz.shape) + origin
        turns = ego * turns
    return PlacedPlan(
        frame_id, plan.t0_ns, round(plan.dt_s * _SECOND_NS), xyz,
        turns.as_quat().reshape(*xyz.shape[:2], 4), origin, origin_orientation)


def paths(placed: PlacedPlan, messages: Messages = ROS) -> Iterator[Path]:
    """One message a candidate, best first.

    It is the same message each time, filled anew: making 32 x 64 poses costs ten times as much as
    filling them. Publish or copy it before taking the next.
    """
    poses = [messages.PoseStamped(header=messages.Header(
        stamp=ns_to_stamp(placed.t0_ns + (k + 1) * placed.dt_ns, messages),
        frame_id=placed.frame_id)) for k in range(placed.positions.shape[1])]
    message = messages.Path(header=placed.header(messages), poses=poses)
    slots = [(pose.pose.position, pose.pose.orientation) for pose in poses]
    for positions, orientations in zip(placed.positions.tolist(), placed.orientations.tolist(),
                                       strict=True):
        for (position, orientation), xyz, quaternion in zip(slots, positions, orientations,
                                                            strict=True):
            position.x, position.y, position.z = xyz
            orientation.x, orientation.y, orientation.z, orientation.w = quaternion
        yield message
