"""Writes a drive of the driving world as a rosbag2: six JPEG cameras, calibration, motion.

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
from scipy.spatial.transform import Rotation

from alpamayo_ros.drive.bag import BagError
from alpamayo_ros.drive.topics import (
    MOUNTING_TOPIC,
    NAVIGATION_TOPIC,
    ODOMETRY_TOPIC,
    TRANSFORM_TOPIC,
    image_topic,
    info_topic,
)
from alpamayo_ros.rig import NOMINAL_RIG
from alpamayo_ros.world.between import Motion, between, motion_at
from alpamayo_ros.world.render import Renderer
from alpamayo_ros.world.scenarios import make_tour
from alpamayo_ros.world.types import DT_S

ODOMETRY_FRAME, VEHICLE_FRAME = 'odom', 'base_link'

START_NS = 1_712_345_678_037_000_000
"""Clock of the first message: deliberately not on a tenth of a second."""
LONGEST_S = 36.0
"""How long the tour is."""
PHASES_MS = {'cross_left': 13, 'front_wide': 0, 'cross_right': 27, 'rear_left': 58,
             'rear_right': 73, 'front_tele': 41}
_CAMERA_PERIOD_NS = round(DT_S * 1e9)
_ODOMETRY_PERIOD_NS = 20_000_000
_INFO_PERIOD_NS = 1_000_000_000
_IMAGE_LATENCY_NS = 24_000_000
_ODOMETRY_LATENCY_NS = 2_000_000
# The scene's place in the odometry frame: far from the origin and turned, as after a while of
# driving, so that a path in the wrong frame cannot be mistaken for one in the right frame.
_SCENE_XYZ = np.array([312.5, -148.25, 21.0])
_SCENE_YAW = 0.9

LATCHED_TOPICS = (NAVIGATION_TOPIC, MOUNTING_TOPIC)
_FOREVER = QosTime(9223372036, 854775807)
_QOS, _LATCHED = ([Qos(QosHistory.KEEP_LAST, depth, QosReliability.RELIABLE, durability, _FOREVER,
                      _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False)] for depth, durability in
                  ((10, QosDurability.VOLATILE), (1, QosDurability.TRANSIENT_LOCAL)))


@dataclass(frozen=True)
class DriveSettings:
    """``seconds`` of the tour with that ``seed``, image ``width`` and ``height`` px, JPEG
    ``quality`` 1..100.
    """

    seconds: float = 34.0
    seed: int = 5
    width: int = 400
    height: int = 240
    quality: int = 55

    def __post_init__(self) -> None:
        for name, low, high in (
                ('seconds', 0.1, LONGEST_S), ('width', 64, 3840), ('height', 36, 2160),
                ('quality', 1, 100), ('seed', 0, 2 ** 32 - 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f'{name} is {value}; expected {low} to {high}')


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
                                                   offered_qos_profiles=_LATCHED if topic in
                                                   LATCHED_TOPICS else _QOS)
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
        self._drive = make_tour(settings.seed)
        self._renderers = {name: Renderer(between(self._drive, phase * 1e-3 / DT_S))
                           for name, phase in PHASES_MS.items()}
        self._makers = {ODOMETRY_TOPIC: ('nav_msgs/msg/Odometry', self._odometry),
                        TRANSFORM_TOPIC: ('tf2_msgs/msg/TFMessage', self._transform),
                        MOUNTING_TOPIC: ('tf2_msgs/msg/TFMessage', self._mounting),
                        NAVIGATION_TOPIC: ('std_msgs/msg/String', self._navigation)}
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
            recorded = stamp + _ODOMETRY_LATENCY_NS + int(rng.integers(0, 1_000_000))
            yield recorded, ODOMETRY_TOPIC, stamp
            yield recorded, TRANSFORM_TOPIC, stamp
        yield START_NS, MOUNTING_TOPIC, START_NS
        for name, phase in PHASES_MS.items():
            for offset in range(phase * 1_000_000, length_ns, _CAMERA_PERIOD_NS):
                stamp = START_NS + offset + int(rng.integers(0, 1_500_000))
                yield (stamp + _IMAGE_LATENCY_NS + int(rng.integers(0, 8_000_000)),
                       image_topic(name), stamp)
            for offset in range(0, length_ns, _INFO_PERIOD_NS):
                yield (START_NS + offset + _IMAGE_LATENCY_NS, info_topic(name), START_NS + offset)
        given = None
        for step, instruction in enumerate(self._drive.navigation):
            stamp = START_NS + step * _CAMERA_PERIOD_NS
            if instruction != given and stamp < START_NS + length_ns:
                yield stamp + 1, NAVIGATION_TOPIC, stamp
            given = instruction

    def _motion(self, stamp_ns: int) -> Motion:
        return motion_at(self._drive, (stamp_ns - START_NS) * 1e-9)

    def _header(self, stamp_ns: int, frame: str) -> object:
        stamp = self._types['builtin_interfaces/msg/Time'](
            sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
        return self._types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame)

    def _navigation(self, stamp_ns: int) -> object:
        step = (stamp_ns - START_NS) // _CAMERA_PERIOD_NS
        return self._types['std_msgs/msg/String'](data=self._drive.navigation[step] or '')

    def _image(self, name: str, stamp_ns: int) -> object:
        # The jitter of a stamp, below 2 ms, is left out of the picture.
        rgb = self._renderers[name].image(
            (stamp_ns - START_NS) // _CAMERA_PERIOD_NS, NOMINAL_RIG[name], self._settings.width,
            self._settings.height, oversampling=2)
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

    def _vector(self, x: float, y: float, z: float) -> object:
        return self._types['geometry_msgs/msg/Vector3'](x=x, y=y, z=z)

    def _place(self, ego: Motion) -> tuple[np.ndarray, object]:
        """Position (3,) m and orientation of the vehicle in the odometry frame."""
        cos, sin = math.cos(_SCENE_YAW), math.sin(_SCENE_YAW)
        yaw = ego.yaw + _SCENE_YAW
        return (_SCENE_XYZ + (cos * ego.x - sin * ego.y, sin * ego.x + cos * ego.y, 0.0),
                self._types['geometry_msgs/msg/Quaternion'](
                    x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2)))

    def _tf(self, stamp_ns: int, parent: str, child: str, position: np.ndarray,
            orientation: object) -> object:
        return self._types['geometry_msgs/msg/TransformStamped'](
            header=self._header(stamp_ns, parent), child_frame_id=child,
            transform=self._types['geometry_msgs/msg/Transform'](
                translation=self._vector(*position), rotation=orientation))

    def _transform(self, stamp_ns: int) -> object:
        place = self._place(self._motion(stamp_ns))
        return self._types['tf2_msgs/msg/TFMessage'](transforms=[
            self._tf(stamp_ns, ODOMETRY_FRAME, VEHICLE_FRAME, *place)])

    def _mounting(self, stamp_ns: int) -> object:
        quaternion = self._types['geometry_msgs/msg/Quaternion']
        return self._types['tf2_msgs/msg/TFMessage'](transforms=[
            self._tf(stamp_ns, VEHICLE_FRAME, f'{name}_optical', np.array(camera.xyz),
                     quaternion(*Rotation.from_matrix(camera.rotation.T).as_quat()))
            for name, camera in NOMINAL_RIG.items()])

    def _odometry(self, stamp_ns: int) -> object:
        ego = self._motion(stamp_ns)
        types, vector = self._types, self._vector
        (x, y, z), orientation = self._place(ego)
        covariance = np.diag([0.02, 0.02, 0.05, 1e-4, 1e-4, 1e-4]).ravel()
        pose = types['geometry_msgs/msg/Pose'](
            position=types['geometry_msgs/msg/Point'](x=x, y=y, z=z), orientation=orientation)
        twist = types['geometry_msgs/msg/Twist'](
            linear=vector(ego.speed, 0.0, 0.0), angular=vector(0.0, 0.0, ego.yaw_rate))
        return types['nav_msgs/msg/Odometry'](
            header=self._header(stamp_ns, ODOMETRY_FRAME), child_frame_id=VEHICLE_FRAME,
            pose=types['geometry_msgs/msg/PoseWithCovariance'](pose=pose, covariance=covariance),
            twist=types['geometry_msgs/msg/TwistWithCovariance'](twist=twist,
                                                                covariance=covariance))
