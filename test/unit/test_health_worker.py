"""The planning thread with a planner the test controls, and real buffers."""

from __future__ import annotations

import queue

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')

import torch  # noqa: E402

from alpamayo_ros.alignment import AlignmentSettings  # noqa: E402
from alpamayo_ros.buffers import FrameBuffer, OdometryBuffer  # noqa: E402
from alpamayo_ros.cameras import camera_by_name  # noqa: E402
from alpamayo_ros.errors import ObservationError, PlanCancelled  # noqa: E402
from alpamayo_ros.ros.plan_health import ERROR, OK, PlanHealth  # noqa: E402
from alpamayo_ros.ros.worker import PlanningThread, Timing  # noqa: E402
from alpamayo_ros.types import CameraFrame, Candidate, EgoState, ImagePatches, Plan  # noqa: E402

STEP = 100_000_000
START = 1_000 * 1_000_000_000
WAIT_S = 20.0
PATCHES = ImagePatches(torch.zeros(1, 1), (1, 1, 1), (8, 8))


def candidate(sample: int, x: float = 0.0, reasons: tuple[str, ...] = ()) -> Candidate:
    """A candidate of two waypoints at ``x``."""
    return Candidate(sample, 0, np.full((2, 3), x), np.zeros((2, 3, 3)), np.zeros((2, 2)),
                     reasons=reasons)


class Planner:
    """Plans when the test says so. ``started`` gets each t0, ``go`` gives what to do with it."""

    def __init__(self) -> None:
        self.started: queue.Queue[int] = queue.Queue()
        self.go: queue.Queue[object] = queue.Queue()

    def plan(self, observation, *, should_stop):
        """Raise, or return a plan of one candidate with these reasons, or of these candidates."""
        self.started.put(observation.t0_ns)
        while True:
            if should_stop():
                raise PlanCancelled('stopped')
            try:
                order = self.go.get(timeout=0.01)
                break
            except queue.Empty:
                continue
        if isinstance(order, Exception):
            raise order
        candidates = order if order and isinstance(order[0], Candidate) else (
            candidate(0, reasons=order),)
        return Plan(observation.t0_ns, 0.1, 1.0, (), candidates, 0, 'single', {})


class Bench:
    """A thread with one camera and odometry, fed by ``feed``."""

    def __init__(self) -> None:
        settings = AlignmentSettings(camera_names=('front_wide',), frames_per_camera=1)
        self.frames = {'front_wide': FrameBuffer(
            camera_by_name('front_wide'), settings.frame_horizon_ns)}
        self.odometry = OdometryBuffer(settings.odometry_horizon_ns)
        self.planner = Planner()
        self.errors: queue.Queue[str] = queue.Queue()
        self.published: queue.Queue = queue.Queue()
        self.health = PlanHealth(lambda: 0.0)
        self.health.activated(1.0, 1.0, 0.1)
        self.now, self.clock_error = START, 0
        self.thread = PlanningThread(
            self.planner, self.frames, self.odometry, settings, Timing(0.1, 1.0, 2.0),
            health=self.health, now_ns=lambda: self.now + self.clock_error, navigation=lambda: None,
            publish=self._publish, error=self.errors.put)

    def _publish(self, finished) -> None:
        self.health.published(1, finished.plan.t0_ns, 1.0)
        self.published.put(finished.plan.t0_ns)

    def feed(self, first: int, last: int) -> None:
        """Frames and odometry at the steps first ... last, then tell the thread."""
        for step in range(first, last + 1):
            stamp = START + step * STEP
            self.odometry.add(EgoState(stamp, np.zeros(3), np.array([0, 0, 0, 1.0]), np.zeros(3),
                                       np.zeros(3)))
            self.frames['front_wide'].add(CameraFrame(1, stamp, PATCHES))
            self.now = stamp
        self.thread.notify()

    def judge(self):
        """Level and message of the plan's health."""
        return self.health.judge('')[:2]


@pytest.fixture
def bench():
    """A bench with enough history for a plan at step 20."""
    bench = Bench()
    bench.feed(0, 20)
    yield bench
    bench.thread.request_stop()
    bench.thread.join()


def at(step: int) -> int:
    """The time of a step."""
    return START + step * STEP


def test_the_newest_input_is_planned_and_what_came_in_between_is_not(bench):
    assert bench.planner.started.get(timeout=WAIT_S) == at(20)
    for step in range(21, 27):
        bench.feed(step, step)
    bench.planner.go.put(())
    assert bench.published.get(timeout=WAIT_S) == at(20)
    assert bench.planner.started.get(timeout=WAIT_S) == at(26)


def test_a_t0_is_planned_once(bench):
    bench.planner.go.put(())
    assert bench.published.get(timeout=WAIT_S) == at(20)
    for _ in range(5):
        bench.thread.notify()
    bench.feed(21, 21)
    assert bench.planner.started.get(timeout=WAIT_S) == at(20)
    assert bench.planner.started.get(timeout=WAIT_S) == at(21)


def test_a_jump_of_the_clock_gives_up_the_plan_and_allows_its_t0_again(bench):
    assert bench.planner.started.get(timeout=WAIT_S) == at(20)
    bench.thread.time_jumped()
    bench.thread.notify()
    assert bench.planner.started.get(timeout=WAIT_S) == at(20)
    bench.planner.go.put(())
    assert bench.published.get(timeout=WAIT_S) == at(20)
    assert bench.health.judge('')[2]['cancelled'] == 1


def test_stamps_that_jump_back_give_up_the_plan_as_well(bench):
    assert bench.planner.started.get(timeout=WAIT_S) == at(20)
    bench.feed(-400, -370)
    assert bench.planner.started.get(timeout=WAIT_S) == at(-370)
    bench.planner.go.put(())
    assert bench.published.get(timeout=WAIT_S) == at(-370)


@pytest.mark.parametrize(('order', 'text'), [
    (ObservationError('no history'), 'failed: no history'),
    (RuntimeError('out of memory'), 'failed: RuntimeError: out of memory'),
    (('too fast',), 'implausible: all 1 candidates are implausible, the first (sample 0) because '
                    'too fast'),
    ((candidate(1), candidate(0, np.nan, ('not finite',))),
     'implausible: 1 of 2 candidates are not finite (sample 0); expected numbers in every path of '
     'the set'),
], ids=['refused', 'crashed', 'implausible', 'not finite'])
def test_a_plan_that_fails_is_said_and_the_next_input_is_planned(bench, order, text):
    bench.planner.started.get(timeout=WAIT_S)
    bench.planner.go.put(order)
    assert bench.errors.get(timeout=WAIT_S) == f'no plan: {text}'
    assert bench.judge() == (ERROR, text)
    bench.feed(21, 21)
    assert bench.planner.started.get(timeout=WAIT_S) == at(21)
    assert bench.published.empty()
    bench.planner.go.put(())
    assert bench.published.get(timeout=WAIT_S) == at(21)
    assert bench.judge()[0] == OK


def test_a_plan_that_comes_too_late_is_not_published(bench):
    bench.planner.started.get(timeout=WAIT_S)
    bench.now = at(20) + 2_500_000_000
    bench.planner.go.put(())
    text = 'late: the plan was ready 2.50 s after its t0; expected within 2.0 s'
    assert bench.errors.get(timeout=WAIT_S) == f'no plan: {text}'
    assert bench.judge() == (ERROR, text)
    bench.feed(41, 60)
    assert bench.planner.started.get(timeout=WAIT_S) == at(60)
    assert bench.published.empty()


@pytest.mark.parametrize(('behind_s', 'text'), [
    (1.5, '1.50 s behind the clock; expected within 1.0 s'),
    (-1.5, '1.50 s ahead of the clock; expected within 1.0 s'),
    (3600.0, '3600.00 s behind the clock; expected within 1.0 s (stamps of another clock'),
])
def test_input_that_is_not_of_now_is_not_planned(bench, behind_s, text):
    bench.planner.started.get(timeout=WAIT_S)
    bench.planner.go.put(())
    bench.published.get(timeout=WAIT_S)
    bench.clock_error = round(behind_s * 1e9)
    bench.feed(21, 21)
    assert text in bench.errors.get(timeout=WAIT_S)
    assert bench.judge()[0] == ERROR
    assert text in bench.judge()[1]
    assert bench.planner.started.empty()


def test_stopping_ends_the_thread_in_the_middle_of_a_plan(bench):
    bench.planner.started.get(timeout=WAIT_S)
    bench.thread.request_stop()
    bench.thread.join()
    assert bench.published.empty()
