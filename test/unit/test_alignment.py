"""Choosing t0: the rule, reproducibility, and the stream that is blamed when there is no window."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from alignment_streams import (
    MS,
    PHASES_MS,
    START,
    Drive,
    after_start,
    every,
    planned,
    refused,
    standard,
)
from scipy.spatial.transform import Rotation

from alpamayo_ros.alignment import ODOMETRY, AlignmentSettings, Refusal
from alpamayo_ros.cameras import SIX_CAMERA_RIG
from alpamayo_ros.types import CameraFrame, ImagePatches, Observation


def test_the_newest_grid_time_that_every_stream_has_passed() -> None:
    observation = planned(standard().align())
    # Only cross_left, which is on the grid, has a frame at 3000.
    assert after_start(observation.t0_ns) == 2900
    assert [camera[0].camera_id for camera in observation.frames] == [0, 1, 2, 3, 5, 6]
    for camera, phase in zip(observation.frames, PHASES_MS.values(), strict=False):
        expected = [2600, 2700, 2800, 2900]
        offset = phase if phase <= 50 else phase - 100
        if phase == 50:
            offset = -50  # the earlier of two equals
        assert [after_start(frame.stamp_ns) for frame in camera] == [
            time + offset for time in expected]


def test_ego_history_is_in_the_frame_at_t0() -> None:
    radius, rate = 20.0, 0.3

    def circle(t: float) -> tuple[float, float, float]:
        return 1e5 + radius * np.sin(rate * t), 5e6 - radius * np.cos(rate * t), rate * t

    observation = planned(standard(pose=circle).align(navigation='Turn left in 30m'))
    t0 = after_start(observation.t0_ns) / 1e3
    times = t0 - 1.5 + 0.1 * np.arange(16)
    angle = rate * (times - t0)
    expected = np.stack([radius * np.sin(angle), radius * (1 - np.cos(angle)), 0 * angle], 1)
    assert observation.history_xyz.shape == (16, 3) and observation.history_xyz.dtype == np.float64
    np.testing.assert_allclose(observation.history_xyz, expected, atol=1e-3)
    np.testing.assert_allclose(observation.history_rot,
                               Rotation.from_euler('z', angle[:, None]).as_matrix(), atol=1e-6)
    assert (observation.history_xyz[-1] == 0).all()
    assert (observation.history_rot[-1] == np.eye(3)).all()
    assert observation.pose_at_t0.stamp_ns == observation.t0_ns
    np.testing.assert_allclose(observation.pose_at_t0.position[:2], circle(t0)[:2], atol=1e-3)
    assert observation.navigation == 'Turn left in 30m'


def test_an_empty_navigation_is_none() -> None:
    assert planned(standard().align(navigation='')).navigation is None
    assert planned(standard().align()).navigation is None


def test_t0_never_lies_ahead_of_odometry() -> None:
    drive = standard()
    late = Drive()
    late.frames = drive.frames
    late.ego(every(20, 0, 2899))
    assert after_start(planned(late.align()).t0_ns) == 2800
    late.ego([2900])
    assert after_start(planned(late.align()).t0_ns) == 2900


def test_cameras_may_have_any_rate_from_10_hz_and_jitter() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        drive = Drive()
        for name in SIX_CAMERA_RIG:
            period = 100 if rng.random() < 0.5 else 1000 / rng.uniform(10, 60)
            stamps = every(period, rng.uniform(0, 100), 4000)
            drive.camera(name, stamps + rng.uniform(-4, 4, len(stamps)))
        period = 1000 / rng.uniform(10, 100)
        drive.ego(every(period, 0, 4000))
        newest = min(buffer.latest_stamp_ns for buffer in (*drive.frames.values(), drive.odometry))
        observation = planned(drive.align())
        assert observation.t0_ns == newest // (100 * MS) * (100 * MS)
        for camera in observation.frames:
            stamps = [after_start(frame.stamp_ns) for frame in camera]
            slots = after_start(observation.t0_ns) - 100 * np.arange(3, -1, -1)
            assert (np.abs(np.array(stamps) - slots) <= 60).all()
            assert (np.diff(stamps) > 0).all()


def test_half_a_period_out_of_phase_jitter_never_freezes_a_camera() -> None:
    # 2749 is the nearest frame of 2700 and of 2800; its neighbours are within tolerance.
    drive = standard()
    drive.frames['rear_left'].clear()
    drive.camera('rear_left', [2449, 2551, 2649, 2749, 2852, 2951])
    observation = planned(drive.align())
    stamps = [after_start(frame.stamp_ns) for frame in observation.frames[3]]
    assert after_start(observation.t0_ns) == 2900 and len(set(stamps)) == 4
    assert stamps == [2551, 2649, 2749, 2852]


@pytest.mark.parametrize('seed', range(3))
def test_the_same_t0_has_the_same_window_whenever_it_is_looked_at(seed) -> None:
    rng = np.random.default_rng(seed)
    streams: list[tuple[float, str, float]] = []
    for name in SIX_CAMERA_RIG:
        stamps = every(1000 / rng.uniform(10, 25), rng.uniform(0, 100), 4500)
        stamps = np.sort(stamps + rng.uniform(-9, 9, len(stamps)))
        delay = rng.uniform(20, 200)
        streams += [(stamp + delay, name, stamp) for stamp in stamps if rng.random() > 0.01]
    streams += [(stamp + 5, 'odometry', stamp) for stamp in every(20, 0, 4500)]
    streams.sort()

    def windows(first_arrival: float, look: Callable[[], bool]) -> dict[int, list]:
        drive, seen = Drive(), {}
        for arrival, name, stamp in streams:
            if arrival < first_arrival:
                continue
            drive.ego([stamp]) if name == 'odometry' else drive.camera(name, [stamp])
            if look() and isinstance(result := drive.align(), Observation):
                content = ([frame.stamp_ns for camera in result.frames for frame in camera],
                           result.history_xyz.tolist())
                assert seen.setdefault(result.t0_ns, content) == content
        return seen

    always = windows(0, lambda: True)
    now_and_then = windows(0, lambda: rng.random() < 0.05)
    restarted = windows(1345.6, lambda: True)
    assert min(len(always), len(now_and_then), len(restarted)) > 5
    for other in (now_and_then, restarted):
        assert all(always[t0] == content for t0, content in other.items())


def test_only_a_newer_t0_counts_and_what_is_missing_is_named() -> None:
    drive = standard()
    t0 = planned(drive.align()).t0_ns
    refusal = refused(drive.align(newer_than_ns=t0))
    assert refusal.waiting and refusal.stream == 'front_wide' and refusal.t0_ns == t0 + 100 * MS
    assert refusal.reason == ('waiting for a message at or after t0 1700000003.000 s; '
                              'the newest is at 1700000002.917 s')
    assert planned(drive.align(newer_than_ns=t0 - 1)).t0_ns == t0
    for name, phase in PHASES_MS.items():
        drive.camera(name, [3000 + phase])
    drive.ego([3020])
    assert planned(drive.align(newer_than_ns=t0)).t0_ns == t0 + 100 * MS


def test_after_a_lost_frame_an_older_t0_still_counts() -> None:
    drive = standard()
    drive.frames['cross_right'].clear()
    drive.camera('cross_right', [stamp for stamp in every(100, 33, 3000) if stamp != 2933])
    drive.camera('cross_right', [3033])
    for name, phase in PHASES_MS.items():
        drive.camera(name, [3000 + phase])
    drive.ego([3020])
    assert after_start(planned(drive.align()).t0_ns) == 2800
    refusal = refused(drive.align(newer_than_ns=START + 2800 * MS))
    assert refusal == Refusal('cross_right', 'the frame nearest to t0 - 0.1 s is 67.0 ms away, '
                              'tolerance 60.0 ms', START + 3000 * MS)


@pytest.mark.parametrize('cameras', [('rear_left',), SIX_CAMERA_RIG], ids=['one', 'all'])
@pytest.mark.parametrize('step_ms', [120, 170, 240, 400, 730])
def test_no_window_holds_frames_of_before_and_after_a_step_of_the_clock(cameras, step_ms) -> None:
    drive, taken_ms = Drive(), {}
    arrivals = sorted([(time, name) for name, phase in PHASES_MS.items()
                       for time in every(100, phase, 6000)]
                      + [(time, ODOMETRY) for time in every(20, 0, 6000)])
    for time, name in arrivals:
        if name == ODOMETRY:
            drive.ego([time])
            continue
        late = step_ms if name in cameras and time > 3000 else 0
        buffer = drive.frames[name]
        frame = CameraFrame(buffer.camera.camera_id, START + round((time - late) * MS),
                            ImagePatches(None, (1, 2, 2), (1080, 1920)))
        taken_ms[id(frame)] = time, frame
        buffer.add(frame)
        if isinstance(window := drive.align(), Observation):
            for stepped in (name for name in SIX_CAMERA_RIG if name in cameras):
                times = [taken_ms[id(item)][0]
                         for item in window.frames[SIX_CAMERA_RIG.index(stepped)]]
                assert max(times) <= 3000 or min(times) > 3000
    assert min(times) > 3000 and {drive.frames[name].jumps_back for name in cameras} == {1}


def test_a_slow_camera_is_refused_because_a_frame_cannot_serve_twice() -> None:
    drive = Drive(AlignmentSettings(camera_names=('front_wide',), frame_tolerance_s=0.09))
    drive.camera('front_wide', every(160, 0, 3040))
    drive.ego(every(20, 0, 3040))
    refusal = refused(drive.align())
    assert refusal.stream == 'front_wide' and not refusal.waiting
    assert 'one frame would have to serve two of the 4 instants' in refusal.reason
    assert 'expected at least 10 Hz' in refusal.reason


@pytest.mark.parametrize('lag_ms', [690, 2310])
def test_a_camera_that_stopped_is_named_with_its_lag(lag_ms) -> None:
    drive = standard()
    drive.frames['rear_left'].clear()
    drive.camera('rear_left', every(100, 50, 3000 - lag_ms))
    lag = 3000 - after_start(drive.frames['rear_left'].latest_stamp_ns)
    refusal = refused(drive.align(newer_than_ns=START + 2900 * MS))
    assert refusal.stream == 'rear_left' and not refusal.waiting
    assert refusal.reason == (f'newest frame is {lag / 1e3:.2f} s older than the newest of the '
                              'other cameras, limit 0.50 s')
    # Nobody else is blamed before the first plan either.
    if lag_ms > 2000:
        assert refused(drive.align()).stream == 'rear_left'


def test_several_cameras_that_stopped_are_all_named() -> None:
    drive = standard()
    for name, last in (('cross_left', 1000), ('front_tele', 500)):
        drive.frames[name].clear()
        drive.camera(name, every(100, 0, last))
    refusal = refused(drive.align())
    assert refusal.stream == 'front_tele' and '(also behind: cross_left)' in refusal.reason


def test_odometry_that_stopped_is_named() -> None:
    drive = standard()
    drive.odometry.clear()
    drive.ego(every(20, 0, 2000))
    refusal = refused(drive.align(newer_than_ns=START + 2000 * MS))
    assert refusal == Refusal('odometry', 'newest sample is 1.00 s older than the newest frame, '
                              'limit 0.50 s')


def test_all_cameras_behind_odometry() -> None:
    drive = standard()
    drive.ego(every(20, 3000, 5000))
    refusal = refused(drive.align(newer_than_ns=START + 2900 * MS))
    assert refusal.stream == 'front_wide' and not refusal.waiting
    assert 'newest frame is 2.08 s older than the newest odometry' in refusal.reason
    assert 'they stopped, or the clocks differ' in refusal.reason


def test_a_camera_with_another_clock_is_named_and_not_the_others() -> None:
    drive = standard()
    drive.frames['front_wide'].clear()
    drive.camera('front_wide', every(100, 1_000_000, 1_003_000))
    refusal = refused(drive.align())
    assert refusal.stream == 'front_wide' and 'its clock differs' in refusal.reason


def test_streams_that_never_came_are_named() -> None:
    drive = standard()
    drive.frames['cross_right'].clear()
    drive.odometry.clear()
    assert drive.align() == Refusal('cross_right', 'nothing has arrived yet (nor from odometry)')
    drive.camera('cross_right', [2933])
    assert drive.align() == Refusal('odometry', 'nothing has arrived yet')


def test_a_history_that_is_not_long_enough_yet_is_waited_for() -> None:
    drive = standard(until_ms=1200)
    refusal = refused(drive.align())
    assert refusal.waiting and refusal.stream == 'odometry'
    assert refusal.reason == ('history is filling: it begins 1.100 s before t0, 1.5 s are needed')
    drive = standard()
    drive.frames['cross_left'].clear()
    drive.camera('cross_left', every(100, 2800, 3000))
    refusal = refused(drive.align())
    assert refusal.waiting and refusal.stream == 'cross_left' and '0.100 s' in refusal.reason


def test_a_gap_in_odometry_is_not_bridged() -> None:
    drive = standard()
    drive.odometry.clear()
    drive.ego([stamp for stamp in every(20, 0, 3000) if not 2100 < stamp < 2360])
    refusal = refused(drive.align())
    assert refusal.stream == 'odometry'
    assert refusal.reason == ('no sample for 0.260 s around t0 - 0.7 s; '
                              'at most 0.250 s are interpolated')


def test_other_rigs_and_frame_counts() -> None:
    settings = AlignmentSettings(camera_names=('front_tele', 'cross_left'), frames_per_camera=2)
    drive = Drive(settings)
    for name in settings.camera_names:
        drive.camera(name, every(100, 0, 3000))
    drive.ego(every(100, 0, 3000))
    observation = planned(drive.align())
    assert [[frame.camera_id for frame in camera] for camera in observation.frames] == [
        [0, 0], [6, 6]]
    assert after_start(observation.t0_ns) == 3000


def test_the_horizons_survive_the_slowest_streams() -> None:
    # One camera nearly stalled, odometry ahead of every camera: a window is still complete.
    drive = Drive()
    for name in SIX_CAMERA_RIG:
        drive.camera(name, every(100, 0, 4510 if name == 'cross_left' else 5000))
    drive.ego(every(20, 0, 5000))
    assert after_start(planned(drive.align()).t0_ns) == 4500


@pytest.mark.parametrize('change, message', [
    ({'frame_tolerance_s': 0.1}, 'frame_tolerance_s is 0.1; expected above 0 and below 0.1'),
    ({'frames_per_camera': 0}, 'frames_per_camera is 0'), ({'grid_s': 0.0}, 'grid_s is 0.0'),
    ({'camera_names': ()}, r'camera_names is \(\)'),
    ({'camera_names': ('front_wide', 'front_wide')}, 'each once'),
    ({'camera_names': ('bumper',)}, "camera 'bumper' is unknown"),
    ({'max_speed_mps': float('nan')}, 'max_speed_mps is nan'),
    ({'max_speed_disagreement_ratio': -0.1}, 'max_speed_disagreement_ratio is -0.1')])
def test_wrong_settings_are_refused(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        AlignmentSettings(**change)


def test_a_camera_without_a_buffer_is_an_error() -> None:
    drive = standard()
    del drive.frames['cross_left'], drive.frames['front_tele']
    with pytest.raises(ValueError, match='no frame buffer for cross_left, front_tele'):
        drive.align()
