"""What a plan looks like in RViz: places, colours, text, and that nothing old stays."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')

from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402
from test_conversions import T0, make_plan, make_pose  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from alpamayo_ros.colors import IMPLAUSIBLE, SELECTED, candidate_color  # noqa: E402
from alpamayo_ros.ros.conversions import place, stamp_to_ns  # noqa: E402
from alpamayo_ros.ros.markers import (  # noqa: E402
    COLUMNS,
    MAX_ROWS,
    lifetime_s,
    markers,
    outline,
    wrapped,
)
from alpamayo_ros.ros.node_settings import Footprint  # noqa: E402

FOOTPRINT = Footprint(front_m=4.0, rear_m=1.0, width_m=2.0)
BACKGROUND = 48 / 255

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    'full': np.eye(3),
    'protanopia': np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    'deuteranopia': np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    'tritanopia': np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                            [0.004733, 0.691367, 0.303900]])}


def made(plan=None, pose=None, frame: str = 'odom', text: str = 'Go on.', **options) -> MarkerArray:
    """The markers of a plan, over the wire, where wrong types would show."""
    plan = plan or make_plan()
    array = markers(plan, place(plan, pose, frame), FOOTPRINT, text, 1.25, **options)
    return deserialize_message(serialize_message(array), MarkerArray)


def by_name(array: MarkerArray) -> dict[tuple[str, int], Marker]:
    """The markers by namespace and id."""
    return {(marker.ns, marker.id): marker for marker in array.markers}


def world_points(marker: Marker) -> np.ndarray:
    """The points of a marker in its frame, (N, 3) m."""
    turn, place_ = marker.pose.orientation, marker.pose.position
    points = np.array([[point.x, point.y, point.z] for point in marker.points])
    return Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).apply(points) + [
        place_.x, place_.y, place_.z]


def test_candidates_lie_where_the_paths_are_a_little_above_them_best_on_top():
    plan, pose = make_plan(reasons=('too fast',)), make_pose()
    placed = place(plan, pose, 'odom')
    up = Rotation.from_quat(pose.orientation).apply([0.0, 0.0, 1.0])
    array = made(plan, pose)
    lifts = []
    for rank in range(3):
        line = by_name(array)['candidates', rank]
        assert line.type == Marker.LINE_STRIP
        above = world_points(line) - np.vstack([placed.origin, placed.positions[rank]])
        assert above == pytest.approx(np.tile(above[0], (len(above), 1)))
        assert above[0] == pytest.approx(above[0] @ up * up)
        lifts.append(above[0] @ up)
    assert lifts == sorted(lifts, reverse=True)
    assert len(set(np.round(lifts, 6))) == 3
    assert 0.02 < min(lifts)
    assert max(lifts) < 0.3
    # What is drawn last lies on top where a display knows no depth.
    assert [marker.id for marker in array.markers if marker.ns == 'candidates'] == [2, 1, 0]


def test_points_are_small_numbers_wherever_the_vehicle_is():
    pose = make_pose()
    far = type(pose)(pose.stamp_ns, pose.position + 1e6, pose.orientation, pose.linear_velocity,
                     pose.angular_velocity)
    line = by_name(made(make_plan(), far))['candidates', 0]
    assert max(abs(value) for point in line.points for value in (point.x, point.y, point.z)) < 100


def test_every_marker_is_stamped_t0_and_vanishes():
    for marker in made(pose=make_pose()).markers:
        assert stamp_to_ns(marker.header.stamp) == T0
        if marker.action == Marker.ADD:
            assert stamp_to_ns(marker.lifetime) == 1_250_000_000
            assert marker.color.a > 0
            assert marker.scale.x > 0


def test_nothing_of_an_earlier_plan_stays():
    array = made(pose=make_pose())
    first, *others = array.markers
    # Of every namespace: a display with this topic shows nothing else.
    assert (first.action, first.ns) == (Marker.DELETEALL, '')
    assert {marker.action for marker in others} == {Marker.ADD}
    names = [(marker.ns, marker.id) for marker in array.markers]
    assert len(set(names)) == len(names)


def test_the_vehicle_moves_on_and_the_plan_stays():
    parts = by_name(made(pose=make_pose()))
    vehicle, then = parts['vehicle', 0], parts['footprint', 0]
    assert (vehicle.header.frame_id, vehicle.frame_locked) == ('base_link', True)
    assert [point.z for point in vehicle.points] == [0.0] * 5
    assert vehicle.pose.position.z > 0
    assert then.header.frame_id == 'odom'
    assert world_points(then).mean(axis=0) == pytest.approx(make_pose().position, abs=3.0)
    # A frame of the world may be locked: what lies there is right in every fixed frame.
    for name in (('candidates', 0), ('footprint', 0), ('reasoning', 0)):
        assert parts[name].frame_locked


def test_in_base_link_the_plan_is_not_dragged_along():
    parts = by_name(made(frame='truck', base_frame='truck'))
    assert parts['vehicle', 0].header.frame_id == 'truck'
    assert parts['vehicle', 0].frame_locked
    for name in (('candidates', 0), ('footprint', 0), ('reasoning', 0)):
        assert parts[name].header.frame_id == 'truck'
        assert not parts[name].frame_locked


def test_the_outline_is_around_the_rear_axle():
    corners = outline(FOOTPRINT)
    assert corners[0].tolist() == corners[-1].tolist()
    assert corners.min(axis=0).tolist() == [-1.0, -1.0, 0.0]
    assert corners.max(axis=0).tolist() == [4.0, 1.0, 0.0]


def test_the_text_lies_behind_the_vehicle_and_shrinks_with_its_length():
    short = by_name(made(text='Go on.'))['reasoning', 0]
    long = by_name(made(text='Slow down for the crossing ahead. ' * 8))['reasoning', 0]
    assert short.text == 'Go on.'
    assert short.pose.position.x < -FOOTPRINT.rear_m
    assert long.pose.position.x + long.scale.z * 3 < -FOOTPRINT.rear_m
    assert 0 < long.scale.z < short.scale.z
    assert long.scale.x < short.scale.x


@pytest.mark.parametrize('text', [
    'Slow down for the crossing ahead because a pedestrian is about to step onto it. ' * 3,
    'Slow down. ' * 200, 'A' * 2000, 'one\n\ntwo\tthree', 'naïve — 減速する', '', ' \n ', 'Go on.'])
def test_any_text_becomes_lines_that_rviz_can_draw(text):
    rows = wrapped(text).split('\n')
    assert 1 <= len(rows) <= MAX_ROWS
    assert all(0 < len(row.strip()) <= COLUMNS for row in rows)
    assert all(' ' <= char <= '~' for row in rows for char in row)
    if len(text) > COLUMNS * MAX_ROWS:
        assert rows[-1].endswith('...')
    else:
        words = text.encode('ascii', 'replace').decode().split() or ['(no', 'reasoning)']
        assert ' '.join(rows).split() == words


def seen(color: tuple[float, ...], sight: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of a colour over RViz's background, for an eye."""
    mixed = color[3] * np.array(color[:3]) + (1 - color[3]) * BACKGROUND
    linear = np.where(mixed <= 0.04045, mixed / 12.92, ((mixed + 0.055) / 1.055) ** 2.4)
    linear = np.clip(sight @ linear, 0.0, 1.0)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722],
                    [0.0193, 0.1192, 0.9505]]) @ linear / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize('sight', SIGHT)
def test_every_eye_tells_selected_others_and_implausible_apart(sight):
    matrix = SIGHT[sight]
    selected, implausible = seen(SELECTED, matrix), seen(IMPLAUSIBLE, matrix)
    background = seen((BACKGROUND,) * 3 + (1.0,), matrix)
    ranks = [seen(candidate_color(rank, 32, True), matrix) for rank in range(1, 32)]
    for other in [*ranks, implausible, background]:
        assert np.linalg.norm(selected - other) > 30
    for other in [*ranks, implausible]:
        assert np.linalg.norm(other - background) > 10
    assert min(np.linalg.norm(other - implausible) for other in ranks) > 8
    lightness = [color[0] for color in ranks]
    assert lightness == sorted(lightness, reverse=True)


@pytest.mark.parametrize('count', [1, 2, 3, 32, 1024])
def test_colors_are_colors_for_any_number_of_candidates(count):
    colors = [candidate_color(rank, count, True) for rank in range(count)]
    assert len(set(colors)) == count
    assert colors[0] == SELECTED
    assert all(0 <= part <= 1 for color in colors for part in color)
    assert candidate_color(0, count, False) == IMPLAUSIBLE


@pytest.mark.parametrize(('previous_s', 'expected'), [
    (None, 2.6), (0.0, 0.65), (0.45, 0.13), (-20.0, 2.6), (1.0, 2.6)])
def test_markers_live_a_little_longer_than_a_period(previous_s, expected):
    settings = SimpleNamespace(max_plan_age_s=2.0, plan_period_s=0.1)
    previous = None if previous_s is None else round(previous_s * 1e9)
    assert lifetime_s(settings, 500_000_000, previous) == pytest.approx(expected)
