"""The overlay over DDS: a picture of the front frame a plan was made from, only where it is asked
for."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from harness import stamp_ns
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage

from alpamayo_ros.images import decode_compressed
from alpamayo_ros.resources import share_path

TOPIC = '/alpamayo/output/overlay/compressed'
INFO_TOPIC = '/alpamayo/input/front_wide/camera_info'
SIZE = (128, 72)
TIMEOUT_S = 60.0


class Pictures:
    """What comes on the overlay's topic."""

    def __init__(self, node) -> None:
        self._changed = threading.Condition()
        self.messages: list[CompressedImage] = []
        self._node = node
        self._subscription = node.create_subscription(
            CompressedImage, TOPIC, self._take,
            QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE))

    def _take(self, message: CompressedImage) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def wait(self, count: int) -> list[CompressedImage]:
        """So many more from now on."""
        with self._changed:
            before = len(self.messages)
            assert self._changed.wait_for(
                lambda: len(self.messages) >= before + count, TIMEOUT_S), 'no overlay came'
            return self.messages[before:]

    def close(self) -> None:
        """Listen no more."""
        self._node.destroy_subscription(self._subscription)


@pytest.fixture
def pictures(ros):
    """The overlay's subscriber of one test."""
    result = Pictures(ros)
    yield result
    result.close()


def camera_info(focal: float = 40.0) -> CameraInfo:
    """The calibration of the rig's front camera."""
    width, height = SIZE
    message = CameraInfo(width=width, height=height, distortion_model='plumb_bob', d=[0.0] * 5,
                         k=[focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0])
    message.header.frame_id = 'front_wide'
    return message


def calibrate(ros, info: CameraInfo):
    """Publish a camera_info ten times a second until the result is called."""
    publisher = ros.create_publisher(CameraInfo, INFO_TOPIC, 1)
    timer = ros.create_timer(0.1, lambda: publisher.publish(info))

    def stop() -> None:
        ros.destroy_timer(timer)
        ros.destroy_publisher(publisher)
    return stop


def test_off_by_default_there_is_no_topic(ros, drive, watcher):
    watcher.wait_for_plan()
    assert ros.count_publishers('/alpamayo/output/path') == 1
    assert ros.count_publishers(TOPIC) == 0
    assert ros.count_subscribers(INFO_TOPIC) == 0


def test_the_picture_is_of_the_front_frame_with_paths_drawn_in(ros, drive, watcher, pictures):
    sent = {}

    def note(message: CompressedImage) -> CompressedImage:
        sent[stamp_ns(message.header.stamp)] = message
        return message

    drive.rig.edit['front_wide'] = note
    drive.reconfigure(publish_overlay=True)
    stop = calibrate(ros, camera_info())
    try:
        received = pictures.wait(2)
        watcher.wait_for_plan()
    finally:
        stop()
        drive.rig.edit.clear()
        drive.reconfigure(publish_overlay=False)
    plans = [stamp_ns(path.header.stamp) for path in watcher.paths]
    for message in received:
        stamp = stamp_ns(message.header.stamp)
        assert message.header.frame_id == 'front_wide'
        assert message.format == 'jpeg'
        assert min(abs(stamp - t0) for t0 in plans) <= 60_000_000
        picture = decode_compressed(message.data, message.format)
        original = decode_compressed(sent[stamp].data, sent[stamp].format)
        assert picture.shape == original.shape == (SIZE[1], SIZE[0], 3)
        change = np.abs(picture.astype(int) - original).max(axis=2)
        # The path lies on the ground: nothing above the horizon changes but by compression.
        assert change[:20].mean() < 20
        assert (change[40:] > 60).sum() > 100


def test_without_calibration_there_is_a_reason_and_the_plans_go_on(drive, watcher, pictures):
    drive.reconfigure(publish_overlay=True)
    try:
        drive.process.wait_for_output('no overlay: nothing has come on ' + INFO_TOPIC)
        watcher.wait_for_plan(2)
        assert pictures.messages == []
    finally:
        drive.reconfigure(publish_overlay=False)


def test_a_rig_file_needs_no_camera_info(ros, drive, pictures):
    drive.reconfigure(publish_overlay=True, rig_file=str(share_path('config', 'rig.yaml')))
    try:
        assert ros.count_subscribers(INFO_TOPIC) == 0
        assert pictures.wait(1)
    finally:
        drive.reconfigure(publish_overlay=False, rig_file='')


def test_a_rig_file_that_cannot_be_used_fails_configure_with_the_reason(drive, watcher, tmp_path):
    wrong = tmp_path / 'rig.yaml'
    wrong.write_text('cameras: {}\n')
    assert watcher.change('deactivate')
    assert watcher.change('cleanup')
    assert watcher.set(publish_overlay=True, rig_file=str(wrong)) == []
    try:
        assert not watcher.change('configure')
        drive.process.wait_for_output(
            rf"configure failed: rig file '{wrong}' has no camera front_wide")
        # Off, nobody reads it.
        assert watcher.set(publish_overlay=False) == []
        assert watcher.change('configure')
        assert watcher.change('activate')
    finally:
        drive.reconfigure(publish_overlay=False, rig_file='')
