"""`~/output/overlay/compressed`: the front view with the candidates drawn in, for people.

Made only where somebody listens, after the plan is out, in a thread of its own that always takes
the newest plan.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import simplejpeg
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header

from alpamayo_ros.calibration import CalibrationError, CameraModel, load_rig, read_camera
from alpamayo_ros.cameras import camera_by_name
from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.overlay import draw
from alpamayo_ros.ros.conversions import ns_to_stamp
from alpamayo_ros.ros.node_settings import OVERLAY_CAMERA, NodeSettings, OverlaySettings

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from alpamayo_ros.ros.worker import Finished
    from alpamayo_ros.types import CameraFrame

_JPEG_QUALITY = 80
_REMINDER_S = 10.0
_INFO_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_OUTPUT_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


def camera_from_info(info: CameraInfo, settings: OverlaySettings) -> CameraModel:
    """The camera that a camera_info is about, placed as the settings say.

    ``CalibrationError`` for one that is not calibrated or of an unknown distortion model.
    """
    yaw, pitch, roll = settings.angles_deg
    return read_camera(OVERLAY_CAMERA, {
        'size_px': [info.width, info.height], 'k': list(info.k), 'd': list(info.d),
        'distortion_model': info.distortion_model, 'position_m': list(settings.position_m),
        'yaw_deg': yaw, 'pitch_deg': pitch, 'roll_deg': roll}, 'camera_info')


def _camera_from_file(settings: OverlaySettings) -> CameraModel:
    camera = load_rig(settings.rig_file).cameras.get(OVERLAY_CAMERA)
    if camera is None:
        raise CalibrationError(f"rig file '{settings.rig_file}' has no camera {OVERLAY_CAMERA}; "
                               'expected one for the overlay (parameter rig_file)')
    return camera


class OverlayPublisher:
    """Takes plans with ``put``, gives pictures on its topic; ``close`` ends it.

    ``CalibrationError`` when the rig file cannot be used.
    """

    def __init__(self, node: LifecycleNode, settings: NodeSettings) -> None:
        self._node, self._settings = node, settings.overlay
        self._half_width_m = settings.footprint.width_m / 2
        self._camera_id = camera_by_name(OVERLAY_CAMERA).camera_id
        self._camera: CameraModel | None = None
        self._info: CameraInfo | None = None
        self._subscription = None
        if self._settings.rig_file is not None:
            self._camera = _camera_from_file(self._settings)
        else:
            self._subscription = node.create_subscription(
                CameraInfo, f'~/input/{OVERLAY_CAMERA}/camera_info', self._on_info, _INFO_QOS)
        self._publisher = node.create_lifecycle_publisher(
            CompressedImage, '~/output/overlay/compressed', _OUTPUT_QOS)
        self._frame_id = ''
        self._condition = threading.Condition()
        self._waiting: Finished | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name='overlay', daemon=True)
        self._thread.start()

    def image_arrived(self, camera: str, header: Header) -> None:
        """Note the frame the camera's images are in; for every image, of any camera."""
        if camera == OVERLAY_CAMERA:
            self._frame_id = header.frame_id

    def put(self, finished: Finished) -> None:
        """Hand over a plan that has been published; returns at once."""
        with self._condition:
            self._waiting = finished
            self._condition.notify()

    def close(self) -> None:
        """End the thread, after the picture in hand, and take the topics away."""
        with self._condition:
            self._closed, self._waiting = True, None
            self._condition.notify()
        self._thread.join()
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._node.destroy_lifecycle_publisher(self._publisher)

    def _on_info(self, info: CameraInfo) -> None:
        self._info = info

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting is not None or self._closed)
                if self._closed:
                    return
                finished, self._waiting = self._waiting, None
            try:
                self._make(finished)
            except AlpamayoError as error:
                self._remind(str(error))
            except Exception as error:  # a picture must never end the thread, let alone the node
                self._remind(f'{type(error).__name__}: {error}')

    def _remind(self, text: str) -> None:
        self._node.get_logger().warning(f'no overlay: {text}',
                                        throttle_duration_sec=_REMINDER_S)

    def _make(self, finished: Finished) -> None:
        if self._publisher.get_subscription_count() == 0:
            return
        frame = self._frame(finished)
        picture = draw(frame.preview, self._calibrated(), finished.plan, self._half_width_m,
                       (finished.plan.t0_ns - frame.stamp_ns) / 1e9)
        message = CompressedImage(format='jpeg', data=simplejpeg.encode_jpeg(
            picture, quality=_JPEG_QUALITY, colorspace='RGB'))
        message.header.stamp = ns_to_stamp(frame.stamp_ns)
        message.header.frame_id = self._frame_id
        self._publisher.publish(message)

    def _frame(self, finished: Finished) -> CameraFrame:
        """The newest frame of the camera that the plan was made from."""
        for frames in finished.observation.frames:
            if frames[-1].camera_id == self._camera_id and frames[-1].preview is not None:
                return frames[-1]
        raise AlpamayoError(f'the plan was made without a picture of {OVERLAY_CAMERA}')

    def _calibrated(self) -> CameraModel:
        info, self._info = self._info, None
        if info is not None:
            self._camera = camera_from_info(info, self._settings)
        if self._camera is None:
            raise CalibrationError(
                f'nothing has come on {self._subscription.topic_name}; expected a CameraInfo, or '
                'the parameter rig_file')
        return self._camera
