"""Candidate paths as Autoware's message: the right numbers in the right fields, or a reason.

The message packages are not everywhere these tests run; stand-ins have exactly their fields, as
autoware_internal_msgs 1.12.1 and autoware_msgs define them.
"""

from __future__ import annotations

import sys
import uuid
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')

import rclpy  # noqa: E402
from builtin_interfaces.msg import Duration  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue  # noqa: E402
from geometry_msgs.msg import Pose  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402
from test_conversions import T0, make_plan, make_pose  # noqa: E402
from unique_identifier_msgs.msg import UUID  # noqa: E402

from alpamayo_ros.ros import autoware_bridge  # noqa: E402
from alpamayo_ros.ros.autoware import (  # noqa: E402
    AutowareTypes,
    PathSet,
    TrajectoryError,
    generator_id,
    kinematics,
    plausible,
    t0_of,
    trajectories,
)
from alpamayo_ros.ros.conversions import paths, place, stamp_to_ns  # noqa: E402
from alpamayo_ros.ros.plan_info import ModelIdentity, plan_info  # noqa: E402

STEP_S = 0.1


@dataclass(slots=True)
class TrajectoryPoint:
    """autoware_planning_msgs/TrajectoryPoint."""

    time_from_start: Duration = field(default_factory=Duration)
    pose: Pose = field(default_factory=Pose)
    longitudinal_velocity_mps: float = 0.0
    lateral_velocity_mps: float = 0.0
    acceleration_mps2: float = 0.0
    heading_rate_rps: float = 0.0
    front_wheel_angle_rad: float = 0.0
    rear_wheel_angle_rad: float = 0.0


@dataclass(slots=True)
class CandidateTrajectory:
    """autoware_internal_planning_msgs/CandidateTrajectory."""

    header: Header = field(default_factory=Header)
    generator_id: UUID = field(default_factory=UUID)
    points: list = field(default_factory=list)


@dataclass(slots=True)
class GeneratorInfo:
    """autoware_internal_planning_msgs/GeneratorInfo."""

    generator_id: UUID = field(default_factory=UUID)
    generator_name: String = field(default_factory=String)


@dataclass(slots=True)
class CandidateTrajectories:
    """autoware_internal_planning_msgs/CandidateTrajectories."""

    candidate_trajectories: list = field(default_factory=list)
    generator_info: list = field(default_factory=list)


TYPES = AutowareTypes(CandidateTrajectories, CandidateTrajectory, GeneratorInfo, TrajectoryPoint)


def messages(plan=None, frame: str = 'map') -> list:
    """The paths of a plan, as they come over the wire."""
    placed = place(plan or make_plan(candidates=3, waypoints=8), make_pose(), frame)
    return [deserialize_message(serialize_message(path), type(path)) for path in paths(placed)]


def info_of(plan=None) -> DiagnosticStatus:
    """The plan_info of a plan."""
    return plan_info(
        plan or make_plan(candidates=3, waypoints=8), ModelIdentity(*'abcdefg'), name='plan_info',
        sequence=1, ages_s={}, timings_ms={})


def later(plan, seconds: int = 1):
    """The same plan of another time."""
    return replace(plan, t0_ns=plan.t0_ns + seconds * 1_000_000_000)


def drive(speed0: float, acceleration: float, heading_rate: float, heading0: float = 3.0):
    """Positions (64, 3), orientations (64, 4) and times of a drive on a plane."""
    times = STEP_S * np.arange(1, 65)
    fine = np.linspace(0, times[-1], 64001)
    heading = heading0 + heading_rate * fine
    speed = speed0 + acceleration * fine
    steps = np.stack([speed * np.cos(heading), speed * np.sin(heading)], axis=1) * fine[1]
    xy = np.concatenate([[[0.0, 0.0]], np.cumsum(0.5 * (steps[1:] + steps[:-1]), axis=0)])
    index = np.round(times / fine[1]).astype(int)
    positions = np.column_stack([xy[index], np.full(64, 5.0)])
    return positions, Rotation.from_euler('z', heading[index][:, None]).as_quat(), times


@pytest.mark.parametrize(('speed0', 'acceleration', 'heading_rate'), [
    (8.0, 0.0, 0.0), (0.5, 1.5, 0.0), (12.0, -1.5, 0.1), (8.0, 0.0, -0.4), (-1.0, -0.5, 0.05)])
def test_speed_acceleration_and_heading_rate_are_those_of_the_drive(
        speed0, acceleration, heading_rate):
    positions, orientations, times = drive(speed0, acceleration, heading_rate)
    motion = kinematics(positions, orientations, times)
    assert motion.speed == pytest.approx(speed0 + acceleration * times, abs=0.02)
    # Of the speed without its sign: backwards and faster is positive.
    expected = acceleration if speed0 > 0 else -acceleration
    assert motion.acceleration == pytest.approx(expected, abs=0.05)
    assert motion.heading_rate == pytest.approx(heading_rate, abs=1e-6)


def test_standing_still_is_all_zero():
    motion = kinematics(np.ones((64, 3)), np.tile([0.0, 0, 0, 1], (64, 1)),
                        STEP_S * np.arange(1, 65))
    for values in (motion.speed, motion.acceleration, motion.heading_rate):
        assert values.tolist() == [0.0] * 64


def test_a_slope_is_driven_at_the_speed_along_it():
    slope = Rotation.from_euler('y', -0.3)
    times = STEP_S * np.arange(1, 65)
    positions = slope.apply(np.outer(6.0 * times, [1.0, 0.0, 0.0]))
    motion = kinematics(positions, np.tile(slope.as_quat(), (64, 1)), times)
    assert motion.speed == pytest.approx(6.0)


def test_every_path_becomes_a_trajectory_in_the_same_order_with_the_same_poses():
    given = messages()
    message = trajectories(given, 'alpamayo', 'map', TYPES)
    assert len(message.candidate_trajectories) == len(given)
    for path, trajectory in zip(given, message.candidate_trajectories, strict=True):
        assert trajectory.header == path.header
        assert stamp_to_ns(trajectory.header.stamp) == T0
        assert [point.pose for point in trajectory.points] == [pose.pose for pose in path.poses]
        # Counted from t0, the stamp of the header, so the first point is one step later.
        assert [stamp_to_ns(point.time_from_start) for point in trajectory.points] == [
            (k + 1) * 100_000_000 for k in range(8)]
        assert trajectory.points[0].longitudinal_velocity_mps == pytest.approx(8.0, abs=1.0)
        assert all(isinstance(point.longitudinal_velocity_mps, float)
                   for point in trajectory.points)


def test_the_generator_of_every_trajectory_is_in_the_list_of_generators():
    message = trajectories(messages(), 'alpamayo', 'map', TYPES)
    (info,) = message.generator_info
    assert info.generator_name.data == 'alpamayo'
    for trajectory in message.candidate_trajectories:
        assert trajectory.generator_id == info.generator_id


def test_a_generator_keeps_its_uuid_and_shares_it_with_no_other():
    assert generator_id('alpamayo').tolist() == generator_id('alpamayo').tolist()
    assert generator_id('alpamayo').tolist() != generator_id('other').tolist()
    assert uuid.UUID(bytes=generator_id('alpamayo').tobytes()).version == 5
    # As the message's field takes it.
    assert UUID(uuid=generator_id('alpamayo')).uuid.tolist() == generator_id('alpamayo').tolist()


def other_stamp(given: list) -> None:
    given[1].header.stamp.sec += 1


def too_short(given: list) -> None:
    given[2].poses = given[2].poses[:2]


def unordered(given: list) -> None:
    given[0].poses[3].header.stamp = given[0].poses[1].header.stamp


@pytest.mark.parametrize(('spoil', 'reason'), [
    (other_stamp, '2 different stamps; expected one'),
    (too_short, 'a path has 2 poses; expected at least 3'),
    (unordered, 'stamps of the poses of a path do not grow')])
def test_paths_that_are_no_plan_are_refused(spoil, reason):
    given = messages()
    spoil(given)
    with pytest.raises(TrajectoryError, match=reason):
        trajectories(given, 'alpamayo', 'map', TYPES)


def test_paths_in_another_frame_are_refused_and_not_renamed():
    with pytest.raises(TrajectoryError, match="in the frame 'odom'; expected 'map'"):
        trajectories(messages(frame='odom'), 'alpamayo', 'map', TYPES)


def test_a_plan_is_complete_with_its_last_path():
    gathered = PathSet(3)
    first, second, third = messages()
    assert gathered.add(first) is None
    assert gathered.add(second) is None
    assert gathered.add(third) == [first, second, third]
    # The rest of one plan and the beginning of another are no plan.
    assert gathered.add(first) is None
    following = messages(later(make_plan(candidates=3, waypoints=8)))
    assert [gathered.add(path) is not None for path in following] == [False, False, True]
    assert gathered.dropped == 1


def test_what_plan_info_says_of_a_plan_is_read():
    info, given = info_of(make_plan(3, 8, reasons=('too fast', 'too far'))), messages()
    assert t0_of(info) == T0
    assert plausible(given, info) == given[:2]
    assert plausible(given, info_of()) == given


def without(info: DiagnosticStatus, *keys: str, **others: str) -> DiagnosticStatus:
    """The status without some of its values, or with others."""
    values = [item for item in info.values if item.key not in (*keys, *others)]
    values += [KeyValue(key=key, value=value) for key, value in others.items()]
    return DiagnosticStatus(values=values)


@pytest.mark.parametrize(('values', 'reason'), [
    (without(info_of(), 'candidate.1.reasons'), 'has no candidate.1.reasons; expected'),
    (without(info_of(), 'candidates'), 'tells of None candidates; expected 3'),
    (info_of(make_plan(5, 8)), 'tells of 5 candidates; expected 3')])
def test_a_plan_info_that_does_not_tell_of_every_path_is_refused(values, reason):
    with pytest.raises(TrajectoryError, match=reason):
        plausible(messages(), values)


@pytest.mark.parametrize('t0', ['', '12', '12.5', 'now', '1.00000000x'])
def test_a_plan_info_without_a_time_is_refused(t0):
    with pytest.raises(TrajectoryError, match=f"t0 '{t0}'; expected seconds.nanoseconds"):
        t0_of(without(info_of(), t0=t0))


class Published(autoware_bridge.AutowareBridge):
    """The bridge with a publisher that keeps the messages: their types are not installed."""

    def create_publisher(self, kind, topic, qos, **options):
        if topic != '~/output/trajectories':
            return super().create_publisher(kind, topic, qos, **options)
        assert kind is CandidateTrajectories
        self.messages = []
        self.publish = self.messages.append
        return self


@pytest.fixture
def bridge():
    """A bridge for plans of three candidates."""
    # A context of its own: the default one may be in use by other tests of the same process.
    context = rclpy.Context()
    rclpy.init(args=['--ros-args', '-p', 'num_candidates:=3', '-p', 'generator_name:=truck'],
               context=context)
    node = Published(TYPES, context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def said(bridge, monkeypatch):
    """The errors the bridge logs."""
    texts = []
    monkeypatch.setattr(bridge, 'get_logger', lambda: SimpleNamespace(
        error=lambda text, **unused: texts.append(text)))
    return texts


def send(bridge, plan=None, frame: str = 'map') -> None:
    """The paths of a plan and its plan_info, as the planner publishes them."""
    for path in messages(plan, frame):
        bridge._on_path(path)
    bridge._on_info(info_of(plan))


def test_the_bridge_publishes_one_message_a_plan(bridge):
    send(bridge)
    (message,) = bridge.messages
    assert len(message.candidate_trajectories) == 3
    assert message.generator_info[0].generator_name.data == 'truck'


def test_the_bridge_leaves_out_what_is_implausible(bridge):
    plan = make_plan(candidates=3, waypoints=8, reasons=('too fast',))
    # Topics are not in step: plan_info may come before the last path.
    first, second, third = messages(plan)
    bridge._on_path(first)
    bridge._on_path(second)
    bridge._on_info(info_of(plan))
    assert not bridge.messages
    bridge._on_path(third)
    (message,) = bridge.messages
    assert [trajectory.points[0].pose for trajectory in message.candidate_trajectories] == [
        path.poses[0].pose for path in (first, second)]
    assert all(trajectory.header == first.header for trajectory in message.candidate_trajectories)


def test_without_plan_info_the_bridge_publishes_nothing_and_says_so(bridge, said):
    plan = make_plan(candidates=3, waypoints=8)
    for path in (*messages(plan), *messages(later(plan))):
        bridge._on_path(path)
    assert not bridge.messages
    assert len(said) == 1 and '1 plans so far came without their plan_info' in said[0]
    # That of the plan given up does not stand for another.
    bridge._on_info(info_of(plan))
    assert not bridge.messages
    bridge._on_info(info_of(later(plan)))
    (message,) = bridge.messages
    assert stamp_to_ns(message.candidate_trajectories[0].header.stamp) == T0 + 1_000_000_000


def test_the_bridge_says_what_is_wrong_with_a_plan_info_and_recovers(bridge, said):
    plan = make_plan(candidates=3, waypoints=8)
    for path in messages(plan):
        bridge._on_path(path)
    bridge._on_info(without(info_of(plan), 'candidate.2.reasons'))
    bridge._on_info(without(info_of(plan), t0='soon'))
    assert not bridge.messages and 'has no candidate.2.reasons' in said[0]
    send(bridge, later(plan))
    assert len(bridge.messages) == 1


def test_a_plan_without_a_plausible_path_is_not_published(bridge, said):
    plan = make_plan(candidates=3, waypoints=8)
    plan = replace(plan, candidates=tuple(
        replace(candidate, reasons=('too fast',)) for candidate in plan.candidates))
    send(bridge, plan)
    assert not bridge.messages
    assert said == ['nothing published: none of the 3 paths is plausible']


def test_the_bridge_publishes_nothing_from_another_frame_and_recovers(bridge):
    plan = make_plan(candidates=3, waypoints=8)
    send(bridge, plan, 'odom')
    send(bridge, later(plan))
    assert len(bridge.messages) == 1


def test_without_the_messages_the_bridge_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'autoware_internal_planning_msgs', None)
    monkeypatch.setitem(sys.modules, 'autoware_internal_planning_msgs.msg', None)
    assert autoware_bridge.main([]) == 2
    assert 'autoware_internal_planning_msgs' in capsys.readouterr().err
