"""Plans over DDS: what is published, how it is stamped, and where the paths are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from harness import CHECKPOINT, level_of, stamp_ns, values_of
from nav_msgs.msg import Path
from rig import Rig
from scipy.spatial.transform import Rotation
from visualization_msgs.msg import Marker

GRID_NS = 100_000_000
CANDIDATES = 32
WAYPOINTS = 64


def positions(path: Path) -> np.ndarray:
    """(T, 3) m."""
    return np.array([[pose.pose.position.x, pose.pose.position.y, pose.pose.position.z]
                     for pose in path.poses])


def orientations(path: Path) -> Rotation:
    """T rotations."""
    return Rotation.from_quat([[pose.pose.orientation.x, pose.pose.orientation.y,
                                pose.pose.orientation.z, pose.pose.orientation.w]
                               for pose in path.poses])


@pytest.fixture(scope='module')
def plans(drive, watcher):
    """Three plans and everything published about them; ``sets``: candidate paths by t0."""
    watcher.clear()
    watcher.wait(lambda: len(watcher.complete()) >= 3, 'three complete plans')
    drive.rig.pause()
    watcher.wait_for_status('plan', 'ERROR', 'stale')  # nothing more is on its way
    drive.rig.resume()
    return SimpleNamespace(
        sets=watcher.complete(), paths=list(watcher.paths), reasoning=list(watcher.reasoning),
        markers=list(watcher.markers), infos=list(watcher.infos))


def test_a_plan_is_exactly_32_paths_with_the_stamp_t0_on_the_grid(plans):
    assert len(plans.sets) >= 3
    for t0, paths in plans.sets.items():
        assert t0 % GRID_NS == 0
        assert len(paths) == CANDIDATES
        assert {stamp_ns(path.header.stamp) for path in paths} == {t0}


def test_t0_only_grows(plans):
    stamps = [stamp_ns(path.header.stamp) for path in plans.paths]
    assert stamps == sorted(set(stamps))


def test_pose_k_is_at_t0_plus_k_plus_1_dt_in_the_odometry_frame(plans):
    for t0, paths in plans.sets.items():
        for path in paths:
            assert path.header.frame_id == 'odom'
            assert {pose.header.frame_id for pose in path.poses} == {'odom'}
            assert [stamp_ns(pose.header.stamp) for pose in path.poses] == [
                t0 + (k + 1) * GRID_NS for k in range(WAYPOINTS)]


def test_paths_begin_where_odometry_was_at_t0_and_go_where_it_pointed(drive, plans):
    for t0, paths in plans.sets.items():
        pose = drive.rig.odometry(t0).pose.pose
        start = np.array([pose.position.x, pose.position.y, pose.position.z])
        attitude = Rotation.from_quat([pose.orientation.x, pose.orientation.y,
                                       pose.orientation.z, pose.orientation.w])
        for path in paths:
            in_ego = attitude.inv().apply(positions(path) - start)
            # The first waypoint is one step ahead at the speed of the vehicle, and the paths lie in
            # the plane of the vehicle, which is not that of the odometry frame.
            assert in_ego[0] == pytest.approx([drive.rig.speed * 0.1, 0, 0], abs=0.1)
            assert np.abs(in_ego[:, 2]).max() < 1e-3
            turn = (attitude.inv() * orientations(path)).as_euler('ZYX')
            assert np.abs(turn[:, 1:]).max() < 1e-3
            heading = np.arctan2(in_ego[1, 1] - in_ego[0, 1], in_ego[1, 0] - in_ego[0, 0])
            assert turn[0, 0] == pytest.approx(heading, abs=0.1)


def test_candidates_differ(plans):
    for paths in plans.sets.values():
        ends = {tuple(positions(path)[-1]) for path in paths}
        assert len(ends) == CANDIDATES


def test_the_selected_path_is_the_first_of_the_set(plans):
    selected = {stamp_ns(path.header.stamp): path for path in plans.paths}
    for t0, paths in plans.sets.items():
        assert selected[t0] == paths[0]


def test_reasoning_comes_once_a_plan(plans):
    assert len(plans.reasoning) == len(plans.infos) == len(plans.paths) == len(plans.markers)


def test_markers_show_candidates_footprint_vehicle_and_reasoning(plans):
    arrays = {stamp_ns(array.markers[0].header.stamp): array for array in plans.markers}
    for t0, paths in plans.sets.items():
        first, *markers = arrays[t0].markers
        assert first.action == Marker.DELETEALL
        by_name = {(marker.ns, marker.id): marker for marker in markers}
        assert {key for key in by_name if key[0] == 'candidates'} == {
            ('candidates', rank) for rank in range(CANDIDATES)}
        for rank, path in enumerate(paths):
            line = by_name['candidates', rank]
            assert line.type == Marker.LINE_STRIP
            turn, origin = line.pose.orientation, line.pose.position
            points = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).apply(
                [[point.x, point.y, point.z] for point in line.points]) + [
                    origin.x, origin.y, origin.z]
            lift = np.linalg.norm(points[1:] - positions(path), axis=1)
            assert lift == pytest.approx(lift[0])
            assert 0 < lift[0] < 0.3
        colors = {(line.color.r, line.color.g, line.color.b, line.color.a)
                  for (name, _), line in by_name.items() if name == 'candidates'}
        assert len(colors) == CANDIDATES
        assert by_name['footprint', 0].type == Marker.LINE_STRIP
        assert by_name['reasoning', 0].type == Marker.TEXT_VIEW_FACING
        assert by_name['vehicle', 0].frame_locked
        for (name, _), marker in by_name.items():
            assert marker.header.frame_id == ('base_link' if name == 'vehicle' else 'odom')
            assert stamp_ns(marker.header.stamp) == t0
            lifetime = stamp_ns(marker.lifetime)
            assert GRID_NS < lifetime < 100 * 1_000_000_000


def test_plan_info_has_every_figure_of_the_plan(plans):
    info = plans.infos[-1]
    values = values_of(info)
    assert values['seed'] == '0'
    assert values['backend'] == 'torch'
    assert values['reasoning_mode'] == 'single'
    assert values['model_type'] == 'alpamayo1_5'
    assert len(values['checkpoint_fingerprint']) >= 8
    assert len(values['expert_fingerprint']) >= 8
    for stage in ('input.prepare', 'input.queue', 'align', 'vision', 'prefill', 'decode', 'expert',
                  'unicycle', 'place', 'paths', 'markers', 'total'):
        assert float(values[f'ms.{stage}']) >= 0, stage
    assert 0 < float(values['input_age_s']) <= float(values['plan_age_s'])
    scores = [float(values[f'candidate.{rank}.score']) for rank in range(CANDIDATES)]
    assert scores[0] == 0
    assert scores == sorted(scores)
    samples = {int(values[f'candidate.{rank}.sample']) for rank in range(CANDIDATES)}
    assert samples == set(range(CANDIDATES))
    assert values['plausible'] == str(CANDIDATES)
    assert all(values[f'candidate.{rank}.reasons'] == '' for rank in range(CANDIDATES))


def test_sequence_numbers_count_up(plans):
    numbers = [int(values_of(info)['sequence']) for info in plans.infos]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_diagnostics_have_a_status_for_each_stream_the_model_and_the_plan(drive, watcher, plans):
    watcher.wait_for_status('plan', 'OK|WARN', '')
    names = [status.name for status in watcher.diagnostics[-1].status]
    assert names == [f'alpamayo: {name}' for name in (
        'cross_left', 'front_wide', 'cross_right', 'rear_left', 'rear_right', 'front_tele',
        'odometry', 'navigation', 'model', 'plan')]
    for stream, topic in drive.rig.topics.items():
        values = values_of(watcher.wait_for_status(stream, 'OK|WARN', ''))
        assert values['topic'] == topic
        assert float(values['rate_hz']) > 0
        assert int(values['stored']) > 0
    model = watcher.status('model')
    assert level_of(model) == 'OK'
    assert model.message == 'active'
    assert values_of(model)['checkpoint_fingerprint'] == values_of(plans.infos[-1])[
        'checkpoint_fingerprint']


@pytest.mark.parametrize('reliable', [True, False], ids=['reliable', 'best_effort'])
def test_publishers_of_both_kinds_are_heard(drive, watcher, reliable):
    drive.rig.pause()
    other = Rig(reliable=reliable)
    try:
        other.wait_for_readers()
        watcher.clear()
        other.start()
        watcher.wait_for_plan(2)
    finally:
        other.stop()
        drive.rig.resume()


def test_navigation_is_taken_latched_and_cleared(ros, drive, watcher):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import String
    publisher = ros.create_publisher(
        String, '/alpamayo/input/navigation',
        QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    publisher.publish(String(data='Turn left in 30m'))

    def received(count: int):
        status = watcher.status('navigation')
        return status is not None and values_of(status)['received'] == str(count)

    watcher.wait(lambda: received(1), 'the instruction')
    watcher.wait_for_plan(2)
    publisher.publish(String(data=''))
    watcher.wait(lambda: received(2), 'the empty instruction')
    watcher.wait_for_plan(2)
    ros.destroy_publisher(publisher)


def test_an_r1_checkpoint_plans_as_well_and_says_that_it_takes_no_navigation(
        ros, drive, watcher):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import String
    publisher = ros.create_publisher(
        String, '/alpamayo/input/navigation',
        QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    drive.reconfigure(checkpoint=str(CHECKPOINT.parent / 'r1'))
    try:
        watcher.clear()
        publisher.publish(String(data='Turn left in 30m'))
        watcher.wait_for_status('navigation', 'WARN', 'alpamayo_r1 takes no navigation; it is ign')
        watcher.wait_for_plan()
        assert values_of(watcher.infos[-1])['model_type'] == 'alpamayo_r1'
    finally:
        ros.destroy_publisher(publisher)
        drive.reconfigure(checkpoint=str(CHECKPOINT))
    watcher.wait_for_plan()


def test_multi_reasoning_publishes_the_reasoning_of_the_selected_candidate(drive, watcher):
    drive.reconfigure(reasoning_mode='multi', num_candidates=4)
    try:
        watcher.clear()
        watcher.wait(lambda: watcher.complete(), 'a complete plan')
        values = values_of(watcher.infos[0])
        assert values['reasoning_mode'] == 'multi'
        assert len(values['reasoning_tokens'].split()) == 4
        assert {len(paths) for paths in watcher.complete().values()} == {4}
    finally:
        drive.reconfigure(reasoning_mode='single', num_candidates=CANDIDATES)


def test_base_link_output_is_relative_to_the_vehicle(drive, watcher):
    drive.reconfigure(output_frame='base_link')
    try:
        watcher.clear()
        watcher.wait_for_plan(2)
        path = watcher.paths[-1]
        assert path.header.frame_id == 'base_link'
        assert positions(path)[0] == pytest.approx([drive.rig.speed * 0.1, 0, 0], abs=0.1)
    finally:
        drive.reconfigure(output_frame='odometry')
    watcher.clear()
    watcher.wait_for_plan(2)
    assert watcher.paths[-1].header.frame_id == 'odom'


def test_raw_images_give_plans_as_well(drive, watcher):
    drive.rig.pause()
    drive.reconfigure(image_transport='raw')
    raw = Rig(raw=True)
    try:
        raw.wait_for_readers()
        watcher.clear()
        raw.start()
        watcher.wait_for_plan(2)
        assert watcher.status('front_wide') is None or values_of(
            watcher.status('front_wide'))['topic'] == '/alpamayo/input/front_wide/image'
    finally:
        raw.stop()
        drive.reconfigure(image_transport='compressed')
        drive.rig.resume()
    watcher.wait_for_plan()
