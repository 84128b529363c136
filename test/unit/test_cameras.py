"""Cameras: ids and names as the released checkpoints know them."""

from __future__ import annotations

import pytest

from alpamayo_ros.cameras import CAMERAS, SIX_CAMERA_RIG, camera_by_id, camera_by_name


def test_ids_count_from_zero_and_names_are_distinct():
    assert [camera.camera_id for camera in CAMERAS] == list(range(7))
    assert len({camera.name for camera in CAMERAS}) == 7
    assert len({camera.prompt_name for camera in CAMERAS}) == 7


def test_what_prompts_call_them():
    assert [camera.prompt_name for camera in CAMERAS] == [
        'Front left camera', 'Front camera', 'Front right camera', 'Rear left camera',
        'Rear camera', 'Rear right camera', 'Front telephoto camera']
    assert [camera.fov_deg for camera in CAMERAS] == [120, 120, 120, 70, 30, 70, 30]


def test_the_six_camera_rig():
    assert [camera_by_name(name).camera_id for name in SIX_CAMERA_RIG] == [0, 1, 2, 3, 5, 6]


@pytest.mark.parametrize('camera', CAMERAS, ids=lambda camera: camera.name)
def test_found_by_name_and_by_id(camera):
    assert camera_by_name(camera.name) is camera_by_id(camera.camera_id) is camera


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'side' is unknown.*cross_left, front_wide"):
        camera_by_name('side')


@pytest.mark.parametrize('camera_id', [-1, 7])
def test_unknown_id_gives_the_range(camera_id):
    with pytest.raises(ValueError, match=f'{camera_id} is unknown; expected 0 to 6'):
        camera_by_id(camera_id)
