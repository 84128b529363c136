"""Writes the demo drive: a rosbag2 of six JPEG cameras, their calibration and odometry.

Stamps are as on a vehicle: every camera free-runs at 10 Hz with a phase of its own and a little
jitter, and a message is recorded some milliseconds after the exposure it is stamped with.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.drive.bag import BagError
from alpamayo_ros.drive.render import render
from alpamayo_ros.rig import NOMINAL_RIG
from alpamayo_ros.drive.scene import EgoMotion, Lane, Quads, car, street

INPUT_PREFIX = '/alpamayo/input'
ODOMETRY_TOPIC = f'{INPUT_PREFIX}/odometry'
ODOMETRY_FRAME, VEHICLE_FRAME = 'odom', 'base_link'

START_NS = 1_712_345_678_037_000_000
"""Clock of the first message: deliberately not on a tenth of a second."""
PHASES_MS = {'cross_left': 13, 'front_wide': 0, 'cross_right': 27, 'rear_left': 58,
             'rear_right': 73, 'front_tele': 41}
_CAMERA_PERIOD_NS = 100_000_000
_ODOMETRY_PERIOD_NS = 20_000_000
_INFO_PERIOD_NS = 1_000_000_000
_IMAGE_LATENCY_NS = 24_000_000
_ODOMETRY_LATENCY_NS = 2_000_000
# The scene's place in the odometry frame: far from the origin and turned, as after a while of
# driving, so that a path in the wrong frame cannot be mistaken for one in the right frame.
_SCENE_XYZ = np.array([312.5, -148.25, 21.0])
_SCENE_YAW = 0.9

_FOREVER = QosTime(9223372036, 854775807)
_QOS = [Qos(QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, QosDurability.VOLATILE, _FOREVER,
            _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False)]


@dataclass(frozen=True)
class DriveSettings:
    """``seconds`` of driving, ``seed`` of scenery and jitter, image ``width`` and ``height`` px,
    JPEG ``quality`` 1..100.
    """

    seconds: float = 10.0
    seed: int = 0
    width: int = 640
    height: int = 360
    quality: int = 70

    def __post_init__(self) -> None:
        for name, low, high in (('seconds', 0.1, 30.0), ('width', 64, 3840), ('height', 36, 2160),
                                ('quality', 1, 100), ('seed', 0, 2 ** 32 - 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f'{name} is {value}; expected {low} to {high}')


def image_topic(camera: str) -> str:
    """Return the topic of a camera's JPEG images."""
    return f'{INPUT_PREFIX}/{camera}/image/compressed'


def info_topic(camera: str) -> str:
    """Return the topic of a camera's calibration."""
    return f'{INPUT_PREFIX}/{camera}/camera_info'


def make_drive(out: Path, settings: DriveSettings,
               progress: Callable[[float], None] = lambda share: None) -> int:
    """Write the drive to the new directory ``out``; return the number of messages.

    ``progress`` is called with the share done, 0 to 1. The messages follow from ``settings``
    alone. ``BagError`` if ``out`` exists or cannot be written; nothing is left behind then.
    """
    if out.exists():
        raise BagError(f"'{out}' exists already; expected the name of a directory to make")
    store = get_typestore(Stores.ROS2_JAZZY)
    messages = _Messages(settings, store.types)
    finished = False
    try:
        with Writer(out, version=Writer.VERSION_LATEST) as writer:
            topics = {topic: writer.add_connection(topic, msgtype, typestore=store,
                                                   offered_qos_profiles=_QOS)
                      for topic, msgtype in messages.topics().items()}
            events = messages.schedule()
            for done, (recorded_ns, topic, stamp_ns) in enumerate(events):
                message = messages.make(topic, stamp_ns)
                writer.write(topics[topic], recorded_ns,
                             store.serialize_cdr(message, topics[topic].msgtype))
                progress((done + 1) / len(events))
        finished = True
    except (OSError, WriterError) as error:
        raise BagError(f"'{out}' cannot be written: {error}") from error
    finally:
        if not finished:
            shutil.rmtree(out, ignore_errors=True)
    return len(events)


class _Messages:
    """The messages of a drive, each made when asked for."""

    def __init__(self, settings: DriveSettings, types: dict) -> None:
        self._settings = settings
        self._types = types
        self._lane = Lane(settings.seconds)
        self._street = street(self._lane, settings.seed)
        self._makers = {ODOMETRY_TOPIC: ('nav_msgs/msg/Odometry', self._odometry)}
        for name in NOMINAL_RIG:
            self._makers[image_topic(name)] = (
                'sensor_msgs/msg/CompressedImage', lambda t, n=name: self._image(n, t))
            self._makers[info_topic(name)] = (
                'sensor_msgs/msg/CameraInfo', lambda t, n=name: self._info(n, t))

    def topics(self) -> dict[str, str]:
        """Return the message type of every topic."""
        return {topic: msgtype for topic, (msgtype, _) in self._makers.items()}

    def make(self, topic: str, stamp_ns: int) -> object:
        """Return the message of ``topic`` about the instant ``stamp_ns``."""
        return self._makers[topic][1](stamp_ns)

    def schedule(self) -> list[tuple[int, str, int]]:
        """Return (recording time, topic, stamp) of every message in recording order, ns."""
        return sorted(self._events())

    def _events(self) -> Iterator[tuple[int, str, int]]:
        rng = np.random.default_rng([self._settings.seed, 1])
        length_ns = int(self._settings.seconds * 1e9)
        for offset in range(0, length_ns, _ODOMETRY_PERIOD_NS):
            stamp = START_NS + offset
            yield (stamp + _ODOMETRY_LATENCY_NS + int(rng.integers(0, 1_000_000)),
                   ODOMETRY_TOPIC, stamp)
        for name, phase in PHASES_MS.items():
            for offset in range(phase * 1_000_000, length_ns, _CAMERA_PERIOD_NS):
                stamp = START_NS + offset + int(rng.integers(0, 1_500_000))
                yield (stamp + _IMAGE_LATENCY_NS + int(rng.integers(0, 8_000_000)),
                       image_topic(name), stamp)
            for offset in range(0, length_ns, _INFO_PERIOD_NS):
                yield (START_NS + offset + _IMAGE_LATENCY_NS, info_topic(name), START_NS + offset)

    def _motion(self, stamp_ns: int) -> tuple[float, EgoMotion]:
        seconds = (stamp_ns - START_NS) * 1e-9
        return seconds, self._lane.ego(seconds)

    def _header(self, stamp_ns: int, frame: str) -> object:
        stamp = self._types['builtin_interfaces/msg/Time'](
            sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
        return self._types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame)

    def _image(self, name: str, stamp_ns: int) -> object:
        seconds, ego = self._motion(stamp_ns)
        lead = car(*self._lane.lead(seconds), (158, 42, 42), braking=1.5 < seconds < 4.6)
        rgb = render(Quads.join([self._street, lead]), ego, NOMINAL_RIG[name],
                     self._settings.width, self._settings.height)
        ok, jpeg = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
                                [cv2.IMWRITE_JPEG_QUALITY, self._settings.quality])
        if not ok:
            raise BagError(f"the image of camera '{name}' could not be encoded as JPEG")
        return self._types['sensor_msgs/msg/CompressedImage'](
            header=self._header(stamp_ns, f'{name}_optical'), format='jpeg', data=jpeg.ravel())

    def _info(self, name: str, stamp_ns: int) -> object:
        width, height = self._settings.width, self._settings.height
        matrix = NOMINAL_RIG[name].intrinsics(width, height)
        region = self._types['sensor_msgs/msg/RegionOfInterest'](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        return self._types['sensor_msgs/msg/CameraInfo'](
            header=self._header(stamp_ns, f'{name}_optical'), height=height, width=width,
            distortion_model='plumb_bob', d=np.zeros(5), k=matrix.ravel(), r=np.eye(3).ravel(),
            p=np.hstack([matrix, np.zeros((3, 1))]).ravel(), binning_x=0, binning_y=0, roi=region)

    def _odometry(self, stamp_ns: int) -> object:
        _, ego = self._motion(stamp_ns)
        types = self._types
        vector = types['geometry_msgs/msg/Vector3']
        quaternion = types['geometry_msgs/msg/Quaternion']
        cos, sin = math.cos(_SCENE_YAW), math.sin(_SCENE_YAW)
        x, y, z = _SCENE_XYZ + (cos * ego.x - sin * ego.y, sin * ego.x + cos * ego.y, 0.0)
        yaw = ego.yaw + _SCENE_YAW
        covariance = np.diag([0.02, 0.02, 0.05, 1e-4, 1e-4, 1e-4]).ravel()
        pose = types['geometry_msgs/msg/Pose'](
            position=types['geometry_msgs/msg/Point'](x=x, y=y, z=z),
            orientation=quaternion(x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2)))
        twist = types['geometry_msgs/msg/Twist'](
            linear=vector(x=ego.speed, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=ego.yaw_rate))
        return types['nav_msgs/msg/Odometry'](
            header=self._header(stamp_ns, ODOMETRY_FRAME), child_frame_id=VEHICLE_FRAME,
            pose=types['geometry_msgs/msg/PoseWithCovariance'](pose=pose, covariance=covariance),
            twist=types['geometry_msgs/msg/TwistWithCovariance'](twist=twist,
                                                                covariance=covariance))
