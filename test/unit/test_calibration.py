"""Camera models against OpenCV, clipping at the edge of what can be seen, and rig files."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from alpamayo_ros.calibration import (
    CalibrationError,
    CameraModel,
    cameras_of_run,
    load_rig,
    read_camera,
)
from alpamayo_ros.resources import share_path
from alpamayo_ros.rig import FOOTPRINT_M, NOMINAL_RIG

MATRIX = [510.0, 0, 322.0, 0, 505.0, 178.0, 0, 0, 1]
DISTORTIONS = {
    'plumb_bob': [-0.31, 0.11, 0.0011, -0.0007, -0.018],
    'rational_polynomial': [0.8, 0.3, -0.0004, 0.0006, 0.02, 1.1, 0.45, 0.05],
    'equidistant': [-0.02, 0.005, -0.003, 0.0004]}


def entry(**changes):
    values = {'size_px': [640, 360], 'position_m': [1.5, 0.2, 1.4], 'yaw_deg': 20.0,
              'pitch_deg': 5.0, 'roll_deg': 2.0, 'k': MATRIX}
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


def camera(**changes):
    return read_camera('front', entry(**changes), 'test')


def ego_points(model, optical):
    return np.asarray(optical, float) @ model.rotation + model.position


def visible_points(count=200, widest=0.6):
    rng = np.random.default_rng(1)
    angle, turn = rng.uniform(0, widest, count), rng.uniform(0, 2 * np.pi, count)
    ray = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle)], 1)
    return ray * rng.uniform(2, 60, (count, 1))


@pytest.mark.parametrize('name', list(DISTORTIONS))
def test_projection_is_opencvs(name):
    model = camera(distortion_model=name, d=DISTORTIONS[name])
    optical = visible_points()
    project = cv2.fisheye.projectPoints if name == 'equidistant' else None
    if project:
        expected = project(optical[:, None], np.zeros(3), np.zeros(3), model.matrix,
                           model.distortion)[0]
    else:
        expected = cv2.projectPoints(optical, np.zeros(3), np.zeros(3), model.matrix,
                                     model.distortion)[0]
    assert model.project(ego_points(model, optical)) == pytest.approx(expected[:, 0], abs=1e-6)


@pytest.mark.parametrize('name', list(NOMINAL_RIG))
def test_nominal_camera_sees_what_its_mounting_says(name):
    mounted = NOMINAL_RIG[name]
    model = CameraModel.from_mounted(mounted, 640, 360)
    points = np.random.default_rng(0).uniform([-40, -40, -1], [60, 40, 4], (500, 3))
    expected, _ = mounted.project(points, 640, 360)
    found = model.project(points)
    # 89 degrees from the axis is the end for a flat image; nothing is within the picture there.
    seen = np.isfinite(found).all(axis=1)
    assert found[seen] == pytest.approx(expected[seen])
    inside = ((expected > -640) & (expected < 1280)).all(axis=1)
    assert inside.any() and seen[inside].all()


def test_shipped_rig_file_is_the_nominal_rig():
    rig = load_rig(share_path('config', 'rig.yaml'))
    assert rig.footprint == pytest.approx(FOOTPRINT_M)
    assert set(rig.cameras) == set(NOMINAL_RIG)
    for name, model in rig.cameras.items():
        nominal = CameraModel.from_mounted(NOMINAL_RIG[name], 1920, 1080)
        for key in ('matrix', 'position', 'rotation', 'distortion'):
            assert getattr(model, key) == pytest.approx(getattr(nominal, key)), (name, key)
        small = model.resized(640, 360)
        assert small.matrix == pytest.approx(NOMINAL_RIG[name].intrinsics(640, 360))


def test_roll_lowers_the_right_side_and_a_quaternion_says_the_same():
    level, rolled = camera(roll_deg=0.0), camera(roll_deg=10.0)
    ray = ego_points(level, [[0, 0, 20.0], [5.0, 0, 20.0]])
    # A camera whose right side is lowered sees what is on its right higher up.
    assert rolled.project(ray)[1, 1] < level.project(ray)[1, 1] - 10
    quaternion = Rotation.from_matrix(rolled.rotation.T).as_quat().tolist()
    same = camera(yaw_deg=None, pitch_deg=None, roll_deg=None, orientation_xyzw=quaternion)
    assert same.rotation == pytest.approx(rolled.rotation)


def test_nothing_behind_the_camera_is_projected():
    model = camera()
    behind = ego_points(model, [[0, 0, -5.0], [1, 1, 0.0], [0, 0, 0.0]])
    assert np.isnan(model.project(behind)).all()


def test_points_beyond_the_range_of_the_distortion_do_not_fold_back_into_the_image():
    model = camera(d=[-0.4, 0, 0, 0, 0])
    limit = model.largest_angle
    # r (1 - 0.4 r^2) stops growing at r^2 = 1 / 1.2.
    assert limit == pytest.approx(math.atan(math.sqrt(1 / 1.2)), abs=2e-3)
    angles = np.radians(np.linspace(0, 88, 60))
    rays = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], 1) * 10
    folded = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), model.matrix, model.distortion)[0]
    beyond = angles > limit + 1e-3
    assert ((folded[beyond, 0] > 0) & (folded[beyond, 0] < [640, 360])).all(axis=1).any()
    assert np.isnan(model.project(ego_points(model, rays))[beyond]).all()
    assert np.isfinite(model.project(ego_points(model, rays))[angles < limit - 1e-3]).all()


def test_rational_distortion_ends_where_its_denominator_does():
    model = camera(distortion_model='rational_polynomial', d=[0, 0, 0, 0, 0, -1.0, 0, 0])
    assert model.largest_angle == pytest.approx(math.atan(1.0), abs=2e-3)


def test_a_fisheye_sees_beyond_a_right_angle():
    model = camera(distortion_model='equidistant', d=[], k=[180, 0, 320, 0, 180, 180, 0, 0, 1])
    angle = math.radians(100)
    ray = ego_points(model, [[10 * math.sin(angle), 0, 10 * math.cos(angle)]])
    assert model.project(ray)[0] == pytest.approx([320 + 180 * angle, 180])


def test_a_line_is_cut_exactly_where_the_camera_stops_seeing_it():
    model = camera(yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0, d=[-0.4, 0, 0, 0, 0])
    # To the left on the ground, beyond what the distortion covers, which is inside the image.
    y = np.arange(0.0, 12.0, 0.5)
    line = np.stack([0 * y + 6.5, y, 0 * y], 1)[:, None]
    runs = model.visible_runs(line)
    assert len(runs) == 1
    run = runs[0][:, 0]
    assert ((run > 0) & (run < [640, 360])).all()
    radius = np.linalg.norm((run - [322.0, 178.0]) / [510.0, 505.0], axis=1)
    largest = math.sqrt(1 / 1.2) * (1 - 0.4 / 1.2)
    assert radius[-1] == pytest.approx(largest, abs=1e-5)
    assert radius[-2] < radius[-1] and (np.diff(run[:, 0]) < 0).all()


def test_a_line_from_behind_the_camera_begins_below_the_image():
    model = camera(yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0)
    x = np.arange(-10.0, 60.0, 0.5)
    line = np.stack([x, 0 * x, 0 * x], 1)[:, None]
    runs = model.visible_runs(line)
    assert len(runs) == 1
    run = runs[0][:, 0]
    assert 360 < run[0, 1] <= 720 and (np.diff(run[:, 1]) < 0).all()
    assert run[-1] == pytest.approx(model.project(line[-1, 0]))


def test_a_line_that_leaves_and_returns_is_two_pieces():
    model = camera(yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0)
    turn = np.linspace(0, 2 * np.pi, 400)
    circle = np.stack([1.5 + 15 * np.cos(turn), 15 * np.sin(turn), 0 * turn], 1)[:, None]
    runs = model.visible_runs(circle)
    assert len(runs) == 2
    assert all(np.isfinite(run).all() and np.abs(run).max() < 1500 for run in runs)


def test_a_band_keeps_both_edges_and_wild_points_are_left_out():
    model = camera(yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0)
    x = np.arange(3.0, 40.0, 0.5)
    band = np.stack([np.stack([x, 0 * x + side, 0 * x], 1) for side in (0.9, -0.9)], 1)
    band[10] = np.nan
    runs = model.visible_runs(band)
    assert len(runs) == 1 and runs[0].shape[1:] == (2, 2)
    assert (runs[0][:, 0, 0] < runs[0][:, 1, 0]).all()
    assert model.visible_runs(np.full((5, 1, 3), np.nan)) == []


def test_cameras_of_a_run_take_their_place_from_the_rig():
    rig = load_rig(share_path('config', 'rig.yaml'))
    info = {'size_px': [640, 360], 'k': MATRIX, 'distortion_model': 'plumb_bob',
            'd': DISTORTIONS['plumb_bob']}
    cameras = cameras_of_run({'front_wide': info, 'rear_tele': info}, rig)
    assert set(cameras) == set(NOMINAL_RIG)
    assert cameras['front_wide'].matrix.ravel() == pytest.approx(MATRIX)
    assert cameras['front_wide'].rotation == pytest.approx(rig.cameras['front_wide'].rotation)
    assert cameras['front_wide'].position == pytest.approx([1.75, 0.05, 1.48])
    assert cameras_of_run({'front_wide': info}, None) == {}
    whole = entry(orientation_xyzw=[0.5, -0.5, 0.5, -0.5])
    alone = cameras_of_run({'front_wide': whole}, None)
    assert alone['front_wide'].rotation @ [1, 0, 0] == pytest.approx([0, 0, 1])
    # An uncalibrated driver publishes zeros.
    zeros = cameras_of_run({'front_wide': {**info, 'k': [0.0] * 9}}, rig)
    assert zeros['front_wide'].matrix == pytest.approx(rig.cameras['front_wide'].matrix)


@pytest.mark.parametrize('change, message', [
    ({'position_m': None}, "camera 'front' has no position_m; expected 3 numbers"),
    ({'position_m': [1, 2]}, r'position_m is \[1, 2\]; expected 3 numbers'),
    ({'position_m': [1, 2, 'x']}, 'position_m is .*; expected 3 numbers'),
    ({'yaw_deg': float('nan')}, 'yaw_deg is nan; expected 1 number'),
    ({'size_px': [0, 360]}, r'size_px is \[0, 360\]; expected above 0'),
    ({'k': None}, 'has k and fov_deg or neither'),
    ({'fov_deg': 90}, 'has k and fov_deg or neither'),
    ({'k': None, 'fov_deg': 180}, 'fov_deg is 180.0; expected above 0 and below 175'),
    ({'k': [0.0] * 9}, 'k is .*; expected .* focal lengths above 0'),
    ({'distortion_model': 'barrel'}, "distortion_model is 'barrel'; expected one of plumb_bob"),
    ({'d': [0.1, 0.2]}, r'd is \[0.1, 0.2\]; expected 5 numbers'),
    ({'orientation_xyzw': [0, 0, 0, 2]}, 'orientation_xyzw is .*; expected a unit quaternion')])
def test_a_camera_that_makes_no_sense_is_named(change, message):
    with pytest.raises(CalibrationError, match=message):
        camera(**change)


@pytest.mark.parametrize('text, message', [
    ('cameras: [', 'cannot be read'), ('a: 1', "has no 'cameras'"), ('', "has no 'cameras'"),
    ('cameras: {front: 3}', "camera 'front' is 3; expected a mapping"),
    ('cameras: {}\nfootprint_m: {rear: 2, front: 1, width: 1}', 'expected rear < front'),
    ('cameras: {}\nfootprint_m: 3', 'footprint_m is 3; expected rear, front, width')])
def test_a_rig_file_that_makes_no_sense_is_named(text, message, tmp_path):
    path = tmp_path / 'rig.yaml'
    path.write_text(text)
    with pytest.raises(CalibrationError, match=message) as caught:
        load_rig(path)
    assert 'rig.yaml' in str(caught.value)


def test_a_rig_file_with_four_coefficients_as_opencv_writes_them(tmp_path):
    path = tmp_path / 'rig.yaml'
    path.write_text(yaml.safe_dump({'cameras': {'front': entry(d=[-0.3, 0.1, 0, 0])}}))
    rig = load_rig(path)
    assert rig.cameras['front'].distortion == pytest.approx([-0.3, 0.1, 0, 0, 0])
    assert rig.footprint == FOOTPRINT_M
    with pytest.raises(CalibrationError, match='cannot be read'):
        load_rig(tmp_path / 'none.yaml')
