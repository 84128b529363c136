"""The figures about plans, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from alpamayo_ros.metrics.agreement import agreement, manoeuvre, read_text
from alpamayo_ros.metrics.displacement import displacement
from alpamayo_ros.metrics.diversity import diversity
from alpamayo_ros.metrics.kinematics import controls, kinematics, motion, path_of_controls
from alpamayo_ros.metrics.plan import plan_metrics
from alpamayo_ros.metrics.steadiness import in_odometry, steadiness
from alpamayo_ros.metrics.summary import reason_kind, spread, summarise

DT = 0.1
STEPS = 64


def straight(speed=10.0, aside=0.0, steps=STEPS):
    along = speed * DT * np.arange(1, steps + 1)
    return np.stack([along, np.full(steps, aside), np.zeros(steps)], axis=1)


def driven(accel, curvature, v0):
    """A unicycle's path (T, 3) m and headings (T,), from controls that may be numbers."""
    path = path_of_controls(np.broadcast_to(accel, STEPS), np.broadcast_to(curvature, STEPS), v0,
                            DT)
    return np.column_stack([path[:, :2], np.zeros(STEPS)]), path[:, 2]


# Displacement

def test_displacement_of_a_path_that_drifts_away():
    future = straight()
    drifting = future + np.stack([np.zeros(STEPS), 0.1 * np.arange(1, STEPS + 1),
                                  np.full(STEPS, 99.0)], axis=1)
    figures = displacement(np.stack([drifting, future + [0, 0.5, 0]]), future, DT)
    assert figures['ade_1s'] == pytest.approx(0.55)
    assert figures['fde_1s'] == pytest.approx(1.0)
    assert figures['ade_3s'] == pytest.approx(0.1 * 31 / 2)
    assert figures['fde_6.4s'] == pytest.approx(6.4)
    assert figures['min_ade_1s'] == figures['min_fde_6.4s'] == pytest.approx(0.5)
    assert figures['miss_6.4s'] == 0.0
    alone = displacement(drifting[None], future, DT)
    assert (alone['miss_1s'], alone['miss_3s'], alone['miss_6.4s']) == (0.0, 1.0, 1.0)


def test_a_future_that_ends_early_gives_none_beyond_its_end():
    future = straight()
    future[30:] = np.nan
    figures = displacement(straight(aside=1.0)[None], future, DT)
    assert figures['ade_3s'] == pytest.approx(1.0)
    assert all(figures[name] is None for name in figures if name.endswith('6.4s'))
    future[29] = np.nan
    assert displacement(straight()[None], future, DT)['min_ade_3s'] is None


def test_a_hole_in_the_future_hides_what_is_behind_it():
    future = straight()
    future[4] = np.nan
    figures = displacement(straight()[None], future, DT)
    assert set(figures.values()) == {None}


def test_paths_that_are_shorter_than_a_horizon_have_no_figure_for_it():
    figures = displacement(straight(steps=20)[None], straight(steps=20), DT)
    assert figures['ade_1s'] == 0.0
    assert figures['ade_3s'] is figures['miss_6.4s'] is None


def test_a_candidate_that_is_not_finite_counts_for_nothing():
    figures = displacement(np.stack([np.full((STEPS, 3), np.nan), straight(aside=1.0)]),
                           straight(), DT)
    assert figures['ade_1s'] is None
    assert figures['min_ade_1s'] == pytest.approx(1.0)


# Diversity

def test_diversity_of_three_parallel_paths():
    figures = diversity(np.stack([straight(aside=y) for y in (0.0, 3.0, 6.0)]))
    assert figures['diversity_m'] == pytest.approx((3 + 3 + 6) / 3)
    assert figures['end_spread_m'] == pytest.approx(math.sqrt((9 + 0 + 9) / 3))


def test_one_path_has_no_diversity():
    broken = np.full((STEPS, 3), np.nan)
    assert diversity(np.stack([straight(), broken])) == {'diversity_m': None, 'end_spread_m': None}


# Kinematics

def test_motion_of_a_braking_curve():
    xyz, yaw = driven(-1.5, 0.05, 12.0)
    moved = motion(xyz, yaw, 12.0, DT)
    assert moved.acceleration == pytest.approx(-1.5, abs=0.02)
    assert moved.speed[0] == pytest.approx(12.0 - 0.075, abs=1e-3)
    assert moved.yaw_rate == pytest.approx(moved.speed * 0.05, rel=1e-3)
    figures = kinematics(xyz, yaw, 12.0, DT)
    assert figures['max_speed_mps'] == pytest.approx(11.925, abs=1e-3)
    assert figures['max_accel_mps2'] == 0.0
    assert figures['max_decel_mps2'] == pytest.approx(1.5, abs=0.02)
    assert figures['max_lateral_accel_mps2'] == pytest.approx(0.05 * 11.925 ** 2, rel=1e-3)
    assert figures['max_yaw_rate_radps'] == pytest.approx(0.05 * 11.925, rel=1e-3)
    assert figures['max_jerk_mps3'] < 0.1


def test_jerk_of_a_step_in_acceleration():
    accel = np.where(np.arange(STEPS) < 30, 0.0, 2.0)
    xyz, yaw = driven(accel, 0.0, 5.0)
    # Over a step and its neighbour the change of 2 m/s^2 is seen in two halves.
    assert kinematics(xyz, yaw, 5.0, DT)['max_jerk_mps3'] == pytest.approx(1.0 / DT)


def test_controls_are_those_the_path_was_made_from():
    rng = np.random.default_rng(0)
    accel, curvature = rng.normal(0, 1, STEPS), rng.normal(0, 0.03, STEPS)
    xyz, yaw = driven(accel, curvature, 15.0)
    found = controls(xyz, yaw, 15.0, DT)
    assert found[0] == pytest.approx(accel, abs=1e-8)
    assert found[1] == pytest.approx(curvature, abs=1e-8)
    assert kinematics(xyz, yaw, 15.0, DT)['reconstruction_m'] < 1e-9


def test_the_unicycle_is_that_of_the_model():
    import torch

    from alpamayo_ros.model.unicycle import UnicycleParameters, heading, rollout

    rng = np.random.default_rng(1)
    action = np.stack([rng.normal(0, 1, STEPS), rng.normal(0, 0.03, STEPS)], axis=1)
    xyz, rot = rollout(torch.from_numpy(action), torch.tensor(9.0, dtype=torch.float64),
                       UnicycleParameters())
    path = path_of_controls(action[:, 0], action[:, 1], 9.0, DT)
    assert path[:, :2] == pytest.approx(xyz.numpy()[:, :2], abs=1e-9)
    assert np.cos(path[:, 2]) == pytest.approx(np.cos(heading(rot).numpy()), abs=1e-9)


def test_a_path_that_slides_sideways_cannot_be_reconstructed():
    sliding = straight(5.0) + np.stack([np.zeros(STEPS), 0.05 * np.arange(1, STEPS + 1),
                                        np.zeros(STEPS)], axis=1)
    assert kinematics(sliding, np.zeros(STEPS), 5.0, DT)['reconstruction_m'] == pytest.approx(
        0.05 * STEPS)


def test_kinematics_of_what_is_not_finite():
    broken = straight()
    broken[7, 0] = np.inf
    assert set(kinematics(broken, np.zeros(STEPS), 5.0, DT).values()) == {None}


# Steadiness

def test_a_plan_that_goes_on_as_before_is_steady():
    # In a fixed frame, half a second later the same way begins half a second further.
    later = straight() + [5.0, 0.0, 0.0]
    assert steadiness(10 ** 9, straight(), 15 * 10 ** 8, later, DT) == pytest.approx(0.0)
    assert steadiness(10 ** 9, straight(), 15 * 10 ** 8, later + [0, 0, 2.0], DT) == (
        pytest.approx(2.0))


def test_steadiness_between_instants_off_the_grid_of_waypoints():
    later = straight() + [0.5, 0.3, 0.0]
    assert steadiness(0, straight(), 50_000_000, later, DT) == pytest.approx(0.3)


@pytest.mark.parametrize('later_ns', [0, -10 ** 9, 7 * 10 ** 9])
def test_no_time_in_common_no_steadiness(later_ns):
    assert steadiness(0, straight(), later_ns, straight(), DT) is None


def test_points_go_into_the_odometry_frame_through_the_pose():
    turn = Rotation.from_euler('ZYX', [100, 5, -3], degrees=True)
    pose = np.concatenate([[3.0, -2.0, 1.0], turn.as_quat()])
    points = np.random.default_rng(0).normal(size=(5, 3))
    assert in_odometry(points, pose) == pytest.approx(turn.apply(points) + pose[:3])


# Agreement

@pytest.mark.parametrize('accel, curvature, v0, expected', [
    (0.0, 0.0, 10.0, ('keep', 'straight')), (-2.0, 0.0, 12.0, ('stop', 'straight')),
    (-0.5, 0.0, 12.0, ('slow', 'straight')), (1.0, 0.0, 5.0, ('accelerate', 'straight')),
    (0.0, 0.02, 6.0, ('keep', 'left')), (0.0, -0.02, 6.0, ('keep', 'right')),
    (0.0, 0.0, 0.0, ('stop', 'straight'))])
def test_manoeuvre_of_a_path(accel, curvature, v0, expected):
    speeds = v0 + accel * DT * np.arange(STEPS)
    xyz, yaw = driven(np.where(speeds > 0.05, accel, 0.0), curvature, v0)
    assert manoeuvre(xyz, yaw, v0, DT) == expected


def test_a_lane_change_is_to_a_side_although_the_heading_comes_back():
    bend = np.concatenate([np.full(20, 0.005), np.full(20, -0.005), np.zeros(24)])
    xyz, yaw = driven(0.0, bend, 12.0)
    assert abs(yaw[-1]) < 1e-6 and manoeuvre(xyz, yaw, 12.0, DT) == ('keep', 'left')


@pytest.mark.parametrize('text, expected', [
    ('Slow down because the lead vehicle is braking.', ('slow', None)),
    ('Stop at the stop line since the light is red.', ('stop', None)),
    ('The light is red, so stop.', ('stop', None)),
    ('Keep the current speed: the road ahead is clear.', ('keep', None)),
    ('Maintain speed; no need to slow down for the stopped car.', ('keep', None)),
    ('Accelerate and turn left at the junction.', ('accelerate', 'left')),
    ('Nudge to the right to pass the stopped truck in the left lane.', (None, 'right')),
    ('Go straight on at the intersection due to the green light', (None, 'straight')),
    ('Yield to the pedestrian because he is turning right', ('slow', None)),
    ('Do not stop, keep a steady speed', ('keep', None)),
    ('Wait for the pedestrians.', ('stop', None)),
    ('Reduce speed for the slow vehicle ahead', ('slow', None)),
    ('The lead vehicle has stopped, therefore come to a full stop behind it', ('stop', None)),
    ('Follow the braking car at a distance', (None, None)),
    ('ofContinue ??', (None, None)), ('', (None, None))])
def test_what_a_text_says_about_the_own_vehicle(text, expected):
    assert read_text(text) == expected


def test_agreement_of_text_and_path():
    xyz, yaw = driven(-0.5, 0.0, 12.0)
    yes = agreement('Slow down, turn left.', xyz, yaw, 12.0, DT)
    assert yes == {'agreement_along': 1.0, 'agreement_across': 0.0, 'agreement': 0.0}
    assert agreement('Stop for the light.', xyz, yaw, 12.0, DT)['agreement'] == 1.0
    assert agreement('Accelerate.', xyz, yaw, 12.0, DT)['agreement_along'] == 0.0
    assert set(agreement('Hello.', xyz, yaw, 12.0, DT).values()) == {None}
    assert set(agreement('Stop.', xyz * np.nan, yaw, 12.0, DT).values()) == {None}


# A run

def test_the_figures_of_a_plan_are_in_one_flat_mapping():
    arrays = {'candidates_xyz': np.stack([straight(), straight(aside=1.0)]),
              'candidates_yaw': np.zeros((2, STEPS)), 'future_xyz': straight(),
              'plausible': np.array([True, False]), 'pose_at_t0': np.array([5.0, 0, 0, 0, 0, 0, 1])}
    line = {'t0_ns': 5 * 10 ** 8, 'v0': 10.0, 'reasoning': ['Stop.', 'Keep the speed.'],
            'reasoning_of': [1, 0]}
    figures = plan_metrics(line, arrays, DT, (0, straight()))
    assert figures['steadiness_m'] == pytest.approx(0.0)
    assert figures['agreement'] == 1.0
    assert figures['plausible_share'] == 0.5
    assert figures['ade_6.4s'] == 0.0
    assert plan_metrics(line, arrays, DT, None)['steadiness_m'] is None
    assert all(value is None or type(value) is float for value in figures.values())


def test_spread_leaves_out_what_is_not_known():
    assert spread([None, None]) is None
    assert spread([]) is None
    found = spread([*range(1, 12), None])
    assert found == {'count': 11, 'mean': 6.0, 'median': 6.0, 'p10': 2.0, 'p90': 10.0, 'min': 1.0,
                     'max': 11.0}


def test_reasons_are_counted_without_their_numbers():
    assert reason_kind('nearest to t0 - 0.3 s is 71.5 ms away') == reason_kind(
        'nearest to t0 - 0.1 s is 120 ms away')


def test_summary_of_a_run():
    made = {'timings_ms': {'total': 5.0}, 'input_age_ms': 100.0}
    lines = [
        {'status': 'planned', 'stream': None, 'reason': None, 'metrics': {'ade_1s': 1.0,
                                                                          'ade_3s': None}, **made},
        {'status': 'planned', 'stream': None, 'reason': None, 'metrics': {'ade_1s': 3.0}, **made},
        {'status': 'implausible', 'stream': None, 'reason': 'all 4', 'metrics': {'ade_1s': 99.0},
         'timings_ms': {'total': 8.0}, 'input_age_ms': 130.0},
        *({'status': 'refused', 'stream': 'front_wide', 'reason': f'{late} ms', 'metrics': {},
           'timings_ms': {}, 'input_age_ms': None} for late in (70, 80))]
    found = summarise(iter(lines))
    assert found['counts'] == {'instants': 5, 'planned': 2, 'implausible': 1, 'refused': 2}
    assert found['metrics']['ade_1s']['mean'] == 2.0
    assert found['metrics']['ade_3s'] is None
    assert found['refusals'] == [{'stream': 'front_wide', 'reason': '# ms', 'count': 2},
                                 {'stream': 'plan', 'reason': 'all #', 'count': 1}]
    assert (found['latency_ms']['total']['count'], found['latency_ms']['total']['max']) == (3, 8.0)
    assert found['input_age_ms']['max'] == 130.0


def test_summary_of_nothing():
    found = summarise([])
    assert found['counts']['instants'] == 0 and found['input_age_ms'] is None
