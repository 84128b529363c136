"""Whether plans are coming, and if not, why: the 'plan' status of /diagnostics."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticStatus

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
_NUMBER = re.compile(r'-?\d+(\.\d+)?')
_LOG_EVERY_S = 1.0
_OUTCOMES = ('published', 'refused', 'stale', 'late', 'implausible', 'failed', 'cancelled')


class PlanHealth:
    """What became of the plans. ``clock`` gives steady seconds; any thread may call.

    A fault stays an ERROR until a plan has been published again, so a reader at 1 Hz sees it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reset()
        self._max_idle_s = self._max_plan_age_s = 0.0

    def _reset(self) -> None:
        self._active = False
        self._counts = dict.fromkeys(_OUTCOMES, 0)
        self._clock_jumps = self._jumps_since_plan = 0
        self._first_jump_at = self._last_jump_at = 0.0
        self._fault, self._last_fault, self._waiting = '', '', ''
        self._idle_since = self._clock()
        self._logged_at = float('-inf')
        self._started_at: float | None = None
        self._published: dict[str, object] = {}
        self._warnings: tuple[str, ...] = ()

    def activated(self, max_input_age_s: float, max_plan_age_s: float,
                  plan_period_s: float) -> None:
        """Plans are expected from now on."""
        with self._lock:
            self._reset()
            self._active = True
            # One plan may wait for its period, and then for input that is as old as it may be.
            self._max_idle_s = max_input_age_s + plan_period_s
            self._max_plan_age_s = max_plan_age_s

    def deactivated(self) -> None:
        """No plans are expected."""
        with self._lock:
            self._active, self._started_at = False, None

    def started(self) -> None:
        """Planning has begun."""
        with self._lock:
            self._started_at, self._waiting = self._clock(), ''

    def published(self, sequence: int, t0_ns: int, total_ms: float,
                  warnings: tuple[str, ...] = ()) -> None:
        """A plan went out."""
        with self._lock:
            self._counts['published'] += 1
            self._jumps_since_plan = 0
            self._fault = ''
            self._warnings = warnings
            self._finish()
            self._published = {'last_sequence': sequence, 'last_t0_ns': t0_ns,
                               'last_total_ms': f'{total_ms:.1f}'}

    def blocked(self, outcome: str, text: str) -> bool:
        """No plan, and why. ``outcome``: refused, stale, late, implausible or failed.

        A fault that merely goes on, with other numbers, is counted once. True when it should be
        logged: it is another one than before, and a second has passed, because streams that take
        turns at being at fault would fill the log.
        """
        fault = f'{outcome}: {text}'
        with self._lock:
            news = _NUMBER.sub('', fault) != _NUMBER.sub('', self._fault)
            if news or outcome in ('late', 'implausible', 'failed'):
                self._counts[outcome] += 1
            self._fault = self._last_fault = fault
            self._finish()
            if not news or self._clock() - self._logged_at < _LOG_EVERY_S:
                return False
            self._logged_at = self._clock()
            return True

    def cancelled(self) -> None:
        """A plan was given up because its input no longer counts."""
        with self._lock:
            self._counts['cancelled'] += 1
            self._finish()

    def waiting(self, text: str) -> None:
        """Nothing is wrong; a window is not complete yet. Too long of this becomes a fault."""
        with self._lock:
            self._waiting = text

    def clock_jumped(self) -> None:
        """Time went back and the buffers were cleared.

        What was at fault before is over, unless time goes on going back and no plan comes: two
        clocks would keep a node well that never plans. Streams that notice one jump one after
        the other are no such thing.
        """
        with self._lock:
            self._last_jump_at = self._idle_since = self._clock()
            if not self._jumps_since_plan:
                self._first_jump_at = self._last_jump_at
            self._clock_jumps += 1
            self._jumps_since_plan += 1
            self._fault = ''

    def _finish(self) -> None:
        self._started_at, self._idle_since = None, self._clock()

    def judge(self, silent: str) -> tuple[bytes, str, dict[str, object]]:
        """Level, message and values now. ``silent``: the first input stream at fault, or ''."""
        with self._lock:
            values: dict[str, object] = {**self._published, **self._counts,
                                         'clock_jumps': self._clock_jumps,
                                         'last_fault': self._last_fault,
                                         'warnings': '; '.join(self._warnings)}
            now = self._clock()
            if self._started_at is not None:
                values['planning_for_s'] = f'{now - self._started_at:.3f}'
            return (*self._level(now, silent), values)

    def _level(self, now: float, silent: str) -> tuple[bytes, str]:
        if not self._active:
            return OK, 'not planning: the node is not active'
        if self._fault:
            return ERROR, self._fault
        reason = silent or self._waiting or 'no new input'
        if self._jumps_since_plan and self._last_jump_at - self._first_jump_at > self._max_idle_s:
            return ERROR, (f'stale: no plan for {now - self._first_jump_at:.1f} s, in which time '
                           f'went back {self._jumps_since_plan} times (two clocks?); {reason}')
        if self._started_at is not None:
            took = now - self._started_at
            if took > self._max_plan_age_s:
                return ERROR, (f'late: planning for {took:.1f} s already; expected at most '
                               f'{self._max_plan_age_s} s')
        elif now - self._idle_since > self._max_idle_s:
            return ERROR, f'stale: no plan for {now - self._idle_since:.1f} s; {reason}'
        if self._warnings:
            return WARN, '; '.join(self._warnings)
        if not self._published:
            return OK, f'no plan yet; {self._waiting or "waiting for input"}'
        return OK, f'planning; {self._counts["published"]} plans published'
