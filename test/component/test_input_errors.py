"""Each fault of an input: named in /diagnostics, nothing crashes, plans come again after it."""

from __future__ import annotations

import copy
import math

import pytest
from harness import level_of, stamp_ns, values_of
from rig import ODOMETRY, jpeg, picture

from alpamayo_ros.ros.conversions import ns_to_stamp

CAMERA = 'front_wide'


def truncated(message):
    """The JPEG without its second half."""
    message.data = message.data[:len(message.data) // 2]
    return message


def corrupt(message):
    """The JPEG with its tables and first scan overwritten."""
    data = bytearray(message.data)
    data[2:200] = bytes(198)
    message.data = bytes(data)
    return message


def unknown_format(message):
    """An encoding nobody knows."""
    message.format, message.data = 'h266', b'\x00\x01\x02\x03' * 20
    return message


def empty(message):
    """No data at all."""
    message.data = b''
    return message


@pytest.mark.parametrize(('fault', 'text'), [
    (truncated, 'JPEG|truncated|corrupt'), (corrupt, 'JPEG|corrupt|decode'),
    (unknown_format, 'h266|format'), (empty, 'empty|0 bytes|data'),
], ids=['truncated', 'corrupt', 'unknown_format', 'empty'])
def test_an_image_that_cannot_be_decoded(drive, watcher, fault, text):
    drive.rig.edit[CAMERA] = fault
    status = watcher.wait_for_status(CAMERA, 'ERROR', text)
    refused = int(values_of(status)['refused'])
    assert refused > 0
    assert values_of(status)['last_error'] == status.message
    plan = watcher.wait_for_status('plan', 'ERROR', CAMERA)
    assert level_of(plan) == 'ERROR'
    drive.recovers()
    # What happened stays to be read.
    assert values_of(watcher.status(CAMERA))['last_error'] != ''


def test_one_bad_image_now_and_then_is_a_warning_and_plans_go_on(drive, watcher):
    count = 0

    def sometimes(message):
        nonlocal count
        count += 1
        # Another message beside the good one: no frame is missing.
        return [truncated(copy.deepcopy(message)), message] if count % 20 == 0 else message

    drive.rig.edit[CAMERA] = sometimes
    watcher.wait_for_status(CAMERA, 'WARN', 'lately: ')
    watcher.wait_for_plan(2)
    drive.recovers()


def test_an_unknown_encoding_of_a_raw_image(drive, watcher):
    from rig import Rig
    drive.rig.pause()
    drive.reconfigure(image_transport='raw')
    raw = Rig(raw=True)

    def odd(message):
        message.encoding = 'bayer_of_the_future'
        return message

    def short(message):
        message.data = message.data[:100]
        return message

    try:
        raw.wait_for_readers()
        raw.start()
        watcher.wait_for_plan()
        raw.edit[CAMERA] = odd
        watcher.wait_for_status(CAMERA, 'ERROR', 'bayer_of_the_future')
        raw.edit[CAMERA] = short
        watcher.wait_for_status(CAMERA, 'ERROR', '100')
        raw.edit.clear()
        watcher.wait_for_status('plan', 'OK|WARN', '')
        watcher.wait_for_plan()
    finally:
        raw.stop()
        drive.reconfigure(image_transport='compressed')
        drive.rig.resume()
    watcher.wait_for_plan()


def test_a_changed_resolution_is_noted_and_planned_with(drive, watcher):
    larger = jpeg(picture(3, 96, 160))
    count = 0

    def grow(message):
        message.data = larger
        return message

    def now_and_then(message):
        # Again and again: on a busy machine another warning may take the place of one.
        nonlocal count
        count += 1
        return grow(message) if count // 25 % 2 == 0 else message

    drive.rig.edit[CAMERA] = now_and_then
    watcher.wait_for_status(CAMERA, 'WARN', 'resolution changed from 128 x 72 to 160 x 96')
    watcher.wait_for_status(CAMERA, 'WARN', 'resolution changed from 160 x 96 to 128 x 72')
    drive.rig.edit[CAMERA] = grow
    watcher.wait_for_plan(2)
    drive.recovers()


def with_nan(message):
    """A position that is not a number."""
    message.pose.pose.position.x = math.nan
    return message


def in_wrong_frame(message):
    """Odometry in another frame."""
    message.header.frame_id = 'map'
    return message


def of_wrong_child(message):
    """Odometry of another part of the vehicle."""
    message.child_frame_id = 'gps_antenna'
    return message


def no_rotation(message):
    """The quaternion of a message nobody filled."""
    message.pose.pose.orientation.x = message.pose.pose.orientation.y = 0.0
    message.pose.pose.orientation.z = message.pose.pose.orientation.w = 0.0
    return message


@pytest.mark.parametrize(('fault', 'text'), [
    (with_nan, 'position is .*nan.*finite'),
    (in_wrong_frame, "header.frame_id is 'map'; expected 'odom'"),
    (of_wrong_child, "child_frame_id is 'gps_antenna'; expected 'base_link'"),
    (no_rotation, 'unit quaternion'),
], ids=['nan', 'frame', 'child_frame', 'quaternion'])
def test_odometry_that_cannot_be_used(drive, watcher, fault, text):
    drive.rig.edit[ODOMETRY] = fault
    watcher.wait_for_status(ODOMETRY, 'ERROR', text)
    watcher.wait_for_status('plan', 'ERROR', ODOMETRY)
    drive.recovers()


def test_a_twist_that_disagrees_with_the_poses_is_refused_with_both_numbers(drive, watcher):
    def faster(message):
        message.twist.twist.linear.x = 21.0
        return message

    drive.rig.edit[ODOMETRY] = faster
    # 8 m/s from the poses against 21 m/s.
    watcher.wait_for_status('plan', 'ERROR', r'refused: odometry: .*(8\.0.*21|21.*8\.0)')
    drive.recovers()


def test_duplicate_stamps_are_counted_and_harmless(drive, watcher):
    drive.rig.edit[CAMERA] = lambda message: [message, message]
    drive.rig.edit[ODOMETRY] = lambda message: [message, message]
    for stream in (CAMERA, ODOMETRY):
        status = watcher.wait_for_status(stream, 'WARN', 'duplicate stamp')
        assert int(values_of(status)['refused']) > 0
    watcher.wait_for_plan(2)
    drive.recovers()


def test_stamps_out_of_order_are_put_in_order(drive, watcher):
    held: list = []

    def swapped(message):
        held.append(message)
        if len(held) < 2:
            return None
        messages = [held[1], held[0]]
        held.clear()
        return messages

    drive.rig.edit[CAMERA] = swapped
    watcher.wait_for_plan(3)
    drive.recovers()


def test_stamps_far_too_old_are_named(drive, watcher):
    count = 0

    def straggler(message):
        nonlocal count
        count += 1
        if count % 5:
            return message
        old = copy.deepcopy(message)
        old.header.stamp = ns_to_stamp(stamp_ns(message.header.stamp) - 8_000_000_000)
        return [message, old]

    drive.rig.edit[CAMERA] = straggler
    watcher.wait_for_status(CAMERA, 'WARN', 'older than the buffer')
    watcher.wait_for_plan(2)
    drive.recovers()


def test_a_camera_that_stops_is_named_and_nothing_is_published(drive, watcher):
    drive.rig.edit[CAMERA] = lambda message: None
    watcher.wait_for_status(CAMERA, 'ERROR', 'no message for')
    watcher.wait_for_status('plan', 'ERROR', f'{CAMERA}: ')
    watcher.wait_for_silence()
    drive.recovers()


def test_stamps_of_another_clock_are_refused_with_the_difference(drive, watcher):
    hour_ns = 3600 * 1_000_000_000

    def earlier(message):
        message.header.stamp = ns_to_stamp(stamp_ns(message.header.stamp) - hour_ns)
        return message

    for stream in drive.rig.topics:
        drive.rig.edit[stream] = earlier
    watcher.wait_for_status('plan', 'ERROR', r'stale: .*3600\.\d\d s behind the clock')
    drive.recovers()


def test_all_implausible_publishes_nothing_and_says_why(drive, watcher):
    drive.reconfigure(limits__max_lateral_accel_mps2=0.1, limits__max_accel_mps2=0.1,
                      limits__max_decel_mps2=0.1)
    try:
        status = watcher.wait_for_status(
            'plan', 'ERROR', 'implausible: all 32 candidates are implausible.*because .*limit 0.1')
        assert int(values_of(status)['implausible']) > 0
        watcher.wait_for_silence()
    finally:
        drive.reconfigure(limits__max_lateral_accel_mps2=8.0, limits__max_accel_mps2=6.0,
                          limits__max_decel_mps2=9.0)
    drive.recovers()


def test_some_implausible_come_last_and_are_marked(drive, watcher):
    drive.reconfigure(limits__max_lateral_accel_mps2=3.0)
    try:
        watcher.clear()
        watcher.wait(lambda: watcher.complete(), 'a complete plan')
        values = values_of(watcher.infos[0])
        reasons = [values[f'candidate.{rank}.reasons'] for rank in range(32)]
        plausible = int(values['plausible'])
        assert 0 < plausible < 32
        assert all(reason == '' for reason in reasons[:plausible])
        assert all('lateral acceleration' in reason for reason in reasons[plausible:])
        assert len(next(iter(watcher.complete().values()))) == 32
    finally:
        drive.reconfigure(limits__max_lateral_accel_mps2=8.0)
    drive.recovers()


def test_a_late_plan_is_not_published(drive, watcher):
    drive.reconfigure(max_plan_age_s=0.1)
    try:
        status = watcher.wait_for_status('plan', 'ERROR', 'late: the plan was .* after its t0')
        assert int(values_of(status)['late']) > 0
        watcher.wait_for_silence()
    finally:
        drive.reconfigure(max_plan_age_s=60.0)
    drive.recovers()
