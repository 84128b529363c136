"""Plausibility: legal paths pass up to the limits, each fault is named with its numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alpamayo_ros.checks import CURVATURE_SPEED_FLOOR_MPS, implausible_reasons
from alpamayo_ros.settings import PlausibilityLimits

DT = 0.1
STEPS = 64
LIMITS = PlausibilityLimits()


def drive(accel: np.ndarray, curvature: np.ndarray, v0: float) -> tuple[np.ndarray, np.ndarray]:
    """Integrate as spec'd for the model, in float32: xyz (N, T, 3) and rot (N, T, 3, 3)."""
    accel, curvature = (np.atleast_2d(np.broadcast_to(values, (*np.shape(values)[:-1], STEPS)))
                        for values in np.broadcast_arrays(accel, curvature))
    count = len(accel)
    xyz, rot = np.zeros((count, STEPS, 3), np.float32), np.zeros((count, STEPS, 3, 3), np.float32)
    speed, theta = np.full(count, v0, np.float32), np.zeros(count, np.float32)
    place = np.zeros((count, 2), np.float32)
    for step in range(STEPS):
        a, k = accel[:, step].astype(np.float32), curvature[:, step].astype(np.float32)
        before = speed[:, None] * np.stack([np.cos(theta), np.sin(theta)], 1)
        theta = theta + k * speed * np.float32(DT) + k * a * np.float32(DT * DT / 2)
        speed = speed + a * np.float32(DT)
        after = speed[:, None] * np.stack([np.cos(theta), np.sin(theta)], 1)
        place = place + np.float32(DT / 2) * (before + after)
        xyz[:, step, :2] = place
        rot[:, step, 0, 0] = rot[:, step, 1, 1] = np.cos(theta)
        rot[:, step, 1, 0], rot[:, step, 0, 1] = np.sin(theta), -np.sin(theta)
        rot[:, step, 2, 2] = 1
    return xyz, rot


def reasons_of(accel: object, curvature: object, v0: float,
               limits: PlausibilityLimits = LIMITS) -> tuple[str, ...]:
    xyz, rot = drive(np.asarray(accel, float) * np.ones(STEPS),
                     np.asarray(curvature, float) * np.ones(STEPS), v0)
    (reasons,) = implausible_reasons(xyz, rot, v0=v0, dt_s=DT, limits=limits)
    return reasons


def braking(v0: float, rate: float) -> np.ndarray:
    """Accelerations that stop from ``v0`` at ``rate`` and then stand."""
    speeds = np.maximum(v0 - rate * DT * np.arange(STEPS + 1), 0.0)
    return np.diff(speeds) / DT


@pytest.mark.parametrize('v0', [0.0, 0.3, 3.0, 10.0, 33.0, 55.0])
def test_constant_speed_passes(v0) -> None:
    assert reasons_of(0.0, 0.0, v0) == ()


@pytest.mark.parametrize('v0', [0.5, 7.3, 20.0, 45.0])
@pytest.mark.parametrize('rate', [8.0, LIMITS.max_decel_mps2])
@pytest.mark.parametrize('curvature', [0.0, 0.004])
def test_full_braking_to_standstill_passes(v0, rate, curvature) -> None:
    assert reasons_of(braking(v0, rate), curvature, v0) == ()


@pytest.mark.parametrize('v0', [0.0, 5.0, 20.0])
def test_full_acceleration_passes(v0) -> None:
    assert reasons_of(LIMITS.max_accel_mps2, 0.0, v0) == ()


@pytest.mark.parametrize('v0', [0.0, 0.05, 0.4, 2.0, 4.9])
@pytest.mark.parametrize('side', [-1.0, 1.0])
def test_the_tightest_turn_passes(v0, side) -> None:
    assert reasons_of(0.0, side * LIMITS.max_curvature_1pm, v0) == ()


def test_starting_off_and_stopping_in_the_tightest_turn_passes() -> None:
    accel = np.where(np.arange(STEPS) < 20, 2.0, -2.0) * (np.arange(STEPS) < 40)
    assert reasons_of(accel, LIMITS.max_curvature_1pm, 0.0) == ()


@pytest.mark.parametrize('v0', [0.0, 1.0, 8.0, 30.0])
def test_any_path_within_the_limits_passes(v0) -> None:
    rng = np.random.default_rng(int(v0))
    count = 200
    accel = rng.uniform(-LIMITS.max_decel_mps2, LIMITS.max_accel_mps2, (count, STEPS))
    speed, actions = np.full(count, v0), np.empty((2, count, STEPS))
    for step in range(STEPS):
        a = np.maximum(accel[:, step], -speed / DT)
        fastest = np.maximum(speed, speed + a * DT)
        tightest = np.minimum(LIMITS.max_curvature_1pm,
                              LIMITS.max_lateral_accel_mps2 / np.maximum(fastest, 0.1) ** 2)
        actions[0, :, step] = a
        actions[1, :, step] = tightest * rng.choice([-1, 1], count)
        speed = speed + a * DT
    xyz, rot = drive(*actions, v0)
    assert implausible_reasons(xyz, rot, v0=v0, dt_s=DT, limits=LIMITS) == [()] * count


@pytest.mark.parametrize('step', [0, 1, 30, 63])
@pytest.mark.parametrize('accel, expected', [
    (7.0, 'acceleration 7.0'), (-10.0, 'deceleration 10.0')])
def test_a_single_step_beyond_the_acceleration_is_found(step, accel, expected) -> None:
    profile = np.zeros(STEPS)
    profile[step] = accel
    (reason,) = reasons_of(profile, 0.0, 15.0)
    assert reason.startswith(expected) and f'at waypoint {step}, limit' in reason


@pytest.mark.parametrize('step', [0, 17, 63])
@pytest.mark.parametrize('v0', [1.0, 3.0])
def test_a_single_step_beyond_the_curvature_is_found(step, v0) -> None:
    profile = np.zeros(STEPS)
    profile[step] = -0.4
    assert reasons_of(0.0, profile, v0) == (
        f'curvature 0.400 1/m at waypoint {step}, limit 0.330',)


def test_lateral_acceleration_is_speed_squared_times_curvature() -> None:
    (reason,) = reasons_of(0.0, 0.09, 10.0)
    assert reason.startswith('lateral acceleration 9.0') and reason.endswith('limit 8.000')
    assert reasons_of(0.0, 0.079, 10.0) == ()


def test_turning_on_the_spot_is_curvature() -> None:
    xyz, rot = np.zeros((1, STEPS, 3)), np.tile(np.eye(3), (1, STEPS, 1, 1))
    # A heading off by a thousandth of a degree while standing is noise, ten degrees are not.
    for degrees, plausible in ((1e-3, True), (10.0, False)):
        angle = np.radians(degrees)
        turned = rot.copy()
        turned[0, 30:, :2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        (reasons,) = implausible_reasons(xyz, turned, v0=0.0, dt_s=DT, limits=LIMITS)
        assert (reasons == ()) == plausible
    assert reasons[0].startswith(
        f'curvature {np.radians(10) / DT / CURVATURE_SPEED_FLOOR_MPS:.3f} 1/m at waypoint 30')


@pytest.mark.parametrize('distance, plausible', [(0.4, True), (0.6, False)])
def test_rolling_back_is_summed_over_the_path(distance, plausible) -> None:
    # Two rolls of half the distance each: backwards, halt, backwards again.
    peak = distance / 2 / 0.5
    roll = np.repeat([-peak, peak], 5) / 0.5
    reasons = reasons_of(np.pad(np.tile(roll, 2), (0, STEPS - 20)), 0.0, 0.0)
    assert reasons == (() if plausible else ('runs backwards 0.600 m, limit 0.500',))


def test_reverse_driving_is_judged_by_the_same_rule() -> None:
    assert reasons_of(0.0, 0.1, -1.0)[0].startswith('runs backwards 6.400 m')
    assert reasons_of(0.0, 0.1, -1.0, replace(LIMITS, max_backward_m=7.0)) == ()


@pytest.mark.parametrize('offset', [(3.0, 0.0, 0.0), (0.0, -2.5, 0.0), (0.0, 0.0, 2.5)])
def test_a_start_off_the_vehicle_is_the_only_reason_given(offset) -> None:
    xyz, rot = drive(np.full(STEPS, 2.0), np.full(STEPS, 0.01), 5.0)
    (reasons,) = implausible_reasons(xyz + offset, rot, v0=5.0, dt_s=DT, limits=LIMITS)
    assert len(reasons) == 1
    assert reasons[0].startswith('starts off the vehicle: first waypoint at ')
    assert reasons[0].endswith('limit 1.500')


def test_not_finite_is_the_only_reason_and_leaves_the_others_alone() -> None:
    xyz, rot = drive(np.tile([[0.0], [0.0], [7.0], [0.0], [0.0]], STEPS), np.zeros((5, STEPS)), 9.0)
    xyz[0, 63, 0], xyz[1, 0, 2], rot[3, 5, 1, 0], xyz[4] = np.nan, np.inf, np.nan, 3e38
    with np.errstate(all='raise'):
        reasons = implausible_reasons(xyz, rot, v0=9.0, dt_s=DT, limits=LIMITS)
    assert [reasons[index] for index in (0, 1, 3, 4)] == [('not finite',)] * 4
    assert len(reasons[2]) == 1 and reasons[2][0].startswith('acceleration 7.0')


def test_random_walks_never_break_the_checks() -> None:
    rng = np.random.default_rng(3)
    xyz, rot = drive(rng.normal(0, 40, (50, STEPS)), rng.normal(0, 3, (50, STEPS)), 12.0)
    with np.errstate(all='raise'):
        reasons = implausible_reasons(xyz, rot, v0=12.0, dt_s=DT, limits=LIMITS)
    assert all(reasons)
    alone = [implausible_reasons(xyz[i:i + 1], rot[i:i + 1], v0=12.0, dt_s=DT, limits=LIMITS)[0]
             for i in range(50)]
    assert alone == reasons


@pytest.mark.parametrize('waypoints', [1, 2, 3])
def test_short_paths_are_judged_too(waypoints) -> None:
    xyz, rot = drive(np.zeros(STEPS), np.zeros(STEPS), 10.0)
    for shift, plausible in ((0.0, True), (-5.0, False)):
        (reasons,) = implausible_reasons(xyz[:, :waypoints] + [shift, 0, 0], rot[:, :waypoints],
                                         v0=10.0, dt_s=DT, limits=LIMITS)
        assert (reasons == ()) == plausible


def test_wrong_arguments_are_named() -> None:
    xyz, rot = np.zeros((2, 4, 3)), np.zeros((2, 4, 3, 3))
    with pytest.raises(ValueError, match=r'xyz has shape \(2, 4, 2\)'):
        implausible_reasons(xyz[..., :2], rot, v0=0.0, dt_s=DT, limits=LIMITS)
    with pytest.raises(ValueError, match=r'rot has shape \(1, 4, 3, 3\)'):
        implausible_reasons(xyz, rot[:1], v0=0.0, dt_s=DT, limits=LIMITS)
    with pytest.raises(ValueError, match='v0 is nan'):
        implausible_reasons(xyz, rot, v0=float('nan'), dt_s=DT, limits=LIMITS)
    with pytest.raises(ValueError, match='dt_s is 0'):
        implausible_reasons(xyz, rot, v0=0.0, dt_s=0, limits=LIMITS)


def test_no_candidates_are_no_reasons() -> None:
    assert implausible_reasons(np.zeros((0, 4, 3)), np.zeros((0, 4, 3, 3)), v0=0.0, dt_s=DT,
                               limits=LIMITS) == []
