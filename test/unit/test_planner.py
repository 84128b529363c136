"""The planner as a whole, on the golden checkpoints: what a caller may rely on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from golden_data import PIXELS, R1, V1_5

from alpamayo_ros.errors import ObservationError, PlanCancelled
from alpamayo_ros.planner import Planner
from alpamayo_ros.settings import PlannerSettings
from alpamayo_ros.types import CameraFrame, Observation

SHORT = PlannerSettings(num_candidates=6, max_generation_length=8, **PIXELS)


def observation(planner: Planner, cameras=(0, 1, 2, 3, 5, 6), frames=4, speed=8.0,
                navigation=None, seed=0) -> Observation:
    rng = np.random.default_rng(seed)
    images = tuple(
        tuple(CameraFrame(camera, 1_000_000_000 + index * 100_000_000, planner.preprocessor(
            rng.integers(0, 256, (48, 80, 3), dtype=np.uint8))) for index in range(frames))
        for camera in cameras)
    xyz = np.zeros((16, 3))
    xyz[:, 0] = (np.arange(16) - 15) * 0.1 * speed
    return Observation(t0_ns=1_000_000_000 + (frames - 1) * 100_000_000, frames=images,
                       history_xyz=xyz, history_rot=np.tile(np.eye(3), (16, 1, 1)),
                       navigation=navigation)


@pytest.fixture(scope='module')
def planner() -> Planner:
    return Planner.load(V1_5, SHORT)


def with_settings(planner: Planner, **changes) -> Planner:
    return Planner(planner.runtime, dataclasses.replace(SHORT, **changes))


def actions(plan) -> np.ndarray:
    """In sampling order."""
    return np.stack([candidate.action for candidate in
                     sorted(plan.candidates, key=lambda candidate: candidate.sample)])


def test_same_seed_same_plan_also_in_another_planner(planner):
    given = observation(planner)
    first, again = planner.plan(given), planner.plan(given)
    other = Planner.load(V1_5, SHORT).plan(given)
    for plan in (again, other):
        assert np.array_equal(actions(first), actions(plan))
        assert first.reasoning == plan.reasoning
        assert [c.sample for c in first.candidates] == [c.sample for c in plan.candidates]
        assert all(np.array_equal(a.xyz, b.xyz) for a, b in
                   zip(first.candidates, plan.candidates, strict=True))


def test_another_seed_another_plan(planner):
    given = observation(planner)
    assert not np.allclose(actions(planner.plan(given)),
                           actions(with_settings(planner, seed=1).plan(given)))


def test_the_seed_is_the_reasoning_s_too(planner):
    given = observation(planner)
    noise = np.zeros((6, planner.num_waypoints, 2))
    first, second = (actions(with_settings(planner, seed=seed, temperature=5.0).plan(
        given, noise=noise)) for seed in (0, 1))
    assert not np.allclose(first, second)


def test_noise_is_the_start_of_the_flow(planner):
    given = observation(planner)
    noise = np.random.default_rng(3).standard_normal((6, planner.num_waypoints, 2))
    plan = planner.plan(given, noise=noise)
    assert np.array_equal(actions(plan), actions(planner.plan(given, noise=noise)))
    assert not np.allclose(actions(plan), actions(planner.plan(given)))
    with pytest.raises(ObservationError, match=r'noise has shape \(5, 64, 2\).*\(6, 64, 2\)'):
        planner.plan(given, noise=noise[:5])
    noise[2, 3, 1] = np.inf
    with pytest.raises(ObservationError, match='expected finite values'):
        planner.plan(given, noise=noise)


@pytest.mark.parametrize('count', [1, 5, 32])
@pytest.mark.parametrize('mode', ['single', 'multi'])
def test_any_number_of_candidates(planner, count, mode):
    plan = with_settings(planner, num_candidates=count, reasoning_mode=mode,
                         max_generation_length=4).plan(observation(planner))
    assert sorted(candidate.sample for candidate in plan.candidates) == list(range(count))
    assert len(plan.reasoning) == (1 if mode == 'single' else count)
    for candidate in plan.candidates:
        assert candidate.reasoning == (0 if mode == 'single' else candidate.sample)
        assert candidate.xyz.shape == (64, 3) and candidate.rot.shape == (64, 3, 3)


@pytest.mark.parametrize(('cameras', 'frames'), [((1,), 1), ((0, 4), 2), (range(7), 3)])
def test_any_cameras_and_frames(planner, cameras, frames):
    plan = planner.plan(observation(planner, cameras, frames))
    assert len(plan.candidates) == 6


def test_candidates_share_one_cache(planner):
    sizes = []
    for count in (1, 32):
        fresh = Planner.load(V1_5, dataclasses.replace(SHORT, num_candidates=count))
        fresh.plan(observation(fresh))
        sizes.append([cache.num_bytes for cache in fresh.runtime._caches])
    assert sizes[0] == sizes[1] and sizes[0][0] > 0


def test_candidates_of_one_reasoning_are_not_groups(planner):
    """No candidate has a tail of its own; in multi every one has."""
    for mode, groups in (('single', 1), ('multi', 6)):
        told = observation(planner, navigation='Stop')
        with_settings(planner, reasoning_mode=mode, guidance_weight=1.5).plan(told)
        assert [cache.groups for cache in planner.runtime._caches] == [groups] * 2


def test_the_cache_is_kept_from_plan_to_plan(planner):
    given = observation(planner)
    planner.plan(given)
    before = planner.runtime._caches[0].prompt(0)[0].data_ptr()
    planner.plan(given)
    assert planner.runtime._caches[0].prompt(0)[0].data_ptr() == before


def test_navigation_changes_the_plan_and_guidance_more(planner):
    plain = actions(planner.plan(observation(planner)))
    told = observation(planner, navigation='Turn left in 30m')
    with_text = actions(planner.plan(told))
    assert not np.allclose(plain, with_text)
    guided = actions(with_settings(planner, guidance_weight=3.0).plan(told))
    assert not np.allclose(with_text, guided)
    # A weight of 1 is what the instruction alone gives.
    alone = actions(with_settings(planner, guidance_weight=1.0).plan(told))
    assert np.array_equal(with_text, alone)
    # Guidance without an instruction has nothing to compare with.
    assert np.array_equal(plain, actions(
        with_settings(planner, guidance_weight=3.0).plan(observation(planner))))


def test_r1_takes_no_navigation():
    r1 = Planner.load(R1, SHORT)
    with pytest.raises(ObservationError, match="'Turn left'.*alpamayo_r1 takes no instruction"):
        r1.plan(observation(r1, navigation='Turn left'))
    assert len(r1.plan(observation(r1)).candidates) == 6


def test_a_reasoning_cut_at_its_limit_is_said(planner):
    plan = with_settings(planner, max_generation_length=1).plan(observation(planner))
    assert plan.reasoning[0].truncated and plan.reasoning[0].token_count == 1
    assert 'max_generation_length 1' in plan.warnings[0]


def broken(given: Observation, **changes) -> Observation:
    return dataclasses.replace(given, **changes)


def with_frame(given: Observation, **changes) -> Observation:
    """One camera with one frame that is changed."""
    return broken(given, frames=((dataclasses.replace(given.frames[0][0], **changes),),))


def with_patches(given: Observation, **changes) -> Observation:
    return with_frame(given, patches=dataclasses.replace(given.frames[0][0].patches, **changes))


def test_observations_that_cannot_be_planned_from(planner):
    given = observation(planner)
    nan = given.history_xyz.copy()
    nan[3, 1] = np.nan
    frames = given.frames
    cases = [
        (broken(given, frames=()), '0 cameras'),
        (broken(given, frames=(frames[0], ())), 'expected at least one'),
        (broken(given, frames=frames[::-1]), 'ascending'),
        (broken(given, frames=(frames[0], frames[0])), 'distinct'),
        (broken(given, frames=(frames[0], frames[1][:2])), 'as many each'),
        (broken(given, frames=(frames[0][::-1],)), 'cross_left: stamps'),
        (broken(given, frames=((frames[0][0], frames[1][1]),)), 'expected one camera'),
        (with_frame(given, camera_id=7), 'camera id 7 is unknown; expected 0 to 6'),
        (with_frame(given, camera_id=-1), 'camera id -1 is unknown'),
        (with_patches(given, grid_thw=(1, 4, 8)), r'grid \(1, 4, 8\)'),
        (with_patches(given, grid_thw=(1, 1, 16)), 'multiples of 2'),
        (with_patches(given, grid_thw=(2, 2, 4)), 'cross_left: patches of shape'),
        (with_patches(given, grid_thw=(1, -4, -4)), 'cross_left: patches of shape'),
        (with_patches(given, pixel_values=torch.zeros(16, 768)), r'\(16, 768\)'),
        (broken(given, history_xyz=nan), 'history_xyz holds a value that is not finite'),
        (broken(given, history_xyz=given.history_xyz[:15]), r'\(15, 3\)'),
        (broken(given, history_rot=given.history_rot[:, :2]), r'\(16, 2, 3\)')]
    for bad, text in cases:
        with pytest.raises(ObservationError, match=text):
            planner.plan(bad)


def test_stopping_anywhere_leaves_a_planner_that_plans(planner):
    given = observation(planner)
    expected = actions(planner.plan(given))
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return False

    planner.plan(given, should_stop=count)
    assert asked > 15  # stages, tokens and denoising steps
    stages = set()
    for stop_at in range(1, asked + 1):
        left = iter(range(stop_at - 1))
        with pytest.raises(PlanCancelled) as error:
            planner.plan(given, should_stop=lambda left=left: next(left, None) is None)
        stages.add(str(error.value))
    assert any("'vision'" in stage for stage in stages)
    assert any('reasoning' in stage for stage in stages)
    assert any('steps of the expert' in stage for stage in stages)
    assert np.array_equal(expected, actions(planner.plan(given)))


def test_stopping_while_guidance_is_prepared(planner):
    guided = with_settings(planner, guidance_weight=2.0, num_candidates=1,
                           max_generation_length=2, num_inference_steps=1)
    told = observation(planner, (1,), 1, navigation='Turn left')
    expected, messages = actions(guided.plan(told)), set()
    for calls in range(12):
        left = iter(range(calls))
        try:
            guided.plan(told, should_stop=lambda left=left: next(left, None) is None)
        except PlanCancelled as error:
            messages.add(str(error))
    for stage in ('prompt', 'vision', 'prefill', 'guidance_prefill', 'decode', 'guidance_force',
                  'expert', 'unicycle', 'ranking'):
        assert f"planning was stopped before the stage '{stage}'" in messages
    assert np.array_equal(expected, actions(guided.plan(told)))


def test_fewer_steps_take_fewer_questions(planner):
    def questions(steps):
        asked = []
        with_settings(planner, num_inference_steps=steps).plan(
            observation(planner), should_stop=lambda: bool(asked.append(1)))
        return len(asked)
    assert questions(None) - questions(3) == 10 - 3


def test_bfloat16_plans_too():
    planner = Planner.load(V1_5, SHORT, dtype='bfloat16')
    plan = planner.plan(observation(planner))
    assert np.isfinite(actions(plan)).all() and len(plan.candidates) == 6
    assert planner.runtime._caches[0].prompt(0)[0].dtype == torch.bfloat16


def test_an_old_frame_is_said(planner):
    given = observation(planner)
    assert not any('oldest frame' in warning for warning in planner.plan(given).warnings)
    late = broken(given, t0_ns=given.t0_ns + 200_000_000)
    assert any('the oldest frame is 0.500 s before t0; expected about 0.300 s' in warning
               for warning in planner.plan(late).warnings)


def test_every_stage_is_timed(planner):
    told = observation(planner, navigation='Turn left')
    plan = with_settings(planner, guidance_weight=2.0).plan(told)
    assert list(plan.timings_ms) == ['prompt', 'vision', 'prefill', 'guidance_prefill', 'decode',
                                     'guidance_force', 'expert', 'unicycle', 'ranking']
    assert all(milliseconds > 0 for milliseconds in plan.timings_ms.values())


def test_warm_up_is_a_plan_that_is_dropped(planner):
    given = observation(planner)
    expected = actions(planner.plan(given))
    assert 'expert' in planner.warm_up([6, 0], 2, image_size=(96, 160))
    assert np.array_equal(expected, actions(planner.plan(given)))


def test_speed_at_t0_is_that_of_the_history(planner):
    plan = planner.plan(observation(planner, speed=8.0))
    assert plan.v0 == pytest.approx(8.0, abs=0.05)
    first = plan.candidates[0].xyz[0]
    assert first[0] == pytest.approx(0.8, abs=0.2) and plan.dt_s == pytest.approx(0.1)


def test_a_closed_planner_says_so():
    planner = Planner.load(V1_5, SHORT)
    given = observation(planner)
    planner.close()
    planner.close()
    with pytest.raises(RuntimeError, match='closed'):
        planner.plan(given)


def test_settings_and_checkpoint_must_agree(planner):
    with pytest.raises(ValueError, match='min_pixels is 300000.*196608'):
        Planner(planner.runtime, PlannerSettings(min_pixels=300000))
