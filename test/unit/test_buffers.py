"""Buffers: order by stamp, what is dropped and why, recovery by themselves, interpolation."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from alpamayo_ros.buffers import DROPPED, FrameBuffer, OdometryBuffer
from alpamayo_ros.cameras import camera_by_name
from alpamayo_ros.types import CameraFrame, EgoState, ImagePatches

SECOND = 10 ** 9
START = 1_700_000_000 * SECOND
CAMERA = camera_by_name('front_wide')


def frame(offset_s: float, size: tuple[int, int] = (1080, 1920), camera_id: int = 1) -> CameraFrame:
    return CameraFrame(camera_id, START + round(offset_s * SECOND),
                       ImagePatches(None, (1, 20, 36), size))


def state(offset_s: float, position=(0.0, 0.0, 0.0), yaw: float = 0.0, speed: float = 0.0,
          yaw_rate: float = 0.0) -> EgoState:
    return EgoState(START + round(offset_s * SECOND), np.array(position, float),
                    Rotation.from_euler('z', yaw).as_quat(), np.array([speed, 0.0, 0.0]),
                    np.array([0.0, 0.0, yaw_rate]))


def offsets(buffer: FrameBuffer | OdometryBuffer) -> list[float]:
    return [(item.stamp_ns - START) / SECOND for item in buffer.snapshot()[0]]


@pytest.fixture
def frames() -> FrameBuffer:
    return FrameBuffer(CAMERA, 2 * SECOND)


@pytest.fixture
def odometry() -> OdometryBuffer:
    return OdometryBuffer(3 * SECOND)


def test_frames_are_kept_by_stamp_and_no_longer_than_the_horizon(frames) -> None:
    assert frames.latest_stamp_ns is None and frames.nearest(START) is None
    for index in range(31):
        assert frames.add(frame(index / 10)) is None
    assert offsets(frames) == [index / 10 for index in range(10, 31)]
    assert len(frames) == 21 and frames.latest_stamp_ns == START + 3 * SECOND
    frames.clear()
    assert len(frames) == 0 and frames.latest_stamp_ns is None


def test_nearest_prefers_the_earlier_of_two_equals(frames) -> None:
    for offset in (0.0, 0.1, 0.2):
        frames.add(frame(offset))
    for offset, expected in ((-5, 0.0), (0.04, 0.0), (0.05, 0.0), (0.051, 0.1), (9, 0.2)):
        nearest = frames.nearest(START + round(offset * SECOND))
        assert nearest.stamp_ns == START + round(expected * SECOND)


def test_messages_out_of_order_are_put_in_their_place(frames, odometry) -> None:
    for offset in (0.3, 0.1, 0.2, 0.0):
        assert frames.add(frame(offset)) is None
        assert odometry.add(state(offset)) is None
    assert offsets(frames) == offsets(odometry) == [0.0, 0.1, 0.2, 0.3]
    assert frames.latest_stamp_ns == odometry.latest_stamp_ns == START + 3 * SECOND // 10


def test_duplicates_are_dropped_and_the_first_one_stays(frames, odometry) -> None:
    first = frame(0.0)
    frames.add(first)
    odometry.add(state(0.0, speed=1.0))
    assert frames.add(frame(0.0)) == f'{DROPPED}duplicate stamp {1_700_000_000.0:.9f} s'
    assert odometry.add(state(0.0, speed=2.0)).startswith(f'{DROPPED}duplicate stamp')
    assert frames.snapshot()[0] == (first,)
    assert odometry.snapshot()[0][0].linear_velocity[0] == 1.0


def test_a_stamp_that_was_not_filled_in_is_dropped(frames, odometry) -> None:
    unset = CameraFrame(1, 0, ImagePatches(None, (1, 2, 2), (32, 32)))
    assert frames.add(unset).startswith(f'{DROPPED}the stamp is 0 ns')
    assert len(frames) == 0


def test_stragglers_are_dropped_with_the_numbers(frames) -> None:
    frames.add(frame(10.0))
    answer = frames.add(frame(7.5))
    assert answer == f'{DROPPED}older than the buffer, 2.500 s behind the newest; ' \
                     'expected at most 2.000 s'
    assert frames.add(frame(10.1)) is None
    assert frames.add(frame(7.6)).startswith(DROPPED)
    assert frames.add(frame(10.2)) is None and frames.jumps_back == 0
    assert offsets(frames) == [10.0, 10.1, 10.2]


@pytest.mark.parametrize('kind', ['frames', 'odometry'])
def test_a_clock_that_jumps_back_starts_the_buffer_anew(kind, request) -> None:
    buffer = request.getfixturevalue(kind)
    make = frame if kind == 'frames' else state
    for index in range(5):
        buffer.add(make(100 + index / 10))
    answers = [buffer.add(make(index / 10)) for index in range(5)]
    assert [answer is not None and answer.startswith(DROPPED) for answer in answers] == [
        True, True, False, False, False]
    assert answers[2] == 'the stamps jumped back by more than 100.400 s; the buffer starts anew'
    assert answers[3:] == [None, None] and buffer.jumps_back == 1
    assert offsets(buffer) == [0.2, 0.3, 0.4]


def test_one_stamp_from_the_future_is_recovered_from(frames) -> None:
    for offset in (0.0, 0.1, 5000.0, 0.2, 0.3, 0.4, 0.5):
        frames.add(frame(offset))
    assert offsets(frames) == [0.4, 0.5]


def set_back(step_s: float, lost: int | None = None, jitter_s: float = 0.0, seed: int = 0,
             count: int = 40) -> list[tuple[float, CameraFrame]]:
    """When each frame was taken, and the frame: 10 Hz, the clock set back before the 20th."""
    rng = np.random.default_rng(seed)
    taken = [index / 10 + rng.uniform(-jitter_s, jitter_s) for index in range(count)]
    return [(time, frame(time - (step_s if index >= 20 else 0.0)))
            for index, time in enumerate(taken) if index != lost]


# By 0.2 s exactly the stamps of two frames come again: they look like frames sent twice.
@pytest.mark.parametrize('step_s', [0.12, 0.15, 0.19, 0.21, 0.25, 0.3, 0.33, 0.4, 0.75, 1.05, 1.6])
@pytest.mark.parametrize('jitter_s', [0.0, 0.004])
def test_frames_of_before_and_after_a_step_of_the_clock_are_never_together(
        step_s, jitter_s) -> None:
    buffer = FrameBuffer(CAMERA, 11 * SECOND // 10)
    taken_at, notes = {}, []
    for taken, item in set_back(step_s, jitter_s=jitter_s):
        taken_at[id(item)] = taken
        notes.append(buffer.add(item))
        times = [taken_at[id(stored)] for stored in buffer.snapshot()[0]]
        assert max(times) < 1.95 or min(times) > 1.95
    assert buffer.jumps_back == 1 and min(times) > 1.95
    (said,) = [note for note in notes if note and not note.startswith(DROPPED)]
    assert said.startswith('the stamps jumped back by more than 0.') or step_s > 1
    # The note and the first frame of the new clock that is kept come within three frames.
    assert notes.index(said) <= 23


@pytest.mark.parametrize('step_s', [0.21, 0.25, 0.29, 0.35, 0.5, 0.95])
@pytest.mark.parametrize('lost', range(8, 24))
def test_nor_does_a_frame_after_the_step_take_the_place_of_a_lost_one(step_s, lost) -> None:
    buffer = FrameBuffer(CAMERA, 11 * SECOND // 10)
    taken_at = {}
    for taken, item in set_back(step_s, lost):
        taken_at[id(item)] = taken
        buffer.add(item)
        times = [taken_at[id(stored)] for stored in buffer.snapshot()[0]]
        assert times == sorted(times)
    assert buffer.jumps_back == 1 and min(times) > 1.95


@pytest.mark.parametrize('order', [(1, 0), (2, 1, 0), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize('lost', [None, 13, 14, 15])
def test_frames_that_overtake_each_other_are_all_kept(frames, order, lost) -> None:
    sent = [start + place for start in range(0, 30, len(order)) for place in order]
    answers = [frames.add(frame(index / 10)) for index in sent if index != lost]
    answers.append(frames.add(frame(3.1)))
    assert answers == [None] * len(answers) and frames.jumps_back == 0
    assert offsets(frames) == [index / 10 for index in range(11, 30) if index != lost] + [3.1]


def test_a_late_frame_waits_until_a_newer_one_tells_that_it_is_in_place(frames) -> None:
    for offset in (0.0, 0.1, 0.2, 0.3, 0.5, 0.4):
        assert frames.add(frame(offset)) is None
    assert offsets(frames) == [0.0, 0.1, 0.2, 0.3, 0.5]
    assert frames.add(frame(0.4)).startswith(f'{DROPPED}duplicate stamp')
    assert frames.wants(START + 6 * SECOND // 10) and frames.add(frame(0.6)) is None
    assert offsets(frames) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_one_wrong_stamp_among_good_ones_is_left_out_and_said(frames) -> None:
    answers = [frames.add(frame(offset)) for offset in (
        0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.233, 0.7, 0.8)]
    assert answers == [None] * 7 + [
        '1 left out: 0.267 s behind the newest, where none was missing', None]
    assert offsets(frames) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8] and frames.jumps_back == 0


def test_one_wrong_stamp_ahead_is_recovered_from(frames) -> None:
    for offset in (0.0, 0.1, 0.2, 0.3, 1.3, 0.5, 0.6, 0.7, 0.8):
        frames.add(frame(offset))
    assert offsets(frames) == [0.7, 0.8] and frames.jumps_back == 1


@pytest.mark.parametrize('rate_hz', [10, 30])
def test_a_camera_that_sends_every_frame_twice_does_not_set_its_clock_back(rate_hz) -> None:
    buffer = FrameBuffer(CAMERA, SECOND, grid_ns=SECOND // 10)
    for offset in np.repeat(np.arange(0, 5, 1 / rate_hz), 2):
        if buffer.wants(START + round(offset * SECOND)):
            buffer.add(frame(offset))
    assert buffer.jumps_back == 0 and len(buffer) >= 10


def test_a_clock_that_jumps_back_between_frames_nobody_wants_is_noticed() -> None:
    buffer = FrameBuffer(CAMERA, SECOND, grid_ns=SECOND // 10)
    notes = []
    for index in range(90):
        offset = index / 30 - (0.05 if index > 60 else 0.0)
        if buffer.wants(START + round(offset * SECOND)):
            notes.append(buffer.add(frame(offset)))
    assert buffer.jumps_back == 1
    assert [note[:23] for note in notes if note] == ['the stamps jumped back ']


def test_samples_of_several_sensors_need_not_be_regular(odometry) -> None:
    # Each sensor at 100 Hz, the stamps of the second 3 ms and of the third 7 ms before.
    sent = [index / 100 - delay for index in range(10, 200) for delay in (0.0, 0.003, 0.007)]
    assert {odometry.add(state(offset)) for offset in sent} == {None}
    odometry.add(state(2.0))
    assert len(odometry) == len(sent) + 1 and odometry.jumps_back == 0


def test_odometry_of_before_and_after_a_step_of_the_clock_is_never_together(odometry) -> None:
    for index in range(200):
        odometry.add(state(index / 50 - (0.4 if index >= 100 else 0.0), position=(index, 0, 0)))
        places = [item.position[0] for item in odometry.snapshot()[0]]
        assert max(places) < 100 or min(places) >= 100
    assert odometry.jumps_back == 1 and min(places) >= 100


def test_a_new_resolution_far_back_starts_the_buffer_anew(frames) -> None:
    for index in range(5):
        frames.add(frame(100 + index / 10))
    answers = [frames.add(frame(index / 10, size=(720, 1280))) for index in range(5)]
    assert [answer and answer[:20] for answer in answers] == [
        'dropped: resolution ', 'dropped: resolution ', 'the stamps jumped ba', None, None]
    assert offsets(frames) == [0.2, 0.3, 0.4]
    unset = CameraFrame(1, 0, ImagePatches(None, (1, 2, 2), (32, 32)))
    assert all(frames.add(unset).startswith(f'{DROPPED}the stamp is 0') for _ in range(4))


def test_a_new_resolution_drops_the_frames_before_it(frames) -> None:
    frames.add(frame(0.0))
    frames.add(frame(0.1))
    answer = frames.add(frame(0.2, size=(720, 1280)))
    assert answer == 'resolution changed from 1920 x 1080 to 1280 x 720; older frames dropped'
    assert offsets(frames) == [0.2]
    assert frames.add(frame(0.15)).startswith(f'{DROPPED}resolution changed')
    assert frames.add(frame(0.3, size=(720, 1280))) is None
    assert offsets(frames) == [0.2, 0.3]


def test_a_frame_of_another_camera_is_an_error(frames) -> None:
    with pytest.raises(ValueError, match=r'frame is of camera 2; expected 1 \(front_wide\)'):
        frames.add(frame(0.0, camera_id=2))


@pytest.mark.parametrize('phase', [0.0, 0.007, 0.05])
@pytest.mark.parametrize('rate_hz, least, most', [
    (10, 1.0, 1.0), (12, 1.0, 1.0), (30, 0.33, 0.67), (60, 0.16, 0.34)])
def test_a_fast_camera_need_not_decode_every_frame(rate_hz, least, most, phase) -> None:
    rng = np.random.default_rng(rate_hz)
    buffer = FrameBuffer(CAMERA, 100 * SECOND, grid_ns=SECOND // 10)
    stamps = [phase + offset + float(rng.normal(0, 0.001))
              for offset in np.arange(0, 20, 1 / rate_hz)]
    stored = []
    for offset in stamps:
        if buffer.wants(START + round(offset * SECOND)):
            assert buffer.add(frame(offset)) is None
            stored.append(offset)
        assert buffer.latest_stamp_ns == START + round(offset * SECOND)
    assert least - 0.01 <= len(stored) / len(stamps) <= most + 0.01
    # Nothing that is nearest to a grid time was left out.
    for grid in np.arange(1, 19, 0.1):
        nearest = min(stamps, key=lambda offset: abs(offset - grid))
        found = buffer.nearest(START + round(grid * SECOND))
        assert found.stamp_ns == START + round(nearest * SECOND)


def test_without_a_grid_every_frame_is_wanted(frames) -> None:
    assert all(frames.wants(START + index * SECOND // 60) for index in range(60))


@pytest.mark.parametrize('field', [
    'position', 'orientation', 'linear_velocity', 'angular_velocity'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_odometry_that_is_not_finite_is_dropped_by_name(odometry, field, value) -> None:
    values = {name: getattr(state(0.0), name).copy() for name in (
        'position', 'orientation', 'linear_velocity', 'angular_velocity')}
    values[field][1] = value
    answer = odometry.add(EgoState(START, **values))
    assert answer.startswith(f'{DROPPED}{field} is [') and 'expected finite' in answer
    assert len(odometry) == 0 and odometry.latest_stamp_ns is None


@pytest.mark.parametrize('quaternion, norm', [([0, 0, 0, 0], '0'), ([0, 0, 0, 2], '2')])
def test_a_quaternion_that_is_no_rotation_is_dropped(odometry, quaternion, norm) -> None:
    bad = EgoState(START, np.zeros(3), np.array(quaternion, float), np.zeros(3), np.zeros(3))
    assert odometry.add(bad).endswith(f'has norm {norm}; expected a unit quaternion')


def test_a_rounded_quaternion_is_normalised(odometry) -> None:
    rounded = EgoState(START, np.zeros(3), np.array([0, 0, 0.7071, 0.71]), np.zeros(3), np.zeros(3))
    assert odometry.add(rounded) is None
    assert np.linalg.norm(odometry.snapshot()[0][0].orientation) == pytest.approx(1, abs=1e-15)


def test_interpolation_is_linear_and_slerp(odometry) -> None:
    odometry.add(state(0.0, (1, 2, 3), yaw=3.0, speed=4.0, yaw_rate=0.1))
    odometry.add(state(0.1, (2, 4, 3), yaw=-3.0, speed=6.0, yaw_rate=0.3))
    middle = odometry.interpolate(START + SECOND // 40, SECOND)
    assert middle.stamp_ns == START + SECOND // 40
    np.testing.assert_allclose(middle.position, [1.25, 2.5, 3])
    np.testing.assert_allclose(middle.linear_velocity, [4.5, 0, 0])
    np.testing.assert_allclose(middle.angular_velocity, [0, 0, 0.15])
    # The short way round, across pi.
    expected = 3.0 + (2 * np.pi - 6.0) / 4
    np.testing.assert_allclose(Rotation.from_quat(middle.orientation).as_rotvec(),
                               [0, 0, expected], atol=1e-12)


@pytest.mark.parametrize('seed', range(5))
def test_interpolated_rotations_are_those_of_slerp(odometry, seed) -> None:
    rng = np.random.default_rng(seed)
    turns = Rotation.random(2, random_state=seed)
    for offset, turn in zip((0.0, 0.2), turns, strict=True):
        odometry.add(EgoState(START + round(offset * SECOND), rng.normal(size=3),
                              turn.as_quat() * rng.choice([-1, 1]), np.zeros(3), np.zeros(3)))
    for share in rng.random(5):
        at = START + round(share * 0.2 * SECOND)
        got = Rotation.from_quat(odometry.interpolate(at, SECOND).orientation)
        want = Slerp([0, 1], turns)((at - START) / (0.2 * SECOND))
        assert (got * want.inv()).magnitude() < 1e-7


def test_an_instant_of_a_sample_gives_that_sample(odometry) -> None:
    for offset in (0.0, 0.1, 0.9):
        odometry.add(state(offset, speed=offset))
    assert odometry.interpolate(START + SECOND // 10, 1) is odometry.snapshot()[0][1]


def test_nothing_is_extrapolated_nor_bridged(odometry) -> None:
    assert odometry.interpolate(START, SECOND) is None
    for offset in (0.0, 0.1, 0.5):
        odometry.add(state(offset))
    assert odometry.interpolate(START - 1, SECOND) is None
    assert odometry.interpolate(START + SECOND // 2 + 1, SECOND) is None
    assert odometry.interpolate(START + SECOND // 5, SECOND // 5) is None
    assert odometry.interpolate(START + SECOND // 5, SECOND * 2 // 5) is not None


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match='horizon_ns is 0'):
        OdometryBuffer(0)
    with pytest.raises(ValueError, match='grid_ns is -1'):
        FrameBuffer(CAMERA, SECOND, grid_ns=-1)


def test_a_thread_may_fill_while_others_read() -> None:
    buffer = OdometryBuffer(1000 * SECOND)
    faults: list[BaseException] = []
    filled = threading.Event()

    def fill() -> None:
        for index in range(800):
            buffer.add(state(index / 100 - (0.02 if index % 7 == 6 else 0.0)))
        filled.set()

    def read() -> None:
        try:
            while not filled.is_set():
                items, newest = buffer.snapshot()
                stamps = [item.stamp_ns for item in items]
                assert stamps == sorted(set(stamps)) and newest == (stamps[-1] if stamps else None)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work) for work in (fill, read, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults and len(buffer) > 600
