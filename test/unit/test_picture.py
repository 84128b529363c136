"""The picture of a plan, and text that is safe to show."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from alpamayo_ros.drive.picture import PlanScene, View, draw_plan, printable
from alpamayo_ros.rig import NOMINAL_RIG


def scene(**changes):
    turns = np.linspace(-0.02, 0.02, 32)
    steps = 0.8 * np.arange(1, 65)
    paths = [np.stack([np.sin(k * steps) / k, (1 - np.cos(k * steps)) / k, 0 * steps], axis=1)
             for k in turns]
    views = {name: View(np.full((90, 160, 3), 120, np.uint8), -12.0) for name in NOMINAL_RIG}
    values = dict(views=views, candidates=paths, plausible=[True] * 32,
                  history=np.stack([np.linspace(-12, 0, 16), np.zeros(16), np.zeros(16)], axis=1),
                  reasoning='Keep the lane.', title='plan 1', notes=['a note'], banner='')
    return PlanScene(**{**values, **changes})


def picture(tmp_path, name='plan.png', **changes):
    draw_plan(scene(**changes), NOMINAL_RIG, tmp_path / name)
    image = cv2.imread(str(tmp_path / name))
    assert image is not None
    return image[..., ::-1].astype(int)


def share_of(image, rgb, tolerance=12):
    return (np.abs(image - rgb).max(axis=-1) <= tolerance).mean()


GREEN, RED = (0, 200, 83), (213, 0, 0)


def test_selected_path_is_green_in_the_views_and_from_above(tmp_path):
    image = picture(tmp_path)
    half = int(0.72 * image.shape[1])
    assert share_of(image[:, :half], GREEN) > 1e-4
    assert share_of(image[:, half:], GREEN) > 1e-4
    assert share_of(picture(tmp_path, candidates=[], plausible=[]), GREEN) == 0


def test_the_left_is_on_the_left(tmp_path):
    steps = 0.8 * np.arange(1, 65)
    left = np.stack([30 * np.sin(steps / 30), 30 * (1 - np.cos(steps / 30)), 0 * steps], axis=1)
    centres = []
    for path in (left, left * [1, -1, 1]):
        image = picture(tmp_path, candidates=[path], plausible=[True])
        above = image[:, int(0.76 * image.shape[1]):]
        green = np.abs(above - GREEN).max(axis=-1) <= 12
        centres.append(np.argwhere(green)[:, 1].mean())
        # In the wide front view, too.
        front = image[:int(0.45 * image.shape[0]), int(0.25 * image.shape[1]):][
            :, :int(0.23 * image.shape[1])]
        green = np.abs(front - GREEN).max(axis=-1) <= 12
        centres.append(np.argwhere(green)[:, 1].mean())
    assert centres[0] < centres[2] - 20 and centres[1] < centres[3] - 20


def test_banner_and_implausible_candidates_are_red(tmp_path):
    assert share_of(picture(tmp_path), RED) == 0
    assert share_of(picture(tmp_path, banner='NOT DRIVING')[:60], RED) > 0.03
    assert share_of(picture(tmp_path, plausible=[True] * 20 + [False] * 12), RED) > 1e-4


def test_wild_input_still_gives_a_picture(tmp_path):
    wild = [np.full((64, 3), np.nan), np.full((64, 3), 1e7), np.zeros((64, 3))]
    image = picture(tmp_path, candidates=wild, plausible=[False] * 3, views={},
                    reasoning='$\\frac{ \x00\x1b[31m ￼ ' * 200, title='$x', notes=['$'] * 3)
    assert image.shape == (940, 1920, 3)


@pytest.mark.parametrize('text, shown', [
    ('Stop for the light.', 'Stop for the light.'), ('a\nb\tc', 'a b c'),
    ('\x00\x07\x1b[31m', r'\x00\x07\x1b[31m'), ('\ufffd', '\ufffd'), ('中', '中'),
    ('\u202eevil', r'\u202eevil'), ('\U0001f697', '\U0001f697'), ('\x85', r'\x85')])
def test_printable(text, shown):
    assert printable(text) == shown
    assert all(char.isprintable() for char in printable(text))


def test_printable_for_a_plain_font():
    assert printable('a 中 \ufffd é', only_latin=True) == 'a \\u4e2d \ufffd é'
