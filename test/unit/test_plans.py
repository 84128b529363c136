"""Putting the node's outputs together again, and telling them."""

from __future__ import annotations

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.drive.environment import use_fastdds_profile, use_private_domain
from alpamayo_ros.drive.plans import (
    CANDIDATES,
    PLAN_INFO,
    REASONING,
    PlanCollector,
    describe_paths,
    describe_plan,
    describe_times,
)

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
COUNT, STEPS = 4, 8
SECOND = 1_000_000_000


def header(stamp_ns):
    return TYPES['std_msgs/msg/Header'](
        TYPES['builtin_interfaces/msg/Time'](stamp_ns // SECOND, stamp_ns % SECOND), 'odom')


def path(t0, rank):
    quaternion = TYPES['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)
    poses = [TYPES['geometry_msgs/msg/PoseStamped'](
        header(t0 + (k + 1) * SECOND // 10),
        TYPES['geometry_msgs/msg/Pose'](
            TYPES['geometry_msgs/msg/Point'](float(k + 1), float(rank), 0.0), quaternion))
        for k in range(STEPS)]
    message = TYPES['nav_msgs/msg/Path'](header(t0), poses)
    return CANDIDATES, bytes(STORE.serialize_cdr(message, 'nav_msgs/msg/Path'))


def reasoning(text):
    message = TYPES['std_msgs/msg/String'](text)
    return REASONING, bytes(STORE.serialize_cdr(message, 'std_msgs/msg/String'))


def info(t0, **values):
    values = {'t0': f'{t0 // SECOND}.{t0 % SECOND:09d}', 'candidates': COUNT, 'v0_mps': '7.500',
              'reasoning_tokens': '5', **values}
    message = TYPES['diagnostic_msgs/msg/DiagnosticStatus'](
        level=0, name='plan', message='', hardware_id='',
        values=[TYPES['diagnostic_msgs/msg/KeyValue'](key, str(value))
                for key, value in values.items()])
    return PLAN_INFO, bytes(STORE.serialize_cdr(message, 'diagnostic_msgs/msg/DiagnosticStatus'))


def plan_messages(t0, text, **values):
    return [*(path(t0, rank) for rank in range(COUNT)), reasoning(text), info(t0, **values)]


T0 = 1_712_345_678 * SECOND + 37_000_001


@pytest.fixture
def collected():
    plans = []
    collector = PlanCollector(plans.append)
    collector.plans = plans
    return collector


@pytest.mark.parametrize('order', [[0, 1, 2, 3, 4, 5], [5, 4, 0, 1, 2, 3], [4, 0, 5, 1, 2, 3]])
def test_a_plan_is_complete_with_its_last_piece_in_whatever_order(collected, order):
    messages = plan_messages(T0, 'Yield.', **{'candidate.3.reasons': 'curvature',
                                              'ms.expert': '12.50', 'ms.total': '20.00'})
    for place, index in enumerate(order):
        assert not collected.plans
        collected.take(*messages[index], T0 + place)
    (plan,) = collected.plans
    assert (plan.t0_ns, plan.received_ns, plan.frame_id) == (T0, T0 + 5, 'odom')
    assert plan.reasoning == 'Yield.' and plan.dt_s == pytest.approx(0.1)
    assert plan.candidates.shape == (COUNT, STEPS, 3)
    assert plan.plausible == (True, True, True, False)
    assert plan.timings_ms == {'expert': 12.5, 'total': 20.0}


def test_pieces_of_two_plans_are_not_mixed_up(collected):
    first, second = plan_messages(T0, 'one'), plan_messages(T0 + SECOND, 'two')
    for message in [*first[:3], *second[:2], first[4], second[4], first[5], second[5], *second[2:4],
                    first[3]]:
        collected.take(*message, T0)
    assert [(plan.t0_ns, plan.reasoning) for plan in collected.plans] == [
        (T0, 'one'), (T0 + SECOND, 'two')]


def test_other_topics_are_ignored_and_loose_paths_are_not_kept_forever(collected):
    collected.take('/elsewhere', b'no message at all', T0)
    for index in range(200):
        collected.take(*path(T0 + index * SECOND, 0), T0)
    assert len(collected._paths) <= 64
    for message in plan_messages(T0 + 500 * SECOND, 'still works'):
        collected.take(*message, T0)
    assert [plan.reasoning for plan in collected.plans] == ['still works']


def test_what_is_said_about_a_plan(collected):
    for message in plan_messages(T0, 'Stop\x07 \u202e', **{
            'ms.align': '3.2', 'ms.expert': '100.4', 'ms.total': '110.0',
            'ms.input.prepare': '7.0'}):
        collected.take(*message, T0 + 250_000_000)
    (plan,) = collected.plans
    text = describe_plan(3, plan, plan.candidates, 1.5)
    assert text.splitlines() == [
        'plan 3: t0 is 1.50 s into the drive, 250 ms ago; speed 7.5 m/s',
        '  reasoning  "Stop\\x07 \\u202e" (5 tokens)',
        '  paths      4 (4 plausible); selected: 8.0 m in 0.8 s (10.0 m/s), ends 8.0 m ahead, '
        '0.0 m left; their ends scatter by 1.0 m',
        '  time       110 ms: expert 100, align 3; an image: prepare 7']


def test_sides_and_lengths():
    bend = np.array([[[3.0, -4.0, 0.0], [3.0, -8.0, 0.0]]])
    assert 'selected: 9.0 m in 1.0 s (9.0 m/s), ends 3.0 m ahead, 8.0 m right' in describe_paths(
        bend, [True], 0.5)


def test_times_without_a_total_are_added_up():
    assert describe_times({'a': 1.0, 'b': 2.0, 'input.x': 50.0}) == '3 ms: b 2, a 1; an image: x 50'


def test_environment_is_set_up_but_never_overruled():
    chosen = {'ROS_DOMAIN_ID': '7', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET',
              'FASTRTPS_DEFAULT_PROFILES_FILE': 'mine.xml'}
    untouched = dict(chosen)
    assert use_private_domain(chosen) == 7
    use_fastdds_profile(chosen)
    assert chosen == untouched
    fresh = {}
    assert 52 <= use_private_domain(fresh) <= 101
    use_fastdds_profile(fresh)
    assert fresh['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert fresh['FASTRTPS_DEFAULT_PROFILES_FILE'].endswith('config/fastdds.xml')
    assert fresh['FASTDDS_DEFAULT_PROFILES_FILE'] == fresh['FASTRTPS_DEFAULT_PROFILES_FILE']
