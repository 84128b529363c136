"""The instants of a drive that a replay plans at."""

from __future__ import annotations

import math
from dataclasses import dataclass

from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.types import HISTORY_DT_NS, HISTORY_STEPS

_GRID_NS = HISTORY_DT_NS
# Before that no window can be full: the history, and one message before it.
_FIRST_NS = HISTORY_STEPS * HISTORY_DT_NS


class ScheduleError(AlpamayoError, ValueError):
    """Instants that cannot be."""


@dataclass(frozen=True)
class Schedule:
    """Which instants, in seconds.

    ``every_s``: a multiple of 0.1; t0 is then a multiple of it on the clock of the stamps, so that
    two runs over parts of a drive share their instants. ``at_s``: instead, these times from the
    bag's start, each moved to the nearest multiple of 0.1 s of the stamps' clock. ``from_s`` and
    ``to_s``: the part of the bag, from its start; None: from where a history can be full, to the
    end.
    """

    every_s: float = 0.5
    at_s: tuple[float, ...] = ()
    from_s: float | None = None
    to_s: float | None = None

    def __post_init__(self) -> None:
        for name in ('every_s', 'from_s', 'to_s'):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ScheduleError(f'{name} is {value}; expected a time of at least 0')
        for value in self.at_s:
            if not math.isfinite(value):
                raise ScheduleError(f'at_s holds {value}; expected a time')
        steps = self.every_s / 0.1
        if steps < 0.5 or abs(steps - round(steps)) > 1e-6:
            raise ScheduleError(f'every_s is {self.every_s}; expected a multiple of 0.1')
        if None not in (self.from_s, self.to_s) and self.to_s < self.from_s:
            raise ScheduleError(f'to_s is {self.to_s}; expected at least from_s {self.from_s}')

    def instants(self, start_ns: int, end_ns: int) -> list[int]:
        """Return the instants, ns, ascending, of a bag from ``start_ns`` to ``end_ns``.

        ``ScheduleError`` when there is none, or one that was asked for lies outside the bag.
        """
        length = (end_ns - start_ns) / 1e9
        if self.at_s:
            for seconds in self.at_s:
                if not 0 <= seconds <= length:
                    raise ScheduleError(f'at {seconds} s is outside the bag; expected 0 to '
                                        f'{length:.3f} s')
            return sorted({round((start_ns + seconds * 1e9) / _GRID_NS) * _GRID_NS
                           for seconds in self.at_s})
        step = round(self.every_s / 0.1) * _GRID_NS
        first = start_ns + (_FIRST_NS if self.from_s is None else round(self.from_s * 1e9))
        last = end_ns if self.to_s is None else min(end_ns, start_ns + round(self.to_s * 1e9))
        found = list(range(-(-first // step) * step, last + 1, step))
        if not found:
            raise ScheduleError(f'no instant lies in the part of the bag from '
                                f'{(first - start_ns) / 1e9:.1f} s to '
                                f'{(last - start_ns) / 1e9:.1f} s; it lasts {length:.3f} s')
        return found

    def goes_beyond(self, start_ns: int, end_ns: int) -> bool:
        """Whether more of a bag was asked for than from ``start_ns`` to ``end_ns``."""
        return not self.at_s and (self.to_s is None or start_ns + self.to_s * 1e9 > end_ns)

    def as_json(self) -> dict[str, object]:
        """Return it as in run.json."""
        return {'every_s': None if self.at_s else self.every_s, 'at_s': list(self.at_s),
                'from_s': self.from_s, 'to_s': self.to_s}
