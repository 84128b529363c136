"""One instant of a replay: its window, its plan, the drive's own future, the figures."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from alpamayo_ros.alignment import Refusal
from alpamayo_ros.errors import AlpamayoError, PlanCancelled
from alpamayo_ros.metrics.plan import plan_metrics, selected_in_odometry
from alpamayo_ros.replay.feed import Feed
from alpamayo_ros.replay.future import Future
from alpamayo_ros.replay.record import PLANNED, Record, plan_record, refusal_record
from alpamayo_ros.ros.conversions import why_not_published
from alpamayo_ros.types import Observation

if TYPE_CHECKING:
    from alpamayo_ros.planner import Planner


class InstantPlanner:
    """Makes the record of an instant. ``behind_ns``: how far the stamps are behind the clock of the
    recording. Instants must ascend.
    """

    def __init__(self, planner: Planner, feed: Feed, future: Future, behind_ns: int,
                 stop: threading.Event) -> None:
        self._planner, self._feed, self._future = planner, feed, future
        self._behind_ns, self._stop = behind_ns, stop
        self._sequence = 0
        self._previous: tuple[int, np.ndarray] | None = None

    def follow(self, record: Record) -> None:
        """Note a record that is there already."""
        if record.status == PLANNED:
            self._sequence = record.line['sequence']
            self._previous = record.t0_ns, selected_in_odometry(record.arrays)

    def answer(self, t0_ns: int, recorded_ns: int) -> Record | None:
        """Plan at t0 from what was recorded up to ``recorded_ns``.

        None while messages are due, and when asked to stop.
        """
        started = time.perf_counter()
        result = self._feed.observe(t0_ns, self._planner.accepts_navigation)
        align_ms = (time.perf_counter() - started) * 1e3
        if isinstance(result, Refusal):
            return None if result.waiting else refusal_record(t0_ns, result.stream, result.reason)
        record = self._plan(result, recorded_ns, align_ms)
        if record is not None:
            self.follow(record)
        return record

    def _plan(self, observation: Observation, recorded_ns: int, align_ms: float) -> Record | None:
        planner, t0_ns = self._planner, observation.t0_ns
        try:
            plan = planner.plan(observation, should_stop=self._stop.is_set)
        except PlanCancelled:
            return None
        except AlpamayoError as error:
            return refusal_record(t0_ns, 'plan', str(error))
        dt_ns = round(plan.dt_s * 1e9)
        future_xyz = self._future.path(
            observation.pose_at_t0, [t0_ns + (k + 1) * dt_ns for k in range(planner.num_waypoints)])
        problem = why_not_published(plan)
        timings = {'align': align_ms, **plan.timings_ms}
        record = plan_record(
            plan, observation, future_xyz, problem=problem,
            sequence=None if problem else self._sequence + 1, published_ns=recorded_ns,
            input_age_ms=(recorded_ns - self._behind_ns - t0_ns) / 1e6,
            timings_ms={'input.prepare': self._feed.decode_ms, **timings,
                        'total': sum(timings.values())})
        record.line['metrics'] = plan_metrics(record.line, record.arrays, plan.dt_s, self._previous)
        return record
