"""Drives of the driving world: exact, safe, lawful, and sampled where their cause can be seen."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import pytest
import torch

from alpamayo_ros.model.unicycle import UnicycleParameters, rollout
from alpamayo_ros.rig import FOOTPRINT_M, NOMINAL_RIG
from alpamayo_ros.world.causes import CAUSES, KINDS, LATERAL, LONGITUDINAL
from alpamayo_ros.world.driver import agrees, manoeuvre_of_path
from alpamayo_ros.world.reasoning import navigation_way, read
from alpamayo_ros.world.samples import draw_sample, instants, sample_at
from alpamayo_ros.world.scenarios import make_drive, make_tour
from alpamayo_ros.world.types import Drive, Sample, Thing

SEEDS = range(5)
NOSE = FOOTPRINT_M[1]
MIDDLE = 0.5 * (FOOTPRINT_M[0] + FOOTPRINT_M[1])
LENGTH, WIDTH = FOOTPRINT_M[1] - FOOTPRINT_M[0], 2 * FOOTPRINT_M[2]


@functools.cache
def drive_of(kind: str, seed: int) -> Drive:
    return make_tour(seed) if kind == 'tour' else make_drive(kind, seed)


@functools.cache
def samples_of(kind: str) -> tuple[Sample, ...]:
    return tuple(sample_at(drive_of(kind, seed), step) for seed in SEEDS
                 for step in instants(drive_of(kind, seed))[::9])


def corners(x: float, y: float, yaw: float, length: float, width: float) -> np.ndarray:
    box = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * (length / 2, width / 2)
    cos, sin = math.cos(yaw), math.sin(yaw)
    return box @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def ego_corners(state: np.ndarray) -> np.ndarray:
    x, y, yaw = state[:3]
    return corners(x + MIDDLE * math.cos(yaw), y + MIDDLE * math.sin(yaw), yaw, LENGTH, WIDTH)


def overlap(first: np.ndarray, second: np.ndarray) -> bool:
    for box in (first, second):
        for index in range(2):
            axis = box[index + 1] - box[index]
            one, two = first @ axis, second @ axis
            if one.max() < two.min() or two.max() < one.min():
                return False
    return True


def footprint(thing: Thing) -> np.ndarray:
    length, width, _ = thing.size
    if thing.kind == 'tree':
        length = width = 0.4
    return corners(thing.x, thing.y, thing.yaw, length, width)


@pytest.mark.parametrize('kind', [*KINDS, 'tour'])
def test_the_ego_touches_nothing(kind: str) -> None:
    for seed in SEEDS:
        drive = drive_of(kind, seed)
        for step in range(0, len(drive.ego), 3):
            own = ego_corners(drive.ego[step])
            for thing in drive.things(step):
                # The arm of a signal hangs over the lane; its pole stands beside the road.
                if thing.kind != 'traffic_light' and math.hypot(
                        thing.x - drive.ego[step, 0], thing.y - drive.ego[step, 1]) < 16.0:
                    assert not overlap(own, footprint(thing)), (seed, step, thing)


@pytest.mark.parametrize('kind', [*KINDS, 'tour'])
def test_the_ego_stays_on_asphalt(kind: str) -> None:
    for seed in SEEDS:
        drive = drive_of(kind, seed)
        low = drive.ego[:, :2].min(axis=0) - 10.0
        width, height = (drive.ego[:, :2].max(axis=0) + 10.0 - low) * 5
        paved = np.zeros((int(height), int(width)), np.uint8)
        for strip in drive.strips:
            if strip.kind == 'asphalt':
                along = np.gradient(strip.points, axis=0)
                along /= np.linalg.norm(along, axis=1, keepdims=True)
                aside = np.stack([-along[:, 1], along[:, 0]], axis=1) * strip.width / 2
                band = np.concatenate([strip.points + aside, (strip.points - aside)[::-1]])
                cv2.fillPoly(paved, [((band - low) * 5).astype(np.int32)], 1)
        for state in drive.ego[::3]:
            for x, y in (ego_corners(state) - low) * 5:
                assert paved[int(y), int(x)], seed


@pytest.mark.parametrize('kind', KINDS)
def test_the_unicycle_of_the_model_reproduces_the_future(kind: str) -> None:
    for sample in samples_of(kind)[::4]:
        state = sample.drive.ego[sample.step]
        actions = torch.tensor(sample.drive.ego[sample.step:sample.step + 64, 4:6]).float()
        xyz, rot = rollout(actions, torch.tensor(state[3]).float(), UnicycleParameters())
        np.testing.assert_allclose(xyz.numpy(), sample.future_xyz, atol=1e-3)
        np.testing.assert_allclose(rot.numpy(), sample.future_rot, atol=1e-4)
        assert sample.history_xyz.shape == (16, 3)
        np.testing.assert_allclose(sample.history_xyz[-1], 0.0, atol=1e-9)


@pytest.mark.parametrize('kind', KINDS)
def test_driving_is_comfortable(kind: str) -> None:
    for seed in SEEDS:
        speed, accel, bend = drive_of(kind, seed).ego[:, 3:].T
        assert speed.min() >= 0.0 and speed.max() < 15.0
        assert accel.min() > -4.5 and accel.max() < 2.0
        assert np.abs(bend).max() < 0.2 and np.abs(speed ** 2 * bend).max() < 3.5
        assert 100 <= len(speed) <= 140


@pytest.mark.parametrize('kind', KINDS)
def test_samples_say_what_binds_and_what_the_path_does(kind: str) -> None:
    cause = {'turn_left': 'junction', 'turn_right': 'junction', 'go_straight': 'junction'}
    samples = samples_of(kind)
    assert len(samples) >= 10
    agreeing = []
    for sample in samples:
        assert sample.cause == cause.get(kind, kind) and sample.cause in CAUSES
        assert sample.manoeuvre[0] in LONGITUDINAL and sample.manoeuvre[1] in LATERAL
        reading = read(sample.reasoning)
        assert (reading.cause, reading.manoeuvre) == (sample.cause, sample.manoeuvre)
        speed = float(sample.drive.ego[sample.step, 3])
        agreeing.append(agrees(sample.manoeuvre, sample.future_xyz, speed))
    assert np.mean(agreeing) > 0.97


def test_the_same_seed_gives_the_same_drive() -> None:
    first, again, other = make_drive('cut_in', 3), make_drive('cut_in', 3), make_drive('cut_in', 4)
    np.testing.assert_array_equal(first.ego, again.ego)
    assert first.moving == again.moving and first.fixed == again.fixed
    assert first.look == again.look and first.look != other.look
    one, two = draw_sample('cones', 8), draw_sample('cones', 8)
    assert (one.step, one.reasoning) == (two.step, two.reasoning)
    np.testing.assert_array_equal(one.future_xyz, two.future_xyz)


def lights_for_ego(drive: Drive, step: int) -> list[Thing]:
    x, y, yaw = drive.ego[step, :3]
    return [thing for thing in drive.things(step) if thing.kind == 'traffic_light'
            and math.cos(thing.yaw - yaw) < -0.9
            and (thing.x - x) * math.cos(yaw) + (thing.y - y) * math.sin(yaw) > 0]


def test_a_red_light_is_seen_stays_red_and_holds_the_ego() -> None:
    standing = 0
    for sample in samples_of('red_light'):
        drive, step = sample.drive, sample.step
        heads = lights_for_ego(drive, step)
        x, y, yaw = drive.ego[step, :3]
        seen = []
        for head in heads:
            ahead, left = head.x - x, head.y - y
            place = np.array([[math.cos(yaw) * ahead + math.sin(yaw) * left,
                               math.cos(yaw) * left - math.sin(yaw) * ahead, head.size[2] - 0.7]])
            pixels, depth = NOMINAL_RIG['front_wide'].project(place, 320, 192)
            seen.append(depth[0] > 0 and 0 < pixels[0, 0] < 320 and 0 < pixels[0, 1] < 192)
        assert seen and all(seen)
        for later in range(step, step + 65):
            assert {head.state for head in lights_for_ego(drive, later)} == {'red'}
        way = np.linalg.norm(np.diff(sample.future_xyz, axis=0), axis=1).sum()
        assert way + NOSE < sample.facts['stop_line_m']
        standing += sample.manoeuvre[0] == 'wait'
    assert 0 < standing < len(samples_of('red_light'))


def test_a_stop_ends_between_one_and_three_metres_before_the_line() -> None:
    for seed in range(12):
        drive = make_drive('red_light', seed)
        sample = sample_at(drive, len(drive.ego) - 65)
        end = sample.facts['nose_to_line_m'] - float(
            np.linalg.norm(np.diff(sample.future_xyz, axis=0, prepend=np.zeros((1, 3))),
                           axis=1).sum())
        if drive.ego[-1, 3] == 0.0:
            assert 0.9 < end < 3.0, seed
            resting = drive.ego[drive.ego[:, 3] == 0.0]
            assert np.ptp(resting[:, :3], axis=0).max() == 0.0


def test_green_lights_are_driven_through() -> None:
    for sample in samples_of('green_light'):
        assert {head.state for head in lights_for_ego(sample.drive, sample.step)} <= {'green'}
        assert sample.manoeuvre[0] in ('keep', 'accelerate', 'slow')
        assert np.linalg.norm(sample.future_xyz[-1] - sample.future_xyz[-2]) > 0.2


@pytest.mark.parametrize(('kind', 'way', 'sign'), [
    ('turn_left', 'left', 1), ('turn_right', 'right', -1), ('go_straight', 'straight', 0)])
def test_the_instructed_way_is_taken(kind: str, way: str, sign: int) -> None:
    told = [sample for sample in samples_of(kind) if sample.navigation is not None]
    assert told
    for sample in told:
        assert navigation_way(sample.navigation) == way
        assert sample.facts['way'] == sign
    for seed in SEEDS:
        yaw = drive_of(kind, seed).ego[:, 2]
        assert abs(yaw[-1] - yaw[0] - sign * math.pi / 2) < (0.3 if sign else 0.6)


def test_a_blocked_lane_has_two_sensible_futures() -> None:
    passes = []
    for seed in range(24):
        drive = make_drive('blocked_lane', seed)
        van = next(thing for thing in drive.fixed if thing.state == 'left+right')
        for step in instants(drive)[::12]:
            sample = sample_at(drive, step)
            other, = sample.others
            assert np.linalg.norm(other[-1] - sample.future_xyz[-1]) > 3.0
            x, y, yaw = drive.ego[step, :3]
            cos, sin = math.cos(yaw), math.sin(yaw)
            headings = np.arctan2(*np.diff(other[:, :2], axis=0, prepend=other[:1, :2]).T[::-1])
            for (ahead, left, _), heading in zip(other[1::4], headings[1::4], strict=True):
                state = np.array([x + cos * ahead - sin * left, y + sin * ahead + cos * left,
                                  yaw + (heading if heading else 0.0)])
                assert not overlap(ego_corners(state), footprint(van)), (seed, step)
            for place, things in zip(other, drive.moving[step + 1:], strict=False):
                ahead, left = place[:2]
                box = ego_corners((x + cos * ahead - sin * left, y + sin * ahead + cos * left, yaw))
                assert not any(overlap(box, footprint(thing)) for thing in things), (seed, step)
            passes.append(bool(np.abs(sample.future_xyz[:, 1]).max() > 1.0))
    assert 0.15 < np.mean(passes) < 0.85


def test_a_blocked_lane_does_not_tell_which_future_it_will_be() -> None:
    """One who is about to wait has not yet slowed to what nobody does who is about to pass."""
    speeds = {True: [], False: []}
    for seed in range(30):
        drive = make_drive('blocked_lane', seed)
        speeds[bool(drive.situation.shifts)] += [drive.ego[step, 3] for step in instants(drive)]
    waiting, passing = np.array(speeds[False]), np.array(speeds[True])
    assert waiting[waiting > 0.05].min() > passing[passing > 0.05].min() - 1.0
    assert (waiting <= 0.05).any()
    assert (passing <= 0.05).any()


def test_paths_are_read_as_what_they_do() -> None:
    seconds = 0.1 * np.arange(1, 65)

    def path(ways: np.ndarray, left: np.ndarray | float = 0.0) -> np.ndarray:
        return np.stack([ways, np.broadcast_to(left, ways.shape), np.zeros_like(ways)], axis=1)

    cruise = path(8.0 * seconds)
    assert manoeuvre_of_path(cruise, 8.0) == ('keep', 'follow')
    assert agrees(('keep', 'follow'), cruise, 8.0) and agrees(('any', 'any'), cruise, 8.0)
    assert not agrees(('stop', 'follow'), cruise, 8.0)
    assert not agrees(('keep', 'turn_left'), cruise, 8.0)
    halt = path(np.where(seconds < 4.0, 8.0 * seconds - seconds ** 2, 16.0))
    assert manoeuvre_of_path(halt, 8.0) == ('stop', 'follow')
    assert not agrees(('keep', 'follow'), halt, 8.0)
    rest = path(0.0 * seconds)
    assert manoeuvre_of_path(rest, 0.0) == ('wait', 'follow')
    assert not agrees(('accelerate', 'follow'), rest, 0.0)
    assert manoeuvre_of_path(path(0.7 * seconds ** 2), 0.0) == ('accelerate', 'follow')
    angle = 5.0 * seconds / 10.0
    turn = np.stack([10.0 * np.sin(angle), 10.0 * (1 - np.cos(angle)), 0 * angle], axis=1)[:40]
    assert manoeuvre_of_path(turn, 5.0) == ('keep', 'turn_left')
    assert not agrees(('keep', 'turn_right'), turn, 5.0)
    bend = np.stack([60.0 * np.sin(seconds / 7), 60.0 * (np.cos(seconds / 7) - 1), 0 * seconds],
                    axis=1)
    assert manoeuvre_of_path(bend, 60 / 7)[1] == 'follow'
    aside = path(8.0 * seconds, 0.75 - 0.75 * np.cos(np.pi * np.clip((seconds - 1) / 2.5, 0, 1)))
    assert manoeuvre_of_path(aside, 8.0) == ('keep', 'pass_left')
    assert not agrees(('keep', 'pass_right'), aside, 8.0)
    with pytest.raises(ValueError, match='finite'):
        manoeuvre_of_path(np.full((64, 3), np.nan), 1.0)


def test_a_tour_has_a_light_a_slow_vehicle_cones_and_a_turn() -> None:
    for seed in SEEDS:
        tour = drive_of('tour', seed)
        assert 250 <= len(instants(tour)) <= 350
        causes = [sample_at(tour, step).cause for step in instants(tour)[::4]]
        firsts = [causes.index(cause) for cause in
                  ('red_light', 'green_light', 'slow_lead', 'cones', 'junction')]
        assert causes[0] == 'red_light' and firsts == sorted(firsts)
        assert abs(tour.ego[-1, 2] - tour.ego[0, 2] - math.pi / 2) < 0.3
        assert navigation_way(tour.navigation[-1]) == 'left'


def test_what_stands_there_does_not_give_the_cause_away() -> None:
    def share(kind: str, present: str) -> float:
        return float(np.mean([any(thing.kind == present or thing.state == present
                                  for thing in drive_of(kind, seed).things(20))
                              for seed in range(24)]))

    assert share('clear_road', 'pedestrian') > 0.3 and share('curve', 'car') > 0.3
    assert share('standing_lead', 'traffic_light') > 0.2
    assert share('slow_lead', 'traffic_light') > 0.05
    assert share('red_light', 'green') > 0.8


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(ValueError, match="'flying'.*clear_road"):
        make_drive('flying', 0)
    drive = drive_of('clear_road', 0)
    for step in (14, len(drive.ego) - 64):
        with pytest.raises(ValueError, match=f'step is {step}; expected 15 to'):
            sample_at(drive, step)
    bare = Drive(drive.kind, 0, drive.look, (), (), drive.moving, drive.ego, drive.navigation)
    with pytest.raises(ValueError, match='make_drive'):
        instants(bare)
