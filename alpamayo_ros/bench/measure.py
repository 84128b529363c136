"""Repeated measurements whose alternatives take turns, and what they amount to."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Milliseconds of each repeat of one thing, in order."""

    milliseconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.milliseconds:
            raise ValueError('milliseconds is empty; expected at least one repeat')

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Timing:
        return cls(tuple(milliseconds))

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def p90(self) -> float:
        """The least of them that nine in ten do not exceed."""
        ordered = sorted(self.milliseconds)
        return ordered[math.ceil(0.9 * len(ordered)) - 1]

    @property
    def largest(self) -> float:
        return max(self.milliseconds)

    def divided(self, count: int) -> Timing:
        """The same per one of ``count``."""
        return Timing.of([value / count for value in self.milliseconds])

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {'median_ms': round(self.median, 4), 'p90_ms': round(self.p90, 4),
                'max_ms': round(self.largest, 4), 'repeats': len(self.milliseconds)}


def take_turns(actions: Mapping[str, Callable[[], object]], *, repeats: int, warm_up: int = 1,
               synchronise: Callable[[], None] = lambda: None) -> dict[str, Timing]:
    """Time every action ``repeats`` times after ``warm_up`` rounds that do not count.

    The actions take turns, every other round in reverse order, so that whatever else happens on
    the machine hits all of them. ``synchronise`` waits for the device; it is called before the
    clock is started and before it is stopped.
    """
    if repeats < 1:
        raise ValueError(f'repeats is {repeats}; expected at least 1')
    samples: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(warm_up + repeats):
        names = list(actions) if turn % 2 else list(reversed(actions))
        for name in names:
            synchronise()
            start = time.perf_counter()
            actions[name]()
            synchronise()
            if turn >= warm_up:
                samples[name].append((time.perf_counter() - start) * 1e3)
    return {name: Timing.of(values) for name, values in samples.items()}
