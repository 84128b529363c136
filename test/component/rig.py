"""A vehicle made up for tests: six JPEG cameras out of phase at 10 Hz, odometry at 50 Hz.

It drives straight on at constant speed, up a slope and not along an axis, so that a rotation that
was forgotten shows. Time goes in ticks of 10 ms; every message and stamp follows from the tick, so
two runs with the same start publish the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import cv2
import numpy as np
import rclpy
from geometry_msgs.msg import Quaternion
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CompressedImage, Image

from alpamayo_ros.cameras import SIX_CAMERA_RIG
from alpamayo_ros.ros.conversions import ns_to_stamp

TICK_NS = 10_000_000
ODOMETRY = 'odometry'
_PHASE_TICKS = (0, 2, 3, 5, 7, 8)
_ATTITUDE = Rotation.from_euler('ZYX', [30.0, -4.0, 0.0], degrees=True)
_START = np.array([120.0, -35.0, 12.0])

Edit = Callable[[object], object]


def picture(index: int, height: int = 72, width: int = 128) -> np.ndarray:
    """A picture of its own for each index, BGR uint8."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([(rows * 3 + 17 * index) % 256, (columns * 2 + 31 * index) % 256,
                     (rows + columns + 7 * index) % 256], axis=-1).astype(np.uint8)


def jpeg(image: np.ndarray) -> bytes:
    """The picture as JPEG."""
    return cv2.imencode('.jpg', image)[1].tobytes()


class Rig:
    """Publishes in a thread of its own from ``start`` to ``stop``.

    ``clock``: 'wall' stamps with the system's time; 'sim' with its own, from ``start_ns``, and
    publishes /clock. ``edit``: by stream name, a function that gets a message and returns it
    changed, or None to leave it out, or a list to publish instead.
    """

    def __init__(self, *, prefix: str = '/alpamayo', clock: str = 'wall',
                 start_ns: int = 1_000_000_000_000, reliable: bool = False, raw: bool = False,
                 speed: float = 8.0, cameras: tuple[str, ...] = SIX_CAMERA_RIG) -> None:
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=20, reliability=policy)
        kind, suffix = (Image, '') if raw else (CompressedImage, '/compressed')
        # A node of its own that nobody spins: its topics can be taken away at any time.
        node = self._node = rclpy.create_node('rig')
        self._raw, self._sim, self.speed = raw, clock == 'sim', speed
        self._publishers = {
            name: node.create_publisher(kind, f'{prefix}/input/{name}/image{suffix}', qos)
            for name in cameras}
        self._publishers[ODOMETRY] = node.create_publisher(
            Odometry, f'{prefix}/input/odometry', qos)
        self._clock = node.create_publisher(Clock, '/clock', 10) if self._sim else None
        self._cameras = cameras
        self._pictures = [picture(index) for index in range(20)]
        self._jpegs = [jpeg(image) for image in self._pictures]
        self._base_ns = start_ns
        self._tick = 0
        self._running = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.edit: dict[str, Edit] = {}

    @property
    def topics(self) -> dict[str, str]:
        """Stream to topic."""
        return {name: publisher.topic_name for name, publisher in self._publishers.items()}

    @property
    def now_ns(self) -> int:
        """The time of the rig."""
        return self._base_ns + self._tick * TICK_NS

    def wait_for_readers(self, timeout_s: float = 20.0) -> None:
        """Until every topic has a subscriber."""
        deadline = time.monotonic() + timeout_s
        while any(publisher.get_subscription_count() == 0
                  for publisher in self._publishers.values()):
            if time.monotonic() > deadline:
                raise TimeoutError('no subscriber for some topic of the rig')
            time.sleep(0.02)

    def start(self) -> None:
        """Begin to publish."""
        if not self._sim:
            self._base_ns = time.time_ns() // TICK_NS * TICK_NS
        self._running.set()
        self._thread.start()

    def pause(self) -> None:
        """Stop time: nothing is published any more, /clock neither."""
        self._running.clear()

    def resume(self) -> None:
        """Go on; a sim clock where it was, a wall clock at the present."""
        self._running.set()

    def jump(self, seconds: float) -> None:
        """Set the clock, backwards for a negative time."""
        self._base_ns += round(seconds * 1e9)

    def publish_ticks(self, ticks: int) -> None:
        """Publish that many ticks at their pace, from this thread, and leave time there."""
        due = time.monotonic()
        for _ in range(ticks):
            self._publish()
            self._tick += 1
            due += TICK_NS / 1e9
            time.sleep(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        """End and take the topics away."""
        self._ended.set()
        self._running.set()
        if self._thread.is_alive():
            self._thread.join()
        self._node.destroy_node()

    def odometry(self, stamp_ns: int) -> Odometry:
        """Where the vehicle is at an instant."""
        message = Odometry(child_frame_id='base_link')
        message.header.stamp, message.header.frame_id = ns_to_stamp(stamp_ns), 'odom'
        # A loop of 100 s keeps the numbers small whatever the clock says.
        travelled = self.speed * (stamp_ns % 100_000_000_000) / 1e9
        position = _START + _ATTITUDE.apply([travelled, 0.0, 0.0])
        point = message.pose.pose.position
        point.x, point.y, point.z = position.tolist()
        x, y, z, w = _ATTITUDE.as_quat().tolist()
        message.pose.pose.orientation = Quaternion(x=x, y=y, z=z, w=w)
        message.twist.twist.linear.x = self.speed
        return message

    def image(self, camera: str, stamp_ns: int) -> CompressedImage | Image:
        """What a camera sees at an instant."""
        index = (self._cameras.index(camera) + 3 * (stamp_ns // 100_000_000)) % len(self._pictures)
        if self._raw:
            image = self._pictures[index]
            message = Image(height=image.shape[0], width=image.shape[1], encoding='bgr8',
                            step=3 * image.shape[1], data=image.tobytes())
        else:
            message = CompressedImage(format='bgr8; jpeg compressed bgr8',
                                      data=self._jpegs[index])
        message.header.stamp, message.header.frame_id = ns_to_stamp(stamp_ns), camera
        return message

    def _send(self, name: str, message: object) -> None:
        edit = self.edit.get(name)
        result = edit(message) if edit else message
        for item in result if isinstance(result, list) else [result]:
            if item is not None:
                self._publishers[name].publish(item)

    def _publish(self) -> None:
        now = self.now_ns
        ticks = now // TICK_NS
        if self._clock is not None:
            self._clock.publish(Clock(clock=ns_to_stamp(now)))
        if ticks % 2 == 0:
            self._send(ODOMETRY, self.odometry(now))
        for camera, phase in zip(self._cameras, _PHASE_TICKS, strict=False):
            if ticks % 10 == phase:
                self._send(camera, self.image(camera, now))

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            if not self._running.is_set():
                self._running.wait()
                due = time.monotonic()
                if not self._sim:
                    self._tick = (time.time_ns() - self._base_ns) // TICK_NS
            self._publish()
            self._tick += 1
            due += TICK_NS / 1e9
            time.sleep(max(0.0, due - time.monotonic()))
