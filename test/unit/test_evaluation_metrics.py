"""The evaluation's numbers: seeds, intervals, distances and judgements computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from alpamayo_ros.evaluation import geometry, intervals
from alpamayo_ros.evaluation.figures import FIGURES
from alpamayo_ros.evaluation.judge import crossing_s, drives_on, judge, told_way
from alpamayo_ros.evaluation.seeds import (
    MAX_SEED,
    MAX_TRAINING_SEED,
    SEEDS_PER_DRAW,
    SEEDS_PER_STAGE,
    TEST_BASE,
    TRAIN_BASE,
    VALIDATION_BASE,
    scene_ids,
    training_seed,
)
from alpamayo_ros.training.settings import TrainingSettings
from alpamayo_ros.types import Candidate, Plan, Reasoning
from alpamayo_ros.world.causes import KINDS
from alpamayo_ros.world.types import Sample

T = np.arange(1, 65) * 0.1


def line(speed: float, *, y: float = 0.0) -> np.ndarray:
    return np.stack([speed * T, np.full(64, y), np.zeros(64)], axis=1)


def braking(speed: float, distance: float) -> np.ndarray:
    """Even deceleration to rest after ``distance`` m."""
    decel = speed ** 2 / (2 * distance)
    t = np.minimum(T, speed / decel)
    return np.stack([speed * t - decel * t ** 2 / 2, np.zeros(64), np.zeros(64)], axis=1)


def sample(future: np.ndarray, *, cause='clear_road', others=(), navigation=None,
           speed=8.0, **facts) -> Sample:
    history = np.zeros((16, 3))
    history[:, 0] = (np.arange(16) - 15) * 0.1 * speed
    rot = np.tile(np.eye(3), (16, 1, 1))
    return Sample(drive=None, step=20, cause=cause, reasoning='', manoeuvre=('keep', 'follow'),
                  navigation=navigation, history_xyz=history, history_rot=rot, future_xyz=future,
                  future_rot=np.tile(np.eye(3), (64, 1, 1)), others=others, facts=facts)


def plan(*paths: np.ndarray, plausible=None, v0=8.0, text='') -> Plan:
    flags = plausible or [True] * len(paths)
    candidates = tuple(
        Candidate(sample=index, reasoning=0, xyz=path, rot=np.tile(np.eye(3), (64, 1, 1)),
                  action=np.zeros((64, 2)), reasons=() if flag else ('made up',))
        for index, (path, flag) in enumerate(zip(paths, flags, strict=True)))
    return Plan(t0_ns=0, dt_s=0.1, v0=v0, reasoning=(Reasoning(text, '', '', 3, False),),
                candidates=candidates, seed=0, reasoning_mode='single', timings_ms={'all': 5.0})


def figures(given: Sample, made: Plan) -> dict:
    return judge(given, made).figures


# Seeds

def test_training_validation_and_test_seeds_never_meet():
    first = {validation: scene_ids(1, 0, validation=validation)[0].seed for validation in (0, 1)}
    last = {validation: scene_ids(SEEDS_PER_DRAW // len(KINDS), MAX_SEED, validation=validation,
                                  kinds=KINDS[-1:])[-1].seed for validation in (0, 1)}
    drawn = [training_seed(seed, stage) + taken for seed in range(MAX_TRAINING_SEED + 1)
             for stage in range(len(TrainingSettings().stages()))
             for taken in (0, SEEDS_PER_STAGE - 1)]
    assert drawn == sorted(set(drawn)) and TRAIN_BASE == drawn[0] and drawn[-1] < VALIDATION_BASE
    assert VALIDATION_BASE == first[1] < last[1] < TEST_BASE == first[0] < last[0]
    assert last[0] < 2 ** 32


@pytest.mark.parametrize('arguments, message', [
    ((10, 0), 'seed of a training is 10; expected 0 to 9'), ((-1, 0), 'seed of a training is -1'),
    ((0, 10), 'stage of a training is 10; expected 0 to 9')])
def test_training_cannot_leave_its_seeds(arguments, message):
    with pytest.raises(ValueError, match=message):
        training_seed(*arguments)


@pytest.mark.parametrize('seed', [-1, 10, 20])
def test_no_training_has_a_seed_of_scenes_that_are_evaluated(seed):
    with pytest.raises(ValueError, match=f'seed is {seed}; expected 0 to 9'):
        TrainingSettings(seed=seed)
    assert TrainingSettings(seed=9).seed == MAX_TRAINING_SEED


def test_draws_of_two_users_share_no_seed():
    most, ends = SEEDS_PER_DRAW // len(KINDS), (KINDS[0], KINDS[-1])
    seeds = [[item.seed for item in scene_ids(most, seed, kinds=ends)] for seed in (0, 1, 2)]
    assert all(len(set(one)) == 2 * most for one in seeds)
    assert max(seeds[0]) < min(seeds[1]) and max(seeds[1]) < min(seeds[2])


def test_fewer_scenes_or_kinds_change_none():
    everything = scene_ids(6, 3)
    assert scene_ids(2, 3) == everything[:2 * len(KINDS)]
    chosen = scene_ids(6, 3, kinds=('cut_in', 'curve'))
    assert set(chosen) == {item for item in everything if item.kind in ('cut_in', 'curve')}


@pytest.mark.parametrize('arguments, message', [
    ((1, 0, ('road',)), "kinds are \\['road'\\]"), ((1, 0, ('curve', 'curve')), 'distinct'),
    ((1, 0, ()), 'kinds are'), ((0, 0, KINDS), 'scenes of each kind are 0'),
    ((8000, 0, KINDS), 'scenes of each kind are 8000'), ((1, -1, KINDS), 'seed is -1'),
    ((1, MAX_SEED + 1, KINDS), 'seed is')])
def test_impossible_draws_are_refused(arguments, message):
    per_kind, seed, kinds = arguments
    with pytest.raises(ValueError, match=message):
        scene_ids(per_kind, seed, kinds=kinds)


# Intervals

@pytest.mark.parametrize('successes, count, low, high', [
    (8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (40, 40, 0.9124, 1.0), (1, 2, 0.0945, 0.9055)])
def test_wilson_intervals(successes, count, low, high):
    found = intervals.rate(successes, count)
    assert found.value == successes / count and found.count == count
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_impossible_rates_are_refused():
    with pytest.raises(ValueError, match='3 of 2'):
        intervals.rate(3, 2)


def test_the_bootstrap_gives_the_interval_of_a_mean():
    values = np.random.default_rng(5).normal(3.0, 2.0, 400)
    found = intervals.mean(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)
    assert intervals.mean(values) == found != intervals.mean(values, seed=1)


def test_intervals_of_equals_nothing_and_infinity():
    assert intervals.mean([2.0, 2.0]) == intervals.Estimate(2.0, 2.0, 2.0, 2)
    for empty in (intervals.mean([]), intervals.rate(0, 0)):
        assert empty.count == 0 and math.isnan(empty.value)
    assert intervals.mean([1.0, math.inf]).value == math.inf


def test_figures_leave_out_what_does_not_apply_and_know_their_goals():
    found = FIGURES['red_stays'].estimate([True, None, True, False, None])
    assert (found.value, found.count) == (pytest.approx(2 / 3), 3)
    assert FIGURES['red_stays'].reached(found) is False
    assert FIGURES['ade_6.4'].reached(FIGURES['ade_6.4'].estimate([1.0, 1.9])) is True
    assert FIGURES['min_ade_6.4'].reached(FIGURES['min_ade_6.4'].estimate([0.71])) is False
    assert FIGURES['velocity_1'].reached(found) is None
    assert FIGURES['cause'].reached(FIGURES['cause'].estimate([None])) is None


# Distances

def test_ade_is_the_mean_distance_up_to_a_horizon():
    ahead = line(8.0) + np.array([3.0, 4.0, 100.0])
    assert geometry.ade(ahead, line(8.0)) == pytest.approx(5.0)
    # A difference that grows by 0.1 m a step: its mean is that of 0.1, ..., 0.1 n.
    for seconds, count in ((1.0, 10), (3.0, 30), (6.4, 64)):
        assert geometry.ade(line(9.0), line(8.0), seconds) == pytest.approx(0.05 * (count + 1))
    several = geometry.ade(np.stack([ahead, line(8.0)]), line(8.0))
    assert several.shape == (2,) and several == pytest.approx([5.0, 0.0])
    assert geometry.ade(line(np.nan), line(8.0)) == math.inf


def test_diversity():
    paths = np.stack([line(5.0), line(5.0, y=2.0), line(5.0, y=4.0)])
    assert geometry.pairwise(paths) == pytest.approx((2 + 4 + 2) / 3)
    assert geometry.spread(paths) == pytest.approx(math.sqrt(8 / 3))
    assert geometry.pairwise(paths[:1]) == geometry.spread(paths[:1]) == 0.0


def test_constant_turn_is_a_circle():
    path = geometry.constant_turn(5.0, 0.25)
    radius = np.linalg.norm(path[:, :2] - [0.0, 20.0], axis=1)
    assert radius == pytest.approx(np.full(64, 20.0))
    assert path[-1, 0] == pytest.approx(20 * math.sin(1.6))
    assert geometry.heading_change(path) == pytest.approx(1.6, abs=0.05)
    assert geometry.heading_change(geometry.constant_turn(5.0, -0.6)) == pytest.approx(
        -3.84, abs=0.1)
    assert geometry.constant_turn(5.0, 1e-9) == pytest.approx(line(5.0), abs=1e-6)
    assert np.array_equal(geometry.constant_velocity(5.0), geometry.constant_turn(5.0, 0.0))


def test_length_speed_and_heading_of_a_path():
    assert geometry.travelled(line(5.0)) == pytest.approx(5 * T)
    assert geometry.speed_at_end(line(5.0)) == pytest.approx(5.0)
    stop = braking(6.0, 9.0)
    assert geometry.travelled(stop)[-1] == pytest.approx(9.0)
    assert geometry.speed_at_end(stop) == pytest.approx(0.0, abs=1e-9)
    trembling = np.random.default_rng(0).normal(0, 0.01, (64, 3))
    assert geometry.heading_change(trembling) == 0.0


def test_yaw_rate_of_the_history():
    yaw = 3.0 + 0.02 * np.arange(16)  # passes pi
    rot = np.zeros((16, 3, 3))
    rot[:, 0, 0], rot[:, 1, 0] = np.cos(yaw), np.sin(yaw)
    assert geometry.yaw_rate(rot) == pytest.approx(0.2)


# Judgements

def test_displacements_of_selected_nearest_and_best():
    left, straight = line(8.0, y=4.0), line(8.0)
    found = figures(sample(left, others=(straight,)),
                    plan(line(8.0, y=0.5), line(8.0, y=1.5), line(8.0, y=3.0)))
    assert found['ade_6.4'] == pytest.approx(0.5)
    assert found['ade_realised_3'] == pytest.approx(3.5)
    assert found['min_ade_6.4'] == pytest.approx(1.0)
    assert found['min_ade_nearest_6.4'] == pytest.approx(0.5)
    assert found['velocity_6.4'] == found['turn_6.4'] == pytest.approx(0.0)
    assert found['planned'] is True and found['plausible_share'] == 1.0


def test_the_nearest_future_is_the_same_at_every_horizon():
    left, straight, path = line(8.0, y=4.0), line(8.0), line(8.0, y=4.0)
    path[:10, 1] = 0.0   # goes left after 1 s
    found = figures(sample(straight, others=(left,)), plan(path))
    for key in ('ade', 'min_ade_nearest'):
        assert found[f'{key}_1'] == pytest.approx(4.0)
        assert found[f'{key}_6.4'] == pytest.approx(4.0 * 10 / 64)


def test_what_is_readable_names_a_cause_and_may_leave_out_the_manoeuvre():
    for text, readable in (('The traffic light ahead is red.', True), ('Stop.', False)):
        assert figures(sample(line(8.0)), plan(line(8.0), text=text))['readable'] is readable
    assert FIGURES['readable'].label == 'the reasoning names a cause'


@pytest.mark.parametrize('text, named, side', [
    ('A bus is cutting in from the left, so slow down.', True, True),
    ('A car is cutting in from the left, so slow down.', False, True),
    ('Slow down because the bus on the right changes into the lane ahead.', True, False),
    ('Something cuts, cutting in.', False, False),
    ('The bus ahead is braking, so slow down.', None, None)])
def test_which_vehicle_and_which_side(text, named, side):
    given = replace(sample(line(8.0), cause='cut_in'),
                    reasoning='A bus from the left is moving into the lane, so slow down.')
    found = figures(given, plan(line(8.0), text=text))
    assert (found.get('object'), found.get('side')) == (named, side)


def test_a_plan_without_a_plausible_candidate_has_done_nothing():
    stop = braking(8.0, 12.0)
    found = figures(sample(stop, cause='red_light', stop_line_m=20.0, way=1.0),
                    plan(stop, stop, plausible=[False, False]))
    assert found['planned'] is False and found['plausible_share'] == 0.0
    assert found['ade_6.4'] == pytest.approx(0.0)
    assert found['red_stays'] is False and found['agrees'] is False


@pytest.mark.parametrize('distance, stays', [(16.1, True), (16.2, False)])
def test_red_light_is_about_the_front_bumper(distance, stays):
    assert geometry.FRONT_M == 3.85
    found = figures(sample(braking(8.0, 12.0), cause='red_light', stop_line_m=20.0),
                    plan(braking(8.0, distance)))
    assert found['red_stays'] is found['red_stays_going'] is stays
    assert found['red_velocity'] is False and found['walker_yields'] is None


def test_a_line_far_away_tells_nothing_about_stopping():
    found = figures(sample(line(8.0), cause='red_light', stop_line_m=70.0), plan(line(8.0)))
    assert found['red_stays'] is found['red_velocity'] is True
    assert found['red_stays_going'] is None


def test_a_line_the_driver_crosses_is_none_to_stop_at():
    found = figures(sample(line(8.0), cause='red_light', stop_line_m=5.0), plan(line(8.0)))
    assert found['red_stays'] is None


def test_a_pedestrian_s_crossing_is_not_reached_too_soon():
    assert crossing_s(line(8.0), 20.0) == pytest.approx(2.1)   # 16.15 m to go
    assert crossing_s(braking(8.0, 16.0), 20.0) == math.inf
    slow = sample(line(4.0), cause='pedestrian', stop_line_m=20.0)  # there after 4.1 s
    assert figures(slow, plan(line(5.0)))['walker_yields'] is True
    assert figures(slow, plan(line(5.5)))['walker_yields'] is False
    standing = sample(braking(8.0, 12.0), cause='pedestrian', stop_line_m=20.0)
    assert figures(standing, plan(braking(8.0, 16.0)))['walker_yields'] is True
    assert figures(standing, plan(line(8.0)))['walker_yields'] is False
    assert figures(standing, plan(line(8.0)))['red_stays'] is None
    there = sample(line(4.0), cause='pedestrian', stop_line_m=3.8)
    assert figures(there, plan(line(8.0)))['walker_yields'] is None


def test_green_means_to_drive_on():
    assert drives_on(line(6.0), line(8.0), 20.0)
    assert not drives_on(line(3.9), line(8.0), 20.0)      # less than half as fast
    assert not drives_on(braking(8.0, 15.0), line(8.0), 20.0)
    assert not drives_on(line(1.9), line(2.0), None)      # as good as standing
    assert not drives_on(line(2.4), line(4.6), 20.0)      # has not reached the line
    assert drives_on(line(2.4), line(2.5), 20.0)          # nor has the true one
    given = sample(line(8.0), cause='green_light', stop_line_m=20.0)
    assert figures(given, plan(line(7.0)))['green_goes'] is True
    assert figures(given, plan(braking(8.0, 10.0)))['green_goes'] is False
    assert figures(sample(braking(8.0, 10.0), cause='green_light'),
                   plan(line(8.0)))['green_goes'] is None


LEFT, RIGHT = geometry.constant_turn(6.0, 0.2), geometry.constant_turn(6.0, -0.2)


@pytest.mark.parametrize('way, future, path, taken', [
    (1, LEFT, LEFT, True), (1, LEFT, RIGHT, False), (1, LEFT, line(6.0), False),
    (-1, RIGHT, RIGHT, True), (-1, RIGHT, LEFT, False), (0, line(6.0), line(6.0), True),
    (0, line(6.0), LEFT, False), (0, line(6.0), RIGHT, False)])
def test_the_way_taken_at_a_junction(way, future, path, taken):
    given = sample(future, navigation='somewhere', way=way, stop_line_m=10.0)
    assert told_way(given) == way
    found = figures(given, plan(path))
    assert found['way'] is found['way_ahead'] is taken
    entered = sample(future, navigation='somewhere', way=way, stop_line_m=3.8)
    assert figures(entered, plan(path))['way_ahead'] is None


@pytest.mark.parametrize('given', [
    sample(LEFT, way=1), sample(LEFT, navigation='Turn left'),
    sample(line(6.0), navigation='Turn left', way=1),
    sample(geometry.constant_turn(6.0, 0.1), navigation='Turn left', way=1),
    sample(line(6.0), navigation='Straight on', way=0, stop_line_m=35.0),
    sample(line(6.0), navigation='Straight on', way=0)],
    ids=['untold', 'no junction', 'not yet', 'hardly', 'before the junction', 'no line'])
def test_scenes_that_cannot_tell_the_way(given):
    assert told_way(given) is None and figures(given, plan(LEFT))['way'] is None


def test_two_futures_need_a_candidate_each():
    passing, waiting = line(8.0), braking(8.0, 12.0)
    given = sample(passing, others=(waiting,))
    both = figures(given, plan(line(7.9), line(8.1), line(8.2), braking(8.0, 12.5)))
    assert both['futures'] is True
    assert both['futures_rarer'] == 0.25 and both['futures_between'] == 0.0
    one = figures(given, plan(line(7.9), line(8.1)))
    assert one['futures'] is False and one['futures_rarer'] == 0.0
    # Between the two, near neither.
    smear = figures(given, plan(line(4.0), line(4.5)))
    assert smear['futures'] is False and smear['futures_between'] == 1.0
    # An implausible candidate is no answer.
    gone = figures(given, plan(line(8.0), waiting, plausible=[True, False]))
    assert gone['futures'] is False
    assert figures(sample(passing), plan(passing))['futures'] is None


def test_one_candidate_cannot_be_two_futures():
    given = sample(line(8.0), others=(line(8.0, y=1.0),))
    assert figures(given, plan(line(8.0, y=0.5)))['futures'] is False
    assert figures(given, plan(line(8.0, y=0.4), line(8.0, y=0.6)))['futures'] is True
