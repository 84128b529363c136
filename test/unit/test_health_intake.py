"""The decoding threads with a preparation the test controls."""

from __future__ import annotations

import queue
import threading

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')

import torch  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from alpamayo_ros.buffers import FrameBuffer  # noqa: E402
from alpamayo_ros.cameras import camera_by_name  # noqa: E402
from alpamayo_ros.ros.conversions import ns_to_stamp  # noqa: E402
from alpamayo_ros.ros.health import Health  # noqa: E402
from alpamayo_ros.ros.intake import WAITING_PER_CAMERA, Intake  # noqa: E402
from alpamayo_ros.types import ImagePatches  # noqa: E402

NAMES = ('front_wide', 'rear_left')
START = 1_000_000_000_000
WAIT_S = 20.0
BROKEN = 99


class Bench:
    """An intake whose preparation waits for ``gate`` and tells of each image in ``taken``."""

    def __init__(self, threads: int) -> None:
        self.health = Health('node', lambda _: None)
        self.health.open_streams({name: name for name in NAMES})
        self.buffers = {name: FrameBuffer(camera_by_name(name), 10 ** 10) for name in NAMES}
        self.gate = threading.Event()
        self.taken: queue.Queue[int] = queue.Queue()
        self.stored: queue.Queue[bool] = queue.Queue()
        self.intake = Intake(
            self.buffers, {name: self.health.stream(name) for name in NAMES}, self._prepare,
            lambda: self.stored.put(True), threads)

    def _prepare(self, rgb: np.ndarray) -> ImagePatches:
        number = int(rgb[0, 0, 0])
        if number == BROKEN:
            raise ZeroDivisionError('nobody thought of this')
        self.taken.put(number)
        assert self.gate.wait(WAIT_S)
        return ImagePatches(torch.zeros(1), (1, 1, 1), rgb.shape[:2])

    def put(self, name: str, number: int, encoding: str = 'rgb8') -> None:
        """An image that shows its number, and has it as stamp."""
        message = Image(height=2, width=2, step=6, encoding=encoding, data=bytes([number]) * 12)
        message.header.stamp = ns_to_stamp(START + number * 10 ** 8)
        self.intake.put(name, message)

    def numbers(self, name: str) -> list[int]:
        """What is in a buffer."""
        return [(frame.stamp_ns - START) // 10 ** 8 for frame in self.buffers[name].snapshot()[0]]

    def counts(self, name: str) -> dict[str, str]:
        """The health of a stream."""
        status = next(item for item in self.health.statuses() if item.name == f'node: {name}')
        return {item.key: item.value for item in status.values}


@pytest.fixture
def make():
    """Make benches and close them."""
    benches = []

    def begin(threads: int = 1) -> Bench:
        benches.append(Bench(threads))
        return benches[-1]

    yield begin
    for bench in benches:
        bench.gate.set()
        bench.intake.close()


def test_images_reach_the_buffer_in_order(make):
    bench = make(threads=4)
    bench.gate.set()
    for number in range(20):
        bench.put('front_wide', number)
        bench.stored.get(timeout=WAIT_S)
    assert bench.numbers('front_wide') == list(range(20))
    assert bench.counts('front_wide')['stored'] == '20'
    assert set(bench.intake.timings_ms) == {'queue', 'prepare'}


def test_one_camera_never_keeps_two_threads(make):
    bench = make(threads=2)
    bench.put('front_wide', 1)
    assert bench.taken.get(timeout=WAIT_S) == 1
    bench.put('front_wide', 2)
    bench.put('rear_left', 9)
    assert bench.taken.get(timeout=WAIT_S) == 9
    assert bench.taken.empty()
    bench.gate.set()
    for _ in range(3):
        bench.stored.get(timeout=WAIT_S)
    assert bench.numbers('front_wide') == [1, 2]


def test_the_newest_images_win_and_drops_are_counted(make):
    bench = make()
    bench.put('front_wide', 0)
    assert bench.taken.get(timeout=WAIT_S) == 0
    for number in range(1, 6):
        bench.put('front_wide', number)
    bench.put('rear_left', 1)  # another camera loses nothing by it
    bench.gate.set()
    for _ in range(1 + WAITING_PER_CAMERA + 1):
        bench.stored.get(timeout=WAIT_S)
    assert bench.numbers('front_wide') == [0, 4, 5]
    assert bench.numbers('rear_left') == [1]
    assert bench.counts('front_wide')['dropped'] == '3'
    assert bench.counts('rear_left')['dropped'] == '0'


def test_clearing_forgets_what_waits_and_what_is_in_hand(make):
    bench = make()
    bench.put('front_wide', 7)
    assert bench.taken.get(timeout=WAIT_S) == 7
    bench.put('front_wide', 8)
    bench.intake.clear()
    bench.put('front_wide', 1)
    bench.gate.set()
    bench.stored.get(timeout=WAIT_S)
    assert bench.numbers('front_wide') == [1]


def test_an_image_that_fails_is_named_and_the_next_is_taken(make):
    bench = make()
    bench.gate.set()
    bench.put('front_wide', 1, encoding='smell16')
    bench.put('front_wide', 2)
    bench.stored.get(timeout=WAIT_S)
    assert bench.numbers('front_wide') == [2]
    assert 'smell16' in bench.counts('front_wide')['last_error']
    assert bench.counts('front_wide')['refused'] == '1'


def test_a_failure_nobody_thought_of_does_not_end_the_thread(make):
    bench = make()
    bench.gate.set()
    bench.put('front_wide', BROKEN)
    bench.put('front_wide', 100)
    bench.stored.get(timeout=WAIT_S)
    assert bench.numbers('front_wide') == [100]
    assert bench.counts('front_wide')['last_error'] == 'ZeroDivisionError: nobody thought of this'


def test_closing_ends_every_thread(make):
    bench = make(threads=3)
    bench.gate.set()
    bench.put('front_wide', 1)
    bench.intake.close()
    assert not any(thread.is_alive() for thread in bench.intake._threads)
