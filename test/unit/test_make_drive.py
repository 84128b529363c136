"""The synthetic drive: geometry, stamps, determinism, and the one that ships with the package."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import yaml
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from alpamayo_ros.cameras import SIX_CAMERA_RIG
from alpamayo_ros.drive.bag import Bag, BagError
from alpamayo_ros.drive.drive_data import DriveData
from alpamayo_ros.drive.make import (
    LATCHED_TOPICS,
    PHASES_MS,
    START_NS,
    DriveSettings,
    make_drive,
)
from alpamayo_ros.drive.topics import (
    MOUNTING_TOPIC,
    NAVIGATION_TOPIC,
    ODOMETRY_TOPIC,
    TRANSFORM_TOPIC,
    image_topic,
    info_topic,
)
from alpamayo_ros.images import decode_compressed
from alpamayo_ros.resources import share_path
from alpamayo_ros.rig import NOMINAL_RIG
from alpamayo_ros.world.between import between, motion_at
from alpamayo_ros.world.reasoning import navigation_way
from alpamayo_ros.world.render import Renderer
from alpamayo_ros.world.scenarios import make_drive as simulate
from alpamayo_ros.world.scenarios import make_tour

STORE = get_typestore(Stores.ROS2_JAZZY)
SMALL = DriveSettings(seconds=0.6, seed=3, width=128, height=72)


def stamp_ns(message):
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def read(bag, topic):
    msgtype = bag.topics[topic].msgtype
    return [(m.stamp_ns, STORE.deserialize_cdr(m.data, msgtype)) for m in bag.messages([topic])]


@pytest.fixture(scope='module')
def shipped():
    with Bag(share_path('resource', 'demo_drive')) as bag:
        yield bag


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp('drive') / 'small'
    make_drive(path, SMALL)
    with Bag(path) as bag:
        yield bag


def test_shipped_drive_fits_and_has_six_cameras_and_odometry(shipped):
    assert sum(file.stat().st_size for file in shipped.path.iterdir()) < 21_000_000
    assert 33e9 < shipped.end_ns - shipped.start_ns < 35e9
    counts = {name: topic.count for name, topic in shipped.topics.items()}
    assert counts.pop(ODOMETRY_TOPIC) == 1700
    assert counts.pop(NAVIGATION_TOPIC) == 3
    assert counts.pop(TRANSFORM_TOPIC) == 1700 and counts.pop(MOUNTING_TOPIC) == 1
    for camera in SIX_CAMERA_RIG:
        assert counts.pop(image_topic(camera)) == 340
        assert counts.pop(info_topic(camera)) == 34
    assert not counts


def test_shipped_drive_is_what_the_command_makes(shipped):
    """``alpamayo make-drive DIR``; pixels but for the rounding of another machine."""
    defaults, tour = DriveSettings(), make_tour(DriveSettings().seed)
    odometry = [message for _, message in read(shipped, ODOMETRY_TOPIC)]
    assert [o.twist.twist.linear.x for o in odometry] == pytest.approx(
        [motion_at(tour, (stamp_ns(o) - START_NS) * 1e-9).speed for o in odometry], abs=1e-6)
    for camera, phase in PHASES_MS.items():
        step = 100
        _, message = read(shipped, image_topic(camera))[step]
        made = Renderer(between(tour, phase * 1e-3 / 0.1)).image(
            step, NOMINAL_RIG[camera], defaults.width, defaults.height, oversampling=2)
        ok, jpeg = cv2.imencode('.jpg', cv2.cvtColor(made, cv2.COLOR_RGB2BGR),
                                [cv2.IMWRITE_JPEG_QUALITY, defaults.quality])
        seen = decode_compressed(message.data.tobytes(), 'jpeg')
        again = decode_compressed(jpeg.tobytes(), 'jpeg')
        assert ok and np.abs(seen.astype(int) - again).mean() < 0.5


def test_shipped_metadata_is_what_jazzy_reads(shipped):
    info = yaml.safe_load((shipped.path / 'metadata.yaml').read_text())[
        'rosbag2_bagfile_information']
    assert (info['version'], info['storage_identifier']) == (9, 'sqlite3')
    assert info['relative_file_paths'] == ['demo_drive.db3']
    for topic in info['topics_with_message_count']:
        profiles = topic['topic_metadata']['offered_qos_profiles']
        latched = topic['topic_metadata']['name'] in LATCHED_TOPICS
        assert [(p['reliability'], p['history'], p['depth'], p['durability'])
                for p in profiles] == [('reliable', 'keep_last', 1, 'transient_local') if latched
                                       else ('reliable', 'keep_last', 10, 'volatile')]
        assert topic['topic_metadata']['type_description_hash'].startswith('RIHS01_')


def test_shipped_images_decode_and_cameras_are_out_of_phase(shipped):
    phases = {}
    for camera in SIX_CAMERA_RIG:
        recorded = read(shipped, image_topic(camera))
        stamps = np.array([stamp_ns(image) for _, image in recorded])
        assert ((np.diff(stamps) > 95e6) & (np.diff(stamps) < 105e6)).all()
        assert all(at > stamp for (at, _), stamp in zip(recorded, stamps, strict=True))
        phases[camera] = (stamps[0] - START_NS) / 1e6
        image = decode_compressed(recorded[50][1].data, recorded[50][1].format)
        assert image.shape == (240, 400, 3) and image.std() > 20
    assert phases == pytest.approx(PHASES_MS, abs=2.0)
    assert min(np.diff(sorted(phases.values()))) > 5.0


def test_shipped_calibration_is_the_rigs(shipped):
    for camera in SIX_CAMERA_RIG:
        info = read(shipped, info_topic(camera))[0][1]
        focal = 200 / math.tan(math.radians(NOMINAL_RIG[camera].fov_deg / 2))
        assert info.k.reshape(3, 3) == pytest.approx(
            np.array([[focal, 0, 200], [0, focal, 120], [0, 0, 1]]))


def test_transforms_are_those_of_odometry_and_rig(small):
    odometry = [message for _, message in read(small, ODOMETRY_TOPIC)]
    transforms = [message.transforms[0] for _, message in read(small, TRANSFORM_TOPIC)]
    assert len(odometry) == len(transforms) > 20
    for state, moved in zip(odometry, transforms, strict=True):
        assert (moved.header.frame_id, moved.child_frame_id) == ('odom', 'base_link')
        assert moved.header.stamp == state.header.stamp
        assert moved.transform.rotation == state.pose.pose.orientation
        assert [getattr(moved.transform.translation, axis) for axis in 'xyz'] == [
            getattr(state.pose.pose.position, axis) for axis in 'xyz']
    (_, mounting), = read(small, MOUNTING_TOPIC)
    assert {item.child_frame_id for item in mounting.transforms} == {
        f'{camera}_optical' for camera in SIX_CAMERA_RIG}
    for item in mounting.transforms:
        camera = NOMINAL_RIG[item.child_frame_id.removesuffix('_optical')]
        turn, place = item.transform.rotation, item.transform.translation
        # A point half a metre along the optical axis lies where the camera looks.
        ahead = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).apply([0.0, 0.0, 0.5])
        ahead = ahead + [place.x, place.y, place.z]
        assert camera.to_optical(ahead) == pytest.approx([0.0, 0.0, 0.5], abs=1e-9)


def test_shipped_drive_is_told_where_to_go(shipped):
    (first, start), (second, nothing), (third, turn) = read(shipped, NAVIGATION_TOPIC)
    assert navigation_way(start.data) == 'straight' and navigation_way(turn.data) == 'left'
    assert nothing.data == ''
    assert first < START_NS + 1_000_000 < second < third - 5_000_000_000


def test_shipped_odometry_is_consistent_and_away_from_the_origin(shipped):
    odometry = [message for _, message in read(shipped, ODOMETRY_TOPIC)]
    assert {(o.header.frame_id, o.child_frame_id) for o in odometry} == {('odom', 'base_link')}
    times = np.array([stamp_ns(o) for o in odometry]) * 1e-9
    assert np.diff(times) == pytest.approx(0.02, abs=1e-6)
    places = np.array([[o.pose.pose.position.x, o.pose.pose.position.y] for o in odometry])
    yaw = np.array([2 * math.atan2(o.pose.pose.orientation.z, o.pose.pose.orientation.w)
                    for o in odometry])
    speed = np.array([o.twist.twist.linear.x for o in odometry])
    rate = np.array([o.twist.twist.angular.z for o in odometry])
    assert np.linalg.norm(places[0]) > 100 and abs(yaw[0]) > 0.5
    moved = np.diff(places, axis=0)
    assert np.linalg.norm(moved, axis=1) / 0.02 == pytest.approx(
        (speed[1:] + speed[:-1]) / 2, abs=0.05)
    moves = speed[1:] > 0.5
    course = np.unwrap(np.arctan2(moved[moves, 1], moved[moves, 0]))
    assert course == pytest.approx(np.unwrap((yaw[1:] + yaw[:-1]) / 2)[moves], abs=0.02)
    turned = np.diff(np.unwrap(yaw)) / 0.02
    # The curvature jumps from step to step; between steps the rate is that of the odometry.
    assert np.median(np.abs(turned - rate[:-1])) < 0.005 and np.abs(turned - rate[:-1]).max() < 0.4
    # It waits at the light, drives on and turns left.
    assert speed.min() == 0 and 7 < speed.max() < 15 and rate.max() > 0.4
    assert np.unwrap(yaw)[-1] - yaw[0] == pytest.approx(math.pi / 2, abs=0.3)


def test_same_seed_same_messages_other_seed_others(small, tmp_path):
    make_drive(tmp_path / 'again', SMALL)
    make_drive(tmp_path / 'other', DriveSettings(seconds=0.6, seed=4, width=128, height=72))
    messages = list(small.messages())
    with Bag(tmp_path / 'again') as again, Bag(tmp_path / 'other') as other:
        assert list(again.messages()) == messages
        assert list(other.messages()) != messages


def test_messages_are_recorded_in_order_and_after_their_stamps(small):
    times = [message.stamp_ns for message in small.messages()]
    assert times == sorted(times)
    # A transform is recorded together with the odometry it is made from.
    apart = [message.stamp_ns for message in small.messages()
             if message.topic != TRANSFORM_TOPIC]
    assert len(set(apart)) > 0.9 * len(apart)


def test_existing_directory_is_left_alone(tmp_path):
    (tmp_path / 'drive').mkdir()
    (tmp_path / 'drive' / 'mine').write_text('x')
    with pytest.raises(BagError, match='exists already'):
        make_drive(tmp_path / 'drive', SMALL)
    assert (tmp_path / 'drive' / 'mine').read_text() == 'x'


def test_nothing_is_left_of_a_drive_that_was_interrupted(tmp_path):
    def interrupt(share):
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_drive(tmp_path / 'drive', SMALL, interrupt)
    assert not (tmp_path / 'drive').exists()


@pytest.mark.parametrize('change', [{'seconds': 0.0}, {'seconds': float('nan')}, {'width': 8},
                                    {'height': 9000}, {'quality': 0}, {'seed': -1}])
def test_settings_out_of_range_are_named(change):
    with pytest.raises(ValueError, match=f'{next(iter(change))} is .*; expected'):
        DriveSettings(**change)


def test_projection_of_a_camera_by_hand():
    camera = NOMINAL_RIG['front_tele']
    pixels, depth = camera.project(
        np.array([[101.75, -0.05, 1.48], [-5.0, 0.0, 0.0]]), 640, 360)
    pitch = math.radians(camera.pitch_deg)
    focal = 320 / math.tan(math.radians(15.0))
    # Straight ahead lies above the middle of a camera that looks down a little.
    assert pixels[0] == pytest.approx([320.0, 180.0 - focal * math.tan(pitch)])
    assert depth[0] == pytest.approx(100.0 * math.cos(pitch))
    assert np.isnan(pixels[1]).all() and depth[1] < 0


def test_cameras_look_where_their_names_say():
    for name, camera in NOMINAL_RIG.items():
        yaw = math.radians(camera.yaw_deg)
        ahead = np.array(camera.xyz) + 20.0 * np.array([math.cos(yaw), math.sin(yaw), 0.0])
        left = ahead + 2.0 * np.array([-math.sin(yaw), math.cos(yaw), 0.0])
        pixels, depth = camera.project(np.stack([ahead, left, ahead + [0, 0, 1.0]]), 640, 360)
        assert (depth > 0).all()
        assert pixels[0, 0] == pytest.approx(320.0)
        assert pixels[1, 0] < pixels[0, 0] and pixels[2, 1] < pixels[0, 1]
        assert ('left' in name) == (camera.yaw_deg > 0) and ('right' in name) == (
            camera.yaw_deg < 0)
        assert rotation_is_proper(camera.rotation)


def rotation_is_proper(matrix):
    return np.allclose(matrix @ matrix.T, np.eye(3)) and np.linalg.det(matrix) > 0


def test_between_steps_the_world_moves_on():
    """Half a step later everything is half-way, and the ego where its motion says."""
    drive = simulate('slow_lead', 3)
    later = between(drive, 0.5)
    assert len(later.ego) == len(later.moving) == len(drive.ego) - 1
    for step in (0, 40, 90):
        motion = motion_at(drive, step * 0.1 + 0.05)
        assert later.ego[step, :4] == pytest.approx(
            [motion.x, motion.y, motion.yaw, motion.speed], abs=1e-9)
        for now, then, after in zip(drive.moving[step], later.moving[step],
                                    drive.moving[step + 1], strict=True):
            assert (then.x, then.y) == pytest.approx(((now.x + after.x) / 2,
                                                      (now.y + after.y) / 2))
            assert (then.kind, then.colour) == (now.kind, now.colour)
    # A whole step later is the next step, by the same integration.
    almost = motion_at(drive, 40.9999999 * 0.1)
    assert [almost.x, almost.y, almost.yaw, almost.speed] == pytest.approx(
        drive.ego[41, :4], abs=1e-5)
    with pytest.raises(ValueError, match='outside the drive'):
        motion_at(drive, len(drive.ego) * 0.1 + 0.2)
    with pytest.raises(ValueError, match='share is 1'):
        between(drive, 1.0)


def test_drive_data_places_points_in_the_ego_frame(small):
    data = DriveData(small)
    t0 = START_NS + 500_000_000
    positions, turns = data.poses([t0])
    ahead = positions[0] + turns[0].apply([10.0, 2.0, 0.5])
    assert data.to_ego(ahead, t0) == pytest.approx([10.0, 2.0, 0.5], abs=1e-9)
    history = data.history(t0, steps=4)
    assert history[-1] == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    speed = motion_at(make_tour(SMALL.seed), 0.35).speed
    assert history[0] == pytest.approx([-0.3 * speed, 0.0, 0.0], abs=0.1)


def test_drive_data_takes_the_image_nearest_to_t0(small):
    t0 = START_NS + 330_000_000
    views = DriveData(small).views(SIX_CAMERA_RIG, t0)
    assert set(views) == set(SIX_CAMERA_RIG)
    for camera, view in views.items():
        assert abs(view.offset_ms) <= 51.0
        stamps = [stamp_ns(image) for _, image in read(small, image_topic(camera))]
        assert view.offset_ms == pytest.approx(
            min(((s - t0) / 1e6 for s in stamps), key=abs))
        assert view.image.shape == (72, 128, 3)


def test_jpeg_holds_the_picture_that_was_drawn(small):
    stamp, message = [(stamp_ns(m), m) for _, m in read(small, image_topic('front_wide'))][2]
    bgr = cv2.imdecode(np.asarray(message.data), cv2.IMREAD_COLOR)
    assert abs(stamp - START_NS - 200_000_000) < 2_000_000
    drawn = Renderer(make_tour(SMALL.seed)).image(2, NOMINAL_RIG['front_wide'], 128, 72,
                                                  oversampling=2)
    difference = np.abs(bgr[..., ::-1].astype(int) - drawn.astype(int))
    assert np.median(difference) < 8
