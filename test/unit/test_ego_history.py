"""The ego history: refused with both numbers when poses and twist disagree, robust to noise."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from alignment_streams import (
    after_start,
    constant_speed,
    ego_state,
    every,
    planned,
    refused,
    standard,
)
from scipy.spatial.transform import Rotation


@pytest.mark.parametrize('twist, posed, told', [
    ({'speed': 0.0}, '5.00', '0.00'), ({'speed': 18.0}, '5.00', '18.00'),
    ({'speed': -5.0}, '5.00', '5.00'),
    ({'velocity': np.array([0.0, 5.0, 0.0])}, r'5.00 m/s \(forward 5.00, left 0.00',
     r'5.00 m/s \(forward 0.00, left 5.00')])
def test_a_history_that_disagrees_with_the_twist_is_refused(twist, posed, told) -> None:
    refusal = refused(standard(**twist).align())
    assert refusal.stream == 'odometry' and after_start(refusal.t0_ns) == 2900
    assert not refusal.waiting
    assert re.search(rf'speed from poses {posed}.*disagrees with twist {told}.*limit \d\.\d\d m/s',
                     refusal.reason)


def test_poses_that_stop_coming_true_are_refused_soon() -> None:
    # The position freezes 0.3 s before t0 while the twist goes on.
    drive = standard(pose=lambda t: (5.0 * min(t, 2.6), 0.0, 0.0), speed=5.0)
    refusal = refused(drive.align())
    assert 'disagrees with twist 5.00 m/s' in refusal.reason
    assert 'between t0 - 0.5 s and t0 - 0.0 s' in refusal.reason


@pytest.mark.parametrize('yaw_rate, expected', [(0.0, '0.000'), (-0.3, '-0.300'), (17.2, '17.200')])
def test_a_yaw_rate_that_disagrees_is_refused_with_both_numbers(yaw_rate, expected) -> None:
    def circle(t: float) -> tuple[float, float, float]:
        return 20 * np.sin(0.3 * t), -20 * np.cos(0.3 * t), 0.3 * t

    refusal = refused(standard(pose=circle, yaw_rate=yaw_rate).align())
    assert f'yaw rate from poses 0.300 rad/s disagrees with twist {expected} rad/s' in (
        refusal.reason)


def test_a_jump_of_the_position_is_refused() -> None:
    drive = standard(pose=lambda t: (5.0 * t + (12.0 if t > 2.41 else 0.0), 0.0, 0.0), speed=5.0)
    refusal = refused(drive.align())
    assert refusal.reason.startswith('position jumps by 12.50 m between t0 - 0.5 s and t0 - 0.4 s')
    drive = standard(pose=lambda t: (5.0 * t, 2.0 if t > 2.41 else 0.0, 0.0),
                     velocity=np.array([5.0, 0.0, 0.0]))
    assert 'left 4.00) disagrees with twist' in refused(drive.align()).reason


@pytest.mark.parametrize('speed', [0.0, -2.0, 3.0, 40.0])
def test_noise_of_a_good_localisation_passes_at_any_speed(speed) -> None:
    rng = np.random.default_rng(1)
    drive = standard()
    clean_states = [ego_state(stamp, constant_speed(speed)) for stamp in every(20, 0, 3000)]
    for _ in range(10):
        drive.odometry.clear()
        for clean in clean_states:
            drive.odometry.add(replace(
                clean, position=clean.position + rng.normal(0, 0.03, 3),
                orientation=clean.orientation + rng.normal(0, 0.003, 4),
                linear_velocity=clean.linear_velocity + rng.normal(0, 0.1, 3),
                angular_velocity=clean.angular_velocity + rng.normal(0, 0.02, 3)))
        planned(drive.align())


def test_braking_hard_in_a_bend_on_a_slope_passes() -> None:
    # 8 m/s^2 with 0.1 s of delay in the twist is 0.8 m/s apart.
    def bend(t: float) -> tuple[float, float, float]:
        way = 25.0 * t - 4.0 * t * t
        return 30 * np.sin(way / 30), 30 - 30 * np.cos(way / 30), way / 30

    drive = standard()
    drive.odometry.clear()
    tilt = Rotation.from_euler('xyz', [0.03, -0.1, 0.0])
    for stamp in every(20, 0, 3000):
        clean = ego_state(stamp, bend)
        drive.odometry.add(replace(
            clean, position=tilt.apply(clean.position),
            orientation=(tilt * Rotation.from_quat(clean.orientation)).as_quat()))
    planned(drive.align())
