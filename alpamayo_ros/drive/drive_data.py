"""A recorded six-camera drive as arrays: poses along the way, camera images; free of ROS."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation, Slerp

from alpamayo_ros.drive.bag import Bag, BagError
from alpamayo_ros.drive.picture import View
from alpamayo_ros.drive.topics import ODOMETRY_TOPIC, image_topic
from alpamayo_ros.images import decode_compressed


class DriveData:
    """The odometry of a bag, and its images on request.

    ``stamps_ns``: (M,) of the odometry, ascending; ``positions``: (M, 3) m.
    """

    def __init__(self, bag: Bag) -> None:
        """Read the odometry of ``bag``; ``BagError`` when there is less than two of it."""
        self._bag = bag
        self._store = get_typestore(Stores.ROS2_JAZZY)
        rows = {}
        for message in bag.messages([ODOMETRY_TOPIC]) if ODOMETRY_TOPIC in bag.topics else ():
            odometry = self._store.deserialize_cdr(message.data, 'nav_msgs/msg/Odometry')
            pose = odometry.pose.pose
            rows[_nanoseconds(odometry.header.stamp)] = (
                pose.position.x, pose.position.y, pose.position.z, pose.orientation.x,
                pose.orientation.y, pose.orientation.z, pose.orientation.w)
        if len(rows) < 2:
            raise BagError(f"bag '{bag.path}' holds {len(rows)} messages on {ODOMETRY_TOPIC}; "
                           'expected odometry')
        self.stamps_ns = np.array(sorted(rows))
        table = np.array([rows[stamp] for stamp in self.stamps_ns.tolist()])
        self.positions = table[:, :3]
        self._seconds = (self.stamps_ns - self.stamps_ns[0]) * 1e-9
        self._turns = Slerp(self._seconds, Rotation.from_quat(table[:, 3:]))

    def poses(self, stamps_ns: Iterable[int]) -> tuple[np.ndarray, Rotation]:
        """Return positions (K, 3) m and rotations in the odometry frame, held beyond the ends."""
        times = (np.array(list(stamps_ns)) - self.stamps_ns[0]) * 1e-9
        times = np.clip(times, 0.0, self._seconds[-1])
        positions = np.stack([np.interp(times, self._seconds, self.positions[:, k])
                              for k in range(3)], axis=1)
        return positions, self._turns(times)

    def to_ego(self, points: np.ndarray, t0_ns: int) -> np.ndarray:
        """Turn points (..., 3) m of the odometry frame into the ego frame at ``t0_ns``."""
        positions, turns = self.poses([t0_ns])
        return (np.asarray(points) - positions[0]) @ turns[0].as_matrix()

    def history(self, t0_ns: int, steps: int = 16, dt_ns: int = 100_000_000) -> np.ndarray:
        """Return the (steps, 3) positions up to t0 in the ego frame at t0, oldest first."""
        stamps = [t0_ns - k * dt_ns for k in reversed(range(steps))]
        return self.to_ego(self.poses(stamps)[0], t0_ns)

    def views(self, cameras: Iterable[str], t0_ns: int) -> dict[str, View]:
        """Return the image of each camera nearest to ``t0_ns``; cameras without one are absent."""
        views = {}
        for camera in cameras:
            topic = image_topic(camera)
            if topic not in self._bag.topics:
                continue
            best = None
            for message in self._bag.messages([topic], start_ns=t0_ns - 500_000_000,
                                              stop_ns=t0_ns + 1_000_000_000):
                image = self._store.deserialize_cdr(message.data,
                                                    'sensor_msgs/msg/CompressedImage')
                offset = _nanoseconds(image.header.stamp) - t0_ns
                if best is None or abs(offset) < abs(best[0]):
                    best = offset, image
            if best is not None:
                offset, image = best
                views[camera] = View(decode_compressed(image.data, image.format), offset / 1e6)
        return views


def _nanoseconds(stamp: object) -> int:
    return stamp.sec * 1_000_000_000 + stamp.nanosec
