"""When each recorded message is due: the timing of a playback, free of ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from alpamayo_ros.drive.bag import BagMessage


class Timer(Protocol):
    """A steady clock that can be waited on and told to stop."""

    def now(self) -> float:
        """Return steady seconds."""

    def wait(self, seconds: float) -> bool:
        """Wait that long; True at once when playback is to end."""


class SteadyTimer:
    """The real one: the monotonic clock, ended by an event."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def now(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        return self._stop.wait(max(0.0, seconds))


@dataclass(frozen=True)
class PassResult:
    """One time through a bag: messages published, the worst delay behind time in s, and whether
    it was ended from outside.
    """

    published: int
    late_s: float
    stopped: bool


def play_once(messages: Iterable[BagMessage], *, start_ns: int, rate: float, timer: Timer,
              publish: Callable[[BagMessage], None],
              publish_clock: Callable[[int], None] | None = None,
              clock_period_s: float = 0.01) -> PassResult:
    """Publish ``messages`` with their recorded timing, ``rate`` times as fast.

    ``start_ns`` is the recording time that the first instant stands for. The clock is published
    every ``clock_period_s`` of real time and right before every message; it never runs ahead of
    a message that is still to be published, and never back. A playback that fell behind catches
    up without waiting, and says by how much it was late.
    """
    began = timer.now()
    ticks, published, late, clock_ns = 0, 0, 0.0, start_ns

    def advance(stamp_ns: int) -> None:
        nonlocal clock_ns
        clock_ns = max(clock_ns, stamp_ns)
        if publish_clock:
            publish_clock(clock_ns)

    for message in messages:
        due = began + (message.stamp_ns - start_ns) * 1e-9 / rate
        while (now := timer.now()) < due:
            until = due
            if publish_clock:
                tick = began + ticks * clock_period_s
                if now >= tick:
                    advance(min(message.stamp_ns, start_ns + int((now - began) * rate * 1e9)))
                    # Rounding must not leave the next tick where this one was.
                    ticks = max(ticks, int((now - began) / clock_period_s)) + 1
                    continue
                until = min(due, tick)
            if timer.wait(until - now):
                return PassResult(published, late, True)
        if timer.wait(0.0):
            return PassResult(published, late, True)
        late = max(late, now - due)
        advance(message.stamp_ns)
        publish(message)
        published += 1
    return PassResult(published, late, False)
