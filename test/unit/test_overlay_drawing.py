"""Candidates drawn into a view: at the right pixels, in the right colours, whatever they are; and
the parameters that ask for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from alpamayo_ros.calibration import CameraModel
from alpamayo_ros.colors import SELECTED
from alpamayo_ros.images import small_copy
from alpamayo_ros.overlay import MAX_WIDTH, draw
from alpamayo_ros.rig import NOMINAL_RIG
from alpamayo_ros.ros.node_settings import OverlaySettings, node_settings
from alpamayo_ros.ros.parameter_table import PARAMETERS, ParameterError
from alpamayo_ros.types import Candidate, Plan, Reasoning

WIDTH, HEIGHT = 480, 270
CAMERA = CameraModel.from_mounted(NOMINAL_RIG['front_wide'], 1920, 1080)
GREY = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)


def candidate(bend: float, speed: float = 8.0, **options) -> Candidate:
    """To the left for a positive bend (m/s^2 of lateral acceleration)."""
    seconds = 0.1 * np.arange(1, 65)
    xyz = np.stack([speed * seconds, bend * seconds ** 2 / 2, np.zeros(64)], axis=1)
    return Candidate(sample=0, reasoning=0, xyz=xyz, rot=np.tile(np.eye(3), (64, 1, 1)),
                     action=np.zeros((64, 2)), **options)


def plan(*candidates: Candidate) -> Plan:
    """A plan with these candidates, best first."""
    return Plan(t0_ns=0, dt_s=0.1, v0=8.0, reasoning=(Reasoning('', '', '', 0, False),),
                candidates=candidates, seed=0, reasoning_mode='single', timings_ms={})


def changed(picture: np.ndarray) -> np.ndarray:
    """Where something was drawn, (H, W) of bool."""
    return (picture != GREY).any(axis=2)


def test_the_selected_path_is_drawn_where_the_camera_sees_it():
    selected = candidate(0.6)
    picture = draw(GREY, CAMERA, plan(selected), 0.95)
    pixels = CAMERA.resized(WIDTH, HEIGHT).project(selected.xyz[20:50])
    color = 255 * np.array(SELECTED[:3])
    for column, row in np.round(pixels).astype(int):
        assert picture[row, column] == pytest.approx(color, abs=25)


def test_the_selected_path_is_as_wide_as_the_vehicle():
    drawn = changed(draw(GREY, CAMERA, plan(candidate(0.0)), 0.95))
    small = CAMERA.resized(WIDTH, HEIGHT)
    for distance in (6.0, 10.0, 20.0):
        left, right = small.project(np.array([[distance, 0.95, 0], [distance, -0.95, 0]]))
        columns = np.flatnonzero(drawn[round(left[1])])
        assert columns.min() == pytest.approx(left[0], abs=2)
        assert columns.max() == pytest.approx(right[0], abs=2)


def test_others_are_drawn_below_the_selected_one_and_in_other_colors():
    both = draw(GREY, CAMERA, plan(candidate(0.0), candidate(2.0)), 0.95)
    one = draw(GREY, CAMERA, plan(candidate(0.0)), 0.95)
    added = (both != one).any(axis=2)
    assert 100 < added.sum() < changed(one).sum()
    assert np.flatnonzero(added.any(axis=0)).mean() < WIDTH / 2
    # Blue, where the selected one is orange.
    beside = added & ~changed(one)
    assert both[beside][:, 2].mean() > both[beside][:, 0].mean()
    assert one[changed(one)][:, 0].mean() > one[changed(one)][:, 2].mean()


def test_an_image_older_than_the_plan_sees_the_path_further_ahead():
    # Its end is at 12.8 m; 0.5 s at 8 m/s before t0 the camera was 4 m further away from it.
    small = CAMERA.resized(WIDTH, HEIGHT)
    for age_s, end_m in ((0.0, 12.8), (0.5, 16.8)):
        drawn = changed(draw(GREY, CAMERA, plan(candidate(0.0, speed=2.0)), 0.95, age_s))
        top = np.flatnonzero(drawn.any(axis=1)).min()
        assert top == pytest.approx(small.project(np.array([end_m, 0.0, 0.0]))[1], abs=2)


def test_the_image_itself_is_not_drawn_into():
    before = GREY.copy()
    draw(GREY, CAMERA, plan(candidate(0.0), candidate(1.0)), 0.95)
    assert (before == GREY).all()


@pytest.mark.parametrize('case', [
    'still', 'backwards', 'far', 'not finite', 'sideways', 'all implausible'])
def test_any_path_can_be_drawn(case):
    xyz = {'still': np.zeros((64, 3)), 'backwards': -candidate(0.0).xyz,
           'far': candidate(0.0).xyz * 1e5, 'sideways': candidate(0.0).xyz[:, [1, 0, 2]],
           'not finite': np.where(np.arange(64)[:, None] % 7 == 3, np.nan, candidate(0.0).xyz),
           'all implausible': candidate(0.5).xyz}[case]
    reasons = ('too fast',) if case == 'all implausible' else ()
    odd = dataclasses.replace(candidate(0.0), xyz=xyz, reasons=reasons)
    picture = draw(GREY, CAMERA, plan(odd, odd), 0.95)
    assert picture.shape == GREY.shape
    # Beside the vehicle is behind its front camera.
    assert changed(picture).any() == (case not in ('still', 'backwards', 'sideways'))


def test_a_camera_that_looks_back_sees_nothing_of_it():
    back = dataclasses.replace(
        CAMERA, position=np.array([-1.0, 0.0, 1.5]),
        rotation=CAMERA.rotation @ Rotation.from_euler('z', np.pi).as_matrix())
    assert not changed(draw(GREY, back, plan(candidate(0.0)), 0.95)).any()


def test_pictures_for_people_are_small_and_their_own():
    large = np.zeros((1080, 1920, 3), np.uint8)
    assert small_copy(large, MAX_WIDTH).shape == (540, MAX_WIDTH, 3)
    small = np.zeros((100, 200, 3), np.uint8)
    copy = small_copy(small, MAX_WIDTH)
    assert copy.shape == small.shape
    assert not np.shares_memory(copy, small)


def settings(**changes) -> OverlaySettings | None:
    """The overlay's settings from the parameters' defaults and changes."""
    values = {spec.name: spec.default for spec in PARAMETERS} | {'checkpoint': 'somewhere'}
    return node_settings(values | changes).overlay


def test_the_overlay_is_off_unless_asked_for_and_nobody_looks_at_the_rig_file_then():
    assert settings() is None
    assert settings(rig_file='nowhere.yaml') is None


def test_the_mount_is_that_of_the_nominal_rig_unless_given():
    nominal = NOMINAL_RIG['front_wide']
    asked = settings(publish_overlay=True)
    assert asked.rig_file is None
    assert asked.position_m == nominal.xyz
    assert asked.angles_deg == (nominal.yaw_deg, nominal.pitch_deg, 0.0)
    other = settings(**{'publish_overlay': True, 'rig_file': 'rig.yaml',
                        'front_wide_mount.z_m': 2.0, 'front_wide_mount.roll_deg': -1.0})
    assert other.rig_file.name == 'rig.yaml'
    assert other.position_m[2] == 2.0
    assert other.angles_deg[2] == -1.0


def test_an_overlay_without_its_camera_is_refused():
    with pytest.raises(ParameterError, match="'publish_overlay' is True and 'cameras' has no fron"):
        settings(publish_overlay=True, cameras=('cross_left', 'front_tele'))
