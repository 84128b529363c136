"""What arrived lately, by time stamp: one buffer a camera and one for odometry.

Buffers know no clock: time is what the stamps say, so a bag can be replayed faster or slower than
it was recorded. Every method may be called from any thread.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

import numpy as np

from alpamayo_ros.cameras import Camera
from alpamayo_ros.ego_history import interpolate_states
from alpamayo_ros.types import CameraFrame, EgoState

DROPPED = 'dropped: '
"""What the answer of ``add`` begins with when the message was not stored."""

# So many messages in a row that are older than the newest mean that the clock jumped back (a bag
# that loops, a computer that is set right) or the newest stamp was wrong; fewer are stragglers.
_RESTART_AFTER = 3

# With fewer stamps than this nothing is known yet about how far apart they usually are.
_STAMPS_TO_JUDGE = 4

_QUATERNION_NORM_TOLERANCE = 0.1


class _Stamped(Protocol):
    @property
    def stamp_ns(self) -> int: ...


T = TypeVar('T', bound=_Stamped)


class _StampedBuffer(Generic[T]):
    """Items in the order of their stamps, no older than the horizon before the newest stamp.

    A message that is older than the newest was overtaken on its way, or the clock was set back:
    only what comes after it tells. Until then it is held, so that nobody reads what two clocks
    stamped as one order. The next one that is newer than all puts it where one was missing; where
    none was, nothing was overtaken, and the clock went back. So it did when three in a row are
    late and ascend.
    """

    def __init__(self, horizon_ns: int) -> None:
        if horizon_ns <= 0:
            raise ValueError(f'horizon_ns is {horizon_ns}; expected a time above 0')
        self._horizon_ns = horizon_ns
        self._lock = threading.Lock()
        self._jumps_back = 0
        self._clear()

    @property
    def latest_stamp_ns(self) -> int | None:
        """The newest stamp seen, nanoseconds; None while nothing arrived."""
        with self._lock:
            return self._newest_ns

    @property
    def jumps_back(self) -> int:
        """How often the stamps jumped back; the buffer started anew each time."""
        with self._lock:
            return self._jumps_back

    def snapshot(self) -> tuple[tuple[T, ...], int | None]:
        """All items, oldest first, and the newest stamp seen, at one moment."""
        with self._lock:
            return tuple(self._items), self._newest_ns

    def clear(self) -> None:
        """Forget everything, for example because the clock was set."""
        with self._lock:
            self._clear()

    def __len__(self) -> int:
        with self._lock:
            return len(self._items)

    def _clear(self) -> None:
        self._items: list[T] = []
        self._stamps: list[int] = []
        self._seen: list[int] = []  # stamps, also of what was left out on purpose
        self._held: list[T] = []
        self._newest_ns: int | None = None
        self._previous_ns = 0
        self._late_in_a_row = self._late_by_ns = 0

    def _insert(self, item: T) -> str | None:
        """Store the item where its stamp belongs. The lock must be held."""
        stamp = item.stamp_ns
        if stamp <= 0:
            return f'{DROPPED}the stamp is {stamp} ns; expected a time above 0'
        if self._is_late(stamp):
            return self._count_late(item) or self._hold(item)
        note = self._saw(stamp)
        self._place(item)
        return note

    def _is_late(self, stamp: int) -> bool:
        return self._newest_ns is not None and stamp <= self._newest_ns

    def _count_late(self, item: T) -> str | None:
        """Count a late item; the note when it is one too many and the buffer starts with it."""
        stamp, newest = item.stamp_ns, self._newest_ns
        # A stamp that is repeated says nothing: some cameras send every frame twice.
        if stamp > self._previous_ns or stamp < newest - self._horizon_ns:
            self._late_in_a_row += 1
        elif stamp < self._previous_ns:
            self._late_in_a_row = 1
        self._previous_ns = stamp
        self._late_by_ns = max(self._late_by_ns, newest - stamp)
        if self._late_in_a_row < _RESTART_AFTER:
            return None
        note = self._start_anew(self._late_by_ns)
        self._saw(stamp)
        self._place(item)
        return note

    def _hold(self, item: T) -> str | None:
        """Keep a late item until it is known to be in the right place."""
        stamp, newest = item.stamp_ns, self._newest_ns
        if stamp < newest - self._horizon_ns:
            return (f'{DROPPED}older than the buffer, {(newest - stamp) / 1e9:.3f} s behind the '
                    f'newest; expected at most {self._horizon_ns / 1e9:.3f} s')
        if stamp in self._seen or any(held.stamp_ns == stamp for held in self._held):
            return f'{DROPPED}duplicate stamp {stamp / 1e9:.9f} s'
        if len(self._seen) < _STAMPS_TO_JUDGE:
            insort(self._seen, stamp)
            self._place(item)
        else:
            self._held.append(item)
        return None

    def _saw(self, stamp: int) -> str | None:
        """Note a stamp newer than all; the answer is what it tells of the late ones before it."""
        note = self._release(stamp) if self._held else None
        self._newest_ns = self._previous_ns = stamp
        self._late_in_a_row = self._late_by_ns = 0
        self._seen.append(stamp)
        del self._seen[:bisect_left(self._seen, stamp - self._horizon_ns)]
        outdated = bisect_left(self._stamps, stamp - self._horizon_ns)
        del self._items[:outdated], self._stamps[:outdated]
        return note

    def _release(self, stamp: int) -> str | None:
        """Put every held item where one was missing, now that ``stamp`` is newer than all."""
        held, self._held = self._held, []
        usual = self._usual_step()
        placeless = [item for item in held if not self._fill(item, usual)]
        if not placeless:
            return None
        oldest = min(item.stamp_ns for item in placeless)
        # A wrong stamp leaves its own place empty, before this one; a clock set back does not.
        if stamp - self._newest_ns <= (len(placeless) + 0.5) * usual:
            return self._start_anew(self._newest_ns - oldest)
        return (f'{len(placeless)} left out: {(self._newest_ns - oldest) / 1e9:.3f} s behind the '
                'newest, where none was missing')

    def _fill(self, item: T, usual: int) -> bool:
        index = bisect_left(self._seen, item.stamp_ns)
        neighbours = self._seen[max(index - 1, 0):index + 1]
        if not self._has_place(min(abs(item.stamp_ns - stamp) for stamp in neighbours), usual):
            return False
        self._seen.insert(index, item.stamp_ns)
        self._place(item)
        return True

    def _usual_step(self) -> int:
        steps = sorted(after - before for before, after in pairwise(self._seen))
        # Messages that were lost make long steps, nothing makes short ones.
        return steps[len(steps) // 4]

    def _has_place(self, distance: int, usual: int) -> bool:
        """Whether one was missing at this distance from its neighbours; ``usual``: between two."""
        return True

    def _start_anew(self, back_ns: int) -> str:
        self._clear()
        self._jumps_back += 1
        return f'the stamps jumped back by more than {back_ns / 1e9:.3f} s; the buffer starts anew'

    def _place(self, item: T) -> None:
        index = bisect_left(self._stamps, item.stamp_ns)
        self._items.insert(index, item)
        self._stamps.insert(index, item.stamp_ns)


class FrameBuffer(_StampedBuffer[CameraFrame]):
    """The latest frames of one camera.

    ``horizon_ns``: how far back frames are kept, ``AlignmentSettings.frame_horizon_ns`` suits.
    ``grid_ns``: the grid of t0; with it ``wants`` can tell which frames of a fast camera no window
    will use.
    """

    def __init__(self, camera: Camera, horizon_ns: int, grid_ns: int | None = None) -> None:
        super().__init__(horizon_ns)
        if grid_ns is not None and grid_ns <= 0:
            raise ValueError(f'grid_ns is {grid_ns}; expected a time above 0, or None')
        self.camera = camera
        self._grid_ns = grid_ns

    def wants(self, stamp_ns: int) -> bool:
        """Whether a frame of that stamp is worth decoding; one that is not counts as arrived.

        The frame nearest to a grid time is at most half a period away from it: of a camera at 30 Hz
        one or two frames of three need decoding. The answer depends on this stamp and the one
        before it alone, so a replay leaves out the same frames. A quarter of a period is allowed
        for jitter; with a grid of 0.1 s every frame is wanted below 15 Hz.
        """
        with self._lock:
            previous = self._newest_ns
            # With a late one held the answer of ``add`` may be that the clock was set back.
            if self._grid_ns is None or previous is None or stamp_ns <= previous or self._held:
                return True
            phase = stamp_ns % self._grid_ns
            if 4 * min(phase, self._grid_ns - phase) <= 3 * (stamp_ns - previous):
                return True
            self._saw(stamp_ns)
            return False

    def skip(self, stamp_ns: int) -> None:
        """Count a frame of that stamp as arrived that nobody will look at, and leave it out."""
        with self._lock:
            if stamp_ns > 0 and not self._is_late(stamp_ns):
                self._saw(stamp_ns)

    def add(self, frame: CameraFrame) -> str | None:
        """Store a frame; None when all is well, otherwise what was unusual.

        The text begins with ``DROPPED`` where the frame was not stored: a duplicate stamp, one
        older than the buffer. Frames out of order are put where they belong, if one is missing
        there, when the next newer one comes. A new resolution drops the frames before it, because a
        window is of one resolution.

        Raises ``ValueError`` for a frame of another camera.
        """
        if frame.camera_id != self.camera.camera_id:
            raise ValueError(f'frame is of camera {frame.camera_id}; '
                             f'expected {self.camera.camera_id} ({self.camera.name})')
        with self._lock:
            change = None
            if frame.stamp_ns > 0 and self._items and (
                    self._items[-1].patches.source_size != frame.patches.source_size):
                change = (f'resolution changed from {_size(self._items[-1])} to {_size(frame)}')
                if self._is_late(frame.stamp_ns):
                    return self._count_late(frame) or (
                        f'{DROPPED}{change} in a frame that is not the newest')
                for older in (self._items, self._stamps, self._held):
                    older.clear()
                change += '; older frames dropped'
            note = self._insert(frame)
            return change if note is None else note

    def _has_place(self, distance: int, usual: int) -> bool:
        # Between two frames with none missing a third is at most half a step from one of them.
        # Odometry is not held to this: it may come from several sensors in turn, and a clock that
        # was set back by less than three samples disagrees with the twist, or hardly matters.
        return 3 * distance > 2 * usual

    def nearest(self, stamp_ns: int) -> CameraFrame | None:
        """The frame nearest to an instant, the earlier of two equals; None when empty."""
        with self._lock:
            if not self._items:
                return None
            index = bisect_left(self._stamps, stamp_ns)
            around = self._items[max(index - 1, 0):index + 1]
            return min(around, key=lambda frame: abs(frame.stamp_ns - stamp_ns))


class OdometryBuffer(_StampedBuffer[EgoState]):
    """The latest ego states; ``horizon_ns``: ``AlignmentSettings.odometry_horizon_ns`` suits."""

    def add(self, state: EgoState) -> str | None:
        """Store a state; None when all is well, otherwise what was unusual.

        The text begins with ``DROPPED`` where the state was not stored: numbers that are not
        finite, a quaternion that is no rotation, a duplicate stamp, one older than the buffer.
        Quaternions are stored normalised.
        """
        problem = _fault(state)
        if problem is not None:
            return DROPPED + problem
        unit = np.asarray(state.orientation, np.float64)
        with self._lock:
            return self._insert(replace(state, orientation=unit / np.linalg.norm(unit)))

    def interpolate(self, stamp_ns: int, tolerance_ns: int) -> EgoState | None:
        """The state at an instant: position and twist linear, rotation slerp.

        None outside the buffered time (nothing is extrapolated) and between two states that are
        further apart than ``tolerance_ns``.
        """
        with self._lock:
            pair = _around(self._items, self._stamps, stamp_ns)
        if pair is None or pair[1].stamp_ns - pair[0].stamp_ns > tolerance_ns:
            return None
        return interpolate_states([pair], [stamp_ns])[0]


def _around(states: Sequence[EgoState], stamps: Sequence[int],
            stamp_ns: int) -> tuple[EgoState, EgoState] | None:
    """The last state at or before an instant and the first at or after it."""
    index = bisect_left(stamps, stamp_ns)
    if index == len(stamps):
        return None
    if stamps[index] == stamp_ns:
        return states[index], states[index]
    return None if index == 0 else (states[index - 1], states[index])


def _size(frame: CameraFrame) -> str:
    height, width = frame.patches.source_size
    return f'{width} x {height}'


def _fault(state: EgoState) -> str | None:
    for name, length in (('position', 3), ('orientation', 4), ('linear_velocity', 3),
                         ('angular_velocity', 3)):
        values = np.asarray(getattr(state, name), np.float64)
        if values.shape != (length,):
            return f'{name} has shape {values.shape}; expected ({length},)'
        if not np.isfinite(values).all():
            return f'{name} is {values.tolist()}; expected finite numbers'
    norm = float(np.linalg.norm(state.orientation))
    if abs(norm - 1) > _QUATERNION_NORM_TOLERANCE:
        return (f'orientation {np.asarray(state.orientation).tolist()} has norm {norm:.3g}; '
                'expected a unit quaternion')
    return None
