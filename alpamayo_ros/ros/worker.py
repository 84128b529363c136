"""The one thread that plans: always from the newest input, never from a queue of old work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alpamayo_ros.alignment import AlignmentSettings, Refusal, align
from alpamayo_ros.buffers import FrameBuffer, OdometryBuffer
from alpamayo_ros.errors import AlpamayoError, PlanCancelled
from alpamayo_ros.ros.conversions import why_not_published
from alpamayo_ros.ros.plan_health import PlanHealth
from alpamayo_ros.types import Observation, Plan

if TYPE_CHECKING:
    from alpamayo_ros.planner import Planner

Log = Callable[[str], None]


@dataclass(frozen=True)
class Timing:
    """When plans may start and until when they count, seconds."""

    plan_period_s: float
    max_input_age_s: float
    max_plan_age_s: float


@dataclass(frozen=True)
class Finished:
    """A plan worth publishing: what it was made from, and what it cost apart from the model.

    ``input_age_s``: how far t0 was behind the clock when planning started, ``plan_age_s``: when it
    was ready. ``align_ms``: choosing t0 and filling the window.
    """

    plan: Plan
    observation: Observation
    input_age_s: float
    plan_age_s: float
    align_ms: float


class PlanningThread:
    """Plans whenever ``notify`` says there is new input and a window can be filled.

    ``now_ns``: the node's clock; ``publish`` takes a ``Finished`` and is called in this thread;
    ``navigation`` gives the instruction in force; ``error`` logs.
    """

    def __init__(self, planner: Planner, frames: Mapping[str, FrameBuffer],
                 odometry: OdometryBuffer, alignment: AlignmentSettings, timing: Timing, *,
                 health: PlanHealth, now_ns: Callable[[], int],
                 navigation: Callable[[], str | None], publish: Callable[[Finished], None],
                 error: Log) -> None:
        self._planner, self._frames, self._odometry = planner, frames, odometry
        self._alignment, self._timing = alignment, timing
        self._health, self._now_ns = health, now_ns
        self._navigation, self._publish, self._error = navigation, publish, error
        self._condition = threading.Condition()
        self._fresh = self._stopping = False
        self._epoch = 0
        self._jumps = self._count_jumps()
        self._last_t0_ns: int | None = None
        self._thread = threading.Thread(target=self._run, name='planning', daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """There is new input."""
        with self._condition:
            self._fresh = True
            self._condition.notify()

    def time_jumped(self) -> None:
        """Time went back: give up the plan in hand; any t0 may be planned again."""
        with self._condition:
            self._epoch += 1
            self._last_t0_ns = None
        self._health.clock_jumped()

    def request_stop(self) -> None:
        """Ask the thread to end at the next opportunity; returns at once."""
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._fresh or self._stopping)
                if self._stopping:
                    return
                self._fresh = False
            try:
                self._step()
            except Exception as error:  # whatever fails, the next input gets its plan
                self._fail('failed', f'{type(error).__name__}: {error}')

    def _count_jumps(self) -> int:
        return (sum(buffer.jumps_back for buffer in self._frames.values())
                + self._odometry.jumps_back)

    def _notice_jumps(self) -> None:
        jumps = self._count_jumps()
        if jumps != self._jumps:
            self._jumps = jumps
            self.time_jumped()

    def _fail(self, outcome: str, text: str) -> None:
        if self._health.blocked(outcome, text):
            self._error(f'no plan: {outcome}: {text}')

    def _step(self) -> None:
        # Stamps may go back without a /clock that says so; the buffers notice.
        self._notice_jumps()
        epoch = self._epoch
        started = time.perf_counter()
        observation = self._window()
        if observation is None:
            return
        align_ms = (time.perf_counter() - started) * 1e3
        input_age_s = self._age_s(observation.t0_ns)
        if not self._is_current(observation.t0_ns, input_age_s):
            return
        with self._condition:
            if epoch != self._epoch:
                return
            self._last_t0_ns = observation.t0_ns
        self._health.started()

        def should_stop() -> bool:
            return self._stopping or epoch != self._epoch or self._jumps != self._count_jumps()

        try:
            plan = self._planner.plan(observation, should_stop=should_stop)
        except PlanCancelled:
            self._health.cancelled()
            return
        except AlpamayoError as error:
            self._fail('failed', str(error))
            return
        if should_stop():
            self._health.cancelled()
            return
        finished = Finished(plan, observation, input_age_s, self._age_s(plan.t0_ns), align_ms)
        if self._is_publishable(finished):
            self._publish(finished)

    def _window(self) -> Observation | None:
        newer_than = self._last_t0_ns
        if newer_than is not None:
            newer_than += round(self._timing.plan_period_s * 1e9) - 1
        result = align(self._frames, self._odometry, self._alignment,
                       navigation=self._navigation(), newer_than_ns=newer_than)
        if not isinstance(result, Refusal):
            return result
        text = f'{result.stream}: {result.reason}'
        stream = self._frames.get(result.stream, self._odometry)
        # Nothing yet on a stream is how every drive begins; too long of it is a fault by itself.
        if result.waiting or stream.latest_stamp_ns is None:
            self._health.waiting(text)
        else:
            self._fail('refused', text)
        return None

    def _age_s(self, t0_ns: int) -> float:
        return (self._now_ns() - t0_ns) / 1e9

    def _is_current(self, t0_ns: int, age_s: float) -> bool:
        limit = self._timing.max_input_age_s
        if abs(age_s) <= limit:
            return True
        if self._now_ns() == 0:
            self._fail('stale', 'use_sim_time is true and nothing has come on /clock')
            return False
        where = 'behind' if age_s > 0 else 'ahead of'
        hint = '' if abs(age_s) < 10 else ' (stamps of another clock, or use_sim_time wrong?)'
        self._fail('stale', f'the newest complete input is {abs(age_s):.2f} s {where} the clock; '
                   f'expected within {limit} s{hint}')
        return False

    def _is_publishable(self, finished: Finished) -> bool:
        limit = self._timing.max_plan_age_s
        if finished.plan_age_s > limit:
            self._fail('late', f'the plan was ready {finished.plan_age_s:.2f} s after its t0; '
                       f'expected within {limit} s')
            return False
        problem = why_not_published(finished.plan)
        if problem is not None:
            self._fail('implausible', problem)
        return problem is None
