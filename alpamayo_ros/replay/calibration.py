"""What a bag says about its cameras: ``camera_info`` and the static transforms of the vehicle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from alpamayo_ros.calibration import CalibrationError, Rig, cameras_of_run
from alpamayo_ros.drive.bag import Bag, BagError
from alpamayo_ros.replay.feed import deserialize
from alpamayo_ros.replay.sources import Sources

INFO_TYPE = 'sensor_msgs/msg/CameraInfo'
TRANSFORMS = {'/tf_static': 'tf2_msgs/msg/TFMessage'}
# Calibration is latched or repeated: what does not come in this time does not come.
_READ_NS = 20_000_000_000

Transform = tuple[str, np.ndarray, np.ndarray]
"""Parent frame, translation (3,) m, quaternion (4,) x, y, z, w."""


def bag_calibration(bag: Bag, sources: Sources, base_frame: str) -> dict[str, dict[str, Any]]:
    """Return what the bag has for each camera, as ``alpamayo_ros.calibration`` reads it.

    Without ``position_m`` and ``orientation_xyzw`` where no chain of transforms leads from
    ``base_frame`` to the camera's frame. Damage in the bag ends the reading.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    wanted = {topic: INFO_TYPE for topic in sources.infos.values()} | TRANSFORMS
    wanted = {topic: kind for topic, kind in wanted.items()
              if topic in bag.topics and bag.topics[topic].msgtype == kind}
    infos: dict[str, Any] = {}
    transforms: dict[str, Transform] = {}
    try:
        for message in bag.messages(wanted, stop_ns=bag.start_ns + _READ_NS):
            content = deserialize(store, message.data, wanted[message.topic])
            if message.topic in TRANSFORMS:
                transforms.update(_transforms(content))
            else:
                infos.setdefault(message.topic, content)
    except BagError:
        pass  # the replay itself comes here too, and says it
    found = {}
    for camera, topic in sources.infos.items():
        info = infos.get(topic)
        if info is None:
            continue
        found[camera] = {
            'size_px': [int(info.width), int(info.height)], 'k': [float(x) for x in info.k],
            'd': [float(x) for x in info.d], 'distortion_model': info.distortion_model or None,
            **place(info.header.frame_id, base_frame, transforms)}
    return found


def with_rig(calibration: Mapping[str, Mapping[str, Any]], rig: Rig) -> dict[str, dict[str, Any]]:
    """Return the calibration with what only the ``rig`` knows; ``CalibrationError``."""
    cameras = cameras_of_run(calibration, rig)
    complete = {name: dict(entry) for name, entry in calibration.items()}
    for name, camera in cameras.items():
        complete[name] = {
            'size_px': [camera.width, camera.height], 'k': camera.matrix.ravel().tolist(),
            'd': camera.distortion.tolist(), 'distortion_model': camera.distortion_model,
            'position_m': camera.position.tolist(),
            'orientation_xyzw': Rotation.from_matrix(camera.rotation.T).as_quat().tolist()}
    return complete


def usable(calibration: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, dict[str, Any]], str]:
    """Return the cameras whose calibration makes sense, and a sentence about the others."""
    good, bad = {}, []
    for name, entry in calibration.items():
        try:
            cameras_of_run({name: {'position_m': [0, 0, 0], **entry}}, None)
            good[name] = dict(entry)
        except CalibrationError as error:
            bad.append(str(error))
    return good, '; '.join(bad)


def place(frame: str, base_frame: str, transforms: Mapping[str, Transform]
          ) -> dict[str, list[float]]:
    """Return ``position_m`` and ``orientation_xyzw`` of ``frame`` in ``base_frame``, or nothing."""
    position, turn = np.zeros(3), Rotation.identity()
    for _ in range(len(transforms) + 1):
        if frame == base_frame:
            return {'position_m': position.tolist(), 'orientation_xyzw': turn.as_quat().tolist()}
        if frame not in transforms:
            break
        frame, translation, quaternion = transforms[frame]
        step = Rotation.from_quat(quaternion)
        position, turn = step.apply(position) + translation, step * turn
    return {}


def _transforms(message: Any) -> dict[str, Transform]:
    found = {}
    for item in message.transforms:
        shift, turn = item.transform.translation, item.transform.rotation
        quaternion = np.array([turn.x, turn.y, turn.z, turn.w])
        if np.isfinite(quaternion).all() and np.linalg.norm(quaternion) > 0.5:
            found[item.child_frame_id.lstrip('/')] = (
                item.header.frame_id.lstrip('/'), np.array([shift.x, shift.y, shift.z]),
                quaternion)
    return found
