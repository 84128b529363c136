"""A load for the node: cameras out of phase and odometry in real time, as cheap to send as it gets.

The messages are made beforehand; only stamps change. What was sent when is kept, so that arrivals
can be counted and latencies taken.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from geometry_msgs.msg import Quaternion
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage

from alpamayo_ros.alignment import ODOMETRY
from alpamayo_ros.drive.node_process import NODE_NAME
from alpamayo_ros.ros.conversions import ns_to_stamp

CAMERA_PERIOD_NS = 100_000_000
ODOMETRY_PERIOD_NS = 20_000_000
_YAW = 0.5


@dataclass
class Sent:
    """What was sent on one stream: ``stamps_ns`` and, for each, the time it was, ``sent_ns``."""

    stamps_ns: list[int] = field(default_factory=list)
    sent_ns: list[int] = field(default_factory=list)


class CameraLoad:
    """Publishes to the node's inputs: camera i is i-th of the period late, straight on at
    ``speed`` m/s. ``sent`` by stream; ``late_s``: at worst so far behind time."""

    def __init__(self, node: Node, cameras: Sequence[str], jpegs: Sequence[bytes],
                 speed: float) -> None:
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._speed = speed
        self._publishers = {
            camera: node.create_publisher(
                CompressedImage, f'{NODE_NAME}/input/{camera}/image/compressed', qos)
            for camera in cameras}
        self._publishers[ODOMETRY] = node.create_publisher(
            Odometry, f'{NODE_NAME}/input/odometry', qos)
        self._images = {}
        for camera, data in zip(cameras, jpegs, strict=True):
            self._images[camera] = CompressedImage(format='jpeg', data=data)
            self._images[camera].header.frame_id = camera
        self._odometry = Odometry(child_frame_id='base_link')
        self._odometry.header.frame_id = 'odom'
        self._odometry.pose.pose.orientation = Quaternion(
            z=math.sin(_YAW / 2), w=math.cos(_YAW / 2))
        self._odometry.twist.twist.linear.x = speed
        self._phases = {camera: index * CAMERA_PERIOD_NS // len(cameras)
                        for index, camera in enumerate(cameras)}
        self.sent = {name: Sent() for name in self._publishers}
        self.late_s = 0.0

    def wait_for_readers(self, timeout_s: float, stop: threading.Event) -> list[str]:
        """Wait until every stream has a subscriber; return those that still have none."""
        deadline = time.monotonic() + timeout_s
        while True:
            missing = [name for name, publisher in self._publishers.items()
                       if not publisher.get_subscription_count()]
            if not missing or time.monotonic() > deadline or stop.wait(0.05):
                return missing

    def run(self, seconds: float, stop: threading.Event) -> None:
        """Publish for that long, or until ``stop`` is set."""
        begin = (time.time_ns() // CAMERA_PERIOD_NS + 1) * CAMERA_PERIOD_NS
        due = {name: begin + self._phases.get(name, 0) for name in self._publishers}
        end = begin + round(seconds * 1e9)
        while not stop.is_set():
            name = min(due, key=due.__getitem__)
            stamp = due[name]
            if stamp >= end:
                return
            wait_s = (stamp - time.time_ns()) / 1e9
            if wait_s > 0 and stop.wait(wait_s):
                return
            self._send(name, stamp)
            due[name] += ODOMETRY_PERIOD_NS if name == ODOMETRY else CAMERA_PERIOD_NS

    def _send(self, name: str, stamp: int) -> None:
        message = self._images.get(name, self._odometry)
        message.header.stamp = ns_to_stamp(stamp)
        if name == ODOMETRY:
            # A loop of 100 s keeps the numbers small whatever the clock says.
            travelled = self._speed * (stamp % 100_000_000_000) / 1e9
            point = self._odometry.pose.pose.position
            point.x, point.y = travelled * math.cos(_YAW), travelled * math.sin(_YAW)
        now = time.time_ns()
        self._publishers[name].publish(message)
        self.sent[name].stamps_ns.append(stamp)
        self.sent[name].sent_ns.append(now)
        self.late_s = max(self.late_s, (now - stamp) / 1e9)
