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
    assert answers[2] == 'the stamps jumped back by 100.200 s; the buffer starts anew'
    assert answers[3:] == [None, None] and buffer.jumps_back == 1
    assert offsets(buffer) == [0.2, 0.3, 0.4]


def test_one_stamp_from_the_future_is_recovered_from(frames) -> None:
    for offset in (0.0, 0.1, 5000.0, 0.2, 0.3, 0.4, 0.5):
        frames.add(frame(offset))
    assert offsets(frames) == [0.4, 0.5]


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


def test_threads_may_fill_and_read_at_once() -> None:
    buffer = OdometryBuffer(1000 * SECOND)
    faults: list[BaseException] = []

    def fill(part: int) -> None:
        try:
            for index in range(part, 800, 4):
                buffer.add(state(index / 100))
                items, newest = buffer.snapshot()
                stamps = [item.stamp_ns for item in items]
                assert stamps == sorted(set(stamps)) and newest == stamps[-1]
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=fill, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults and len(buffer) == 800
