"""Messages to core types and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')

import cv2  # noqa: E402
from geometry_msgs.msg import Quaternion  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from alpamayo_ros.errors import ImageError, ObservationError  # noqa: E402
from alpamayo_ros.ros.conversions import (  # noqa: E402
    decode_image,
    ego_state,
    ns_to_stamp,
    paths,
    place,
    stamp_to_ns,
    why_not_published,
)
from alpamayo_ros.ros.plan_info import ModelIdentity, plan_info  # noqa: E402
from alpamayo_ros.types import Candidate, EgoState, Plan, Reasoning  # noqa: E402

T0 = 1_234_567_890_100_000_000


def make_plan(candidates: int = 3, waypoints: int = 4, reasons: tuple[str, ...] = ()) -> Plan:
    """Candidates that turn left by more and more; the last one has ``reasons``."""
    result = []
    for index in range(candidates):
        yaw = 0.05 * (index + 1) * np.arange(1, waypoints + 1)
        xyz = np.stack([np.arange(1, waypoints + 1) * 0.8, 0.1 * index * np.arange(waypoints),
                        np.zeros(waypoints)], axis=-1)
        result.append(Candidate(
            sample=candidates - 1 - index, reasoning=0, xyz=xyz,
            rot=Rotation.from_euler('z', yaw[:, None]).as_matrix(), action=np.zeros((waypoints, 2)),
            score=0.5 * index, reasons=reasons if index == candidates - 1 else ()))
    return Plan(t0_ns=T0, dt_s=0.1, v0=8.0, reasoning=(Reasoning('Go on.', '', '', 5, True),),
                candidates=tuple(result), seed=7, reasoning_mode='single',
                timings_ms={'vision': 1.25, 'expert': 2.5}, warnings=('cut short',))


def make_pose() -> EgoState:
    """Somewhere, on a slope, banked."""
    return EgoState(T0, np.array([10.0, -20.0, 3.0]),
                    Rotation.from_euler('ZYX', [130.0, -5.0, 3.0], degrees=True).as_quat(),
                    np.array([8.0, 0, 0]), np.zeros(3))


def broken(plan: Plan, *ranks: int, field: str = 'xyz') -> Plan:
    """The plan with a number that overflowed in the candidates of these ranks."""
    candidates = list(plan.candidates)
    for rank in ranks:
        value = getattr(candidates[rank], field).copy()
        value[-1, 0] = np.inf if rank % 2 else np.nan
        candidates[rank] = replace(candidates[rank], **{field: value}, reasons=('not finite',))
    return replace(plan, candidates=tuple(candidates))


def test_a_plan_of_which_one_candidate_is_not_finite_is_not_published_and_it_is_named():
    assert why_not_published(make_plan(reasons=('too fast',))) is None
    # Sampled in reverse: rank 4 is sample 0.
    for ranks, field, named in (((4,), 'xyz', '0'), ((4,), 'rot', '0'), ((3, 4), 'xyz', '0, 1')):
        assert why_not_published(broken(make_plan(5), *ranks, field=field)) == (
            f'{len(ranks)} of 5 candidates are not finite (sample {named}); '
            'expected numbers in every path of the set')
    assert why_not_published(broken(make_plan(2), 0, 1)) == (
        'all 2 candidates are implausible, the first (sample 1) because not finite')


@pytest.mark.parametrize('nanoseconds', [0, 1, 999_999_999, 1_000_000_000, T0])
def test_stamps_go_both_ways_without_loss(nanoseconds):
    stamp = ns_to_stamp(nanoseconds)
    assert 0 <= stamp.nanosec < 1_000_000_000
    assert stamp_to_ns(stamp) == nanoseconds


def odometry() -> Odometry:
    """A message with a different number in every place."""
    message = Odometry(child_frame_id='base_link')
    message.header.stamp, message.header.frame_id = ns_to_stamp(T0), 'odom'
    pose, twist = message.pose.pose, message.twist.twist
    pose.position.x, pose.position.y, pose.position.z = 1.0, 2.0, 3.0
    pose.orientation = Quaternion(x=0.1, y=0.2, z=0.3, w=0.4)
    twist.linear.x, twist.linear.y, twist.linear.z = 4.0, 5.0, 6.0
    twist.angular.x, twist.angular.y, twist.angular.z = 7.0, 8.0, 9.0
    return message


def test_odometry_becomes_an_ego_state():
    state = ego_state(odometry(), odometry_frame='odom', base_frame='base_link')
    assert state.stamp_ns == T0
    assert state.position.tolist() == [1.0, 2.0, 3.0]
    assert state.orientation.tolist() == [0.1, 0.2, 0.3, 0.4]
    assert state.linear_velocity.tolist() == [4.0, 5.0, 6.0]
    assert state.angular_velocity.tolist() == [7.0, 8.0, 9.0]


def test_odometry_of_other_frames_is_refused_with_both_names():
    with pytest.raises(ObservationError, match="header.frame_id is 'odom'; expected 'map'"):
        ego_state(odometry(), odometry_frame='map', base_frame='base_link')
    with pytest.raises(ObservationError, match="child_frame_id is 'base_link'; expected 'imu'"):
        ego_state(odometry(), odometry_frame='odom', base_frame='imu')


def test_images_of_both_kinds_become_rgb():
    bgr = np.zeros((8, 12, 3), np.uint8)
    bgr[..., 0], bgr[..., 2] = 10, 200
    raw = Image(height=8, width=12, encoding='bgr8', step=36, data=bgr.tobytes())
    assert decode_image(raw)[0, 0].tolist() == [200, 0, 10]
    png = CompressedImage(format='bgr8; png compressed bgr8',
                          data=cv2.imencode('.png', bgr)[1].tobytes())
    assert decode_image(png)[3, 5].tolist() == [200, 0, 10]
    with pytest.raises(ImageError, match='yuv9'):
        decode_image(Image(height=8, width=12, encoding='yuv9', step=36, data=bgr.tobytes()))


def test_in_base_link_a_plan_stays_as_it_is():
    plan = make_plan()
    placed = place(plan, None, 'base_link')
    for rank, candidate in enumerate(plan.candidates):
        assert placed.positions[rank] == pytest.approx(candidate.xyz)
        matrices = Rotation.from_quat(placed.orientations[rank]).as_matrix()
        assert matrices == pytest.approx(candidate.rot)
    assert placed.origin.tolist() == [0, 0, 0]


def test_in_odometry_a_plan_goes_through_the_whole_pose():
    plan, pose = make_plan(), make_pose()
    placed = place(plan, pose, 'odom')
    ego = Rotation.from_quat(pose.orientation).as_matrix()
    for rank, candidate in enumerate(plan.candidates):
        for k, (xyz, rot) in enumerate(zip(candidate.xyz, candidate.rot, strict=True)):
            assert placed.positions[rank, k] == pytest.approx(pose.position + ego @ xyz)
            assert Rotation.from_quat(placed.orientations[rank, k]).as_matrix() == (
                pytest.approx(ego @ rot))


def test_paths_are_stamped_t0_and_their_poses_one_step_after_another():
    placed = place(make_plan(), make_pose(), 'odom')
    count = 0
    for rank, message in enumerate(paths(placed)):
        assert stamp_to_ns(message.header.stamp) == T0
        assert message.header.frame_id == 'odom'
        assert [stamp_to_ns(pose.header.stamp) for pose in message.poses] == [
            T0 + (k + 1) * 100_000_000 for k in range(4)]
        # Over the wire, where wrong types would show.
        received = deserialize_message(serialize_message(message), type(message))
        positions = [[pose.pose.position.x, pose.pose.position.y, pose.pose.position.z]
                     for pose in received.poses]
        turns = [[pose.pose.orientation.x, pose.pose.orientation.y, pose.pose.orientation.z,
                  pose.pose.orientation.w] for pose in received.poses]
        assert positions == placed.positions[rank].tolist()
        assert turns == placed.orientations[rank].tolist()
        count += 1
    assert count == 3


def test_plan_info_lists_ages_stages_and_candidates():
    plan = make_plan(reasons=('too fast', 'too far'))
    identity = ModelIdentity('dir', 'alpamayo_r1', 'torch', 'cpu', 'float32', 'abc', 'def')
    status = plan_info(plan, identity, name='alpamayo: plan_info', sequence=12,
                       ages_s={'input_age': 0.125}, timings_ms=plan.timings_ms)
    values = {item.key: item.value for item in status.values}
    assert len(values) == len(status.values)
    assert values['t0'] == '1234567890.100000000'
    assert (values['sequence'], values['seed']) == ('12', '7')
    assert (values['checkpoint_fingerprint'], values['expert_fingerprint']) == ('abc', 'def')
    assert values['input_age_s'] == '0.125'
    assert (values['ms.vision'], values['ms.expert']) == ('1.25', '2.50')
    assert [values[f'candidate.{rank}.sample'] for rank in range(3)] == ['2', '1', '0']
    assert [values[f'candidate.{rank}.score'] for rank in range(3)] == [
        '0.0000', '0.5000', '1.0000']
    assert [values[f'candidate.{rank}.reasons'] for rank in range(3)] == [
        '', '', 'too fast; too far']
    assert values['warning.0'] == 'cut short'
    assert status.message == 'plan 12: 2 of 3 candidates plausible'
    assert status.level == b'\x01'
