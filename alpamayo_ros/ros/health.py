"""What /diagnostics says: one status per input stream, one for the model, one for the plan.

Ages are measured on a steady clock, so they go on counting when simulation time is paused. All
methods may be called from any thread. ``OK``, ``WARN`` and ``ERROR`` are DiagnosticStatus levels.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from alpamayo_ros.ros.plan_health import ERROR, OK, WARN, PlanHealth
from alpamayo_ros.ros.topics import NAVIGATION

RECENT_S = 5.0
"""For how long a fault that is over is still shown as a warning, and how often it is logged."""


def status(name: str, level: bytes, message: str, values: Mapping[str, object]
           ) -> DiagnosticStatus:
    """A DiagnosticStatus from plain values."""
    return DiagnosticStatus(
        level=level, name=name, message=message,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()])


class StreamHealth:
    """The state of one input stream. ``log`` is called with a fault at most every 5 s.

    A stream is at fault when nothing usable has come for too long; single messages that could not
    be used are a warning. ``optional``: it may be silent.
    """

    def __init__(self, name: str, topic: str, log: Callable[[str], None],
                 clock: Callable[[], float], *, optional: bool = False) -> None:
        self.name, self.topic, self.optional = name, topic, optional
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._arrivals: deque[float] = deque(maxlen=50)
        self._counts = dict.fromkeys((
            'received', 'stored', 'skipped', 'refused', 'dropped'), 0)
        self._last_stamp_ns: int | None = None
        self._last_error, self._last_warning = '', ''
        self._error_at = self._warning_at = self._stored_at = self._logged_at = float('-inf')
        self._first_at = float('inf')
        self._active_since = float('-inf')

    def activated(self) -> None:
        """Messages are used from now on; before, none was."""
        with self._lock:
            self._active_since = self._clock()

    def arrived(self, stamp_ns: int) -> None:
        """A message came."""
        with self._lock:
            self._counts['received'] += 1
            self._last_stamp_ns = stamp_ns
            self._arrivals.append(self._clock())
            self._first_at = min(self._first_at, self._arrivals[-1])

    def stored(self) -> None:
        """A message went into its buffer."""
        with self._lock:
            self._counts['stored'] += 1
            self._stored_at = self._clock()

    def skipped(self) -> None:
        """A message no window will use was left undecoded, as is right for a fast camera."""
        with self._lock:
            self._counts['skipped'] += 1

    def refused(self, text: str) -> None:
        """A message could not be used, and why."""
        with self._lock:
            self._counts['refused'] += 1
            self._last_error, self._error_at = text, self._clock()
            logged = self._due()
        if logged:
            self._log(f'{self.name}: {text}')

    def dropped(self) -> None:
        """A message was given up for a newer one before it was decoded."""
        with self._lock:
            self._counts['dropped'] += 1
        self.noted('images come faster than they are decoded; the oldest waiting one was dropped')

    def noted(self, text: str) -> None:
        """Something unusual about a message that was kept."""
        with self._lock:
            self._last_warning, self._warning_at = text, self._clock()
            logged = self._due()
        if logged:
            self._log(f'{self.name}: {text}')

    def _due(self) -> bool:
        if self._clock() - self._logged_at < RECENT_S:
            return False
        self._logged_at = self._clock()
        return True

    def age_s(self) -> float | None:
        """Seconds since the last message, None before the first."""
        with self._lock:
            return self._clock() - self._arrivals[-1] if self._arrivals else None

    def _rate_hz(self, now: float) -> float:
        recent = [stamp for stamp in self._arrivals if now - stamp <= RECENT_S]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max(now - recent[0], 1e-9)

    def _judge(self, now: float, max_age_s: float) -> tuple[bytes, str]:
        if not self.optional:
            if not self._arrivals:
                return ERROR, f'nothing has come on {self.topic}'
            age = now - self._arrivals[-1]
            if age > max_age_s:
                return ERROR, (f'no message for {age:.1f} s; expected one at least every '
                               f'{max_age_s} s')
            usable_at = max(self._stored_at, self._first_at, self._active_since)
            if now - usable_at > max_age_s:
                return ERROR, (self._last_error
                               if self._error_at > max(self._stored_at, self._active_since)
                               else f'no message was usable for {now - usable_at:.1f} s')
        if now - self._error_at < RECENT_S:
            return WARN, f'lately: {self._last_error}'
        if now - self._warning_at < RECENT_S:
            return WARN, self._last_warning
        if self.optional:
            return OK, f'{self._counts["received"]} received'
        return OK, f'{self._rate_hz(now):.1f} Hz'

    def status(self, prefix: str, max_age_s: float | None) -> DiagnosticStatus:
        """The status now; ``max_age_s`` None (not active) leaves silence and age unjudged."""
        with self._lock:
            now = self._clock()
            level, message = OK, 'not used while the node is not active'
            if max_age_s is not None:
                level, message = self._judge(now, max_age_s)
            values: dict[str, object] = {'topic': self.topic,
                                         'rate_hz': f'{self._rate_hz(now):.2f}'}
            if self._arrivals:
                values['age_s'] = f'{now - self._arrivals[-1]:.3f}'
                values['last_stamp_ns'] = self._last_stamp_ns
            values.update(self._counts)
            values['last_error'] = self._last_error
            values['last_warning'] = self._last_warning
        return status(f'{prefix}: {self.name}', level, message, values)


class Health:
    """Everything the node knows about its own condition.

    ``prefix`` begins the name of every status; ``log`` takes warnings; ``clock`` gives steady
    seconds.
    """

    def __init__(self, prefix: str, log: Callable[[str], None],
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._prefix, self._log, self._clock = prefix, log, clock
        self._lock = threading.Lock()
        self._streams: dict[str, StreamHealth] = {}
        self._max_age_s: float | None = None
        self._model = (OK, 'unconfigured')
        self._model_values: dict[str, object] = {}
        self._warnings: tuple[str, ...] = ()
        self.plan = PlanHealth(clock)

    def open_streams(self, topics: Mapping[str, str]) -> None:
        """Start anew with these streams: name to topic."""
        streams = {name: StreamHealth(name, topic, self._log, self._clock,
                                      optional=name == NAVIGATION)
                   for name, topic in topics.items()}
        with self._lock:
            self._streams = streams

    def stream(self, name: str) -> StreamHealth:
        """The stream of that name."""
        with self._lock:
            return self._streams[name]

    def model(self, message: str, values: Mapping[str, object] | None = None) -> None:
        """The model is well: what state it is in, and what is loaded."""
        with self._lock:
            self._model, self._model_values = (OK, message), dict(values or {})

    def model_failed(self, message: str) -> None:
        """A transition failed; shown until the next one."""
        with self._lock:
            self._model, self._model_values = (ERROR, message), {}

    def warn(self, warnings: tuple[str, ...]) -> None:
        """Standing warnings about the node's configuration, shown with the model."""
        with self._lock:
            self._warnings = warnings

    def activated(self, max_input_age_s: float, max_plan_age_s: float,
                  plan_period_s: float) -> None:
        """From now on silence counts as a fault."""
        with self._lock:
            self._max_age_s = max_input_age_s
            for stream in self._streams.values():
                stream.activated()
        self.plan.activated(max_input_age_s, max_plan_age_s, plan_period_s)

    def deactivated(self) -> None:
        """Silence no longer counts."""
        with self._lock:
            self._max_age_s = None
        self.plan.deactivated()

    def statuses(self) -> list[DiagnosticStatus]:
        """Every status now: streams, model, plan."""
        with self._lock:
            streams, max_age = list(self._streams.values()), self._max_age_s
            level, message = self._model
            values, warnings = dict(self._model_values), self._warnings
        result = [stream.status(self._prefix, max_age) for stream in streams]
        silent = next((f'{stream.name}: {item.message}' for stream, item
                       in zip(streams, result, strict=True) if item.level == ERROR), '')
        if warnings and level == OK:
            level, message = WARN, '; '.join(warnings)
        result.append(status(f'{self._prefix}: model', level, message, values))
        level, message, values = self.plan.judge(silent)
        result.append(status(f'{self._prefix}: plan', level, message, values))
        return result
