"""What arrived lately, by time stamp: one buffer a camera and one for odometry.

Buffers know no clock: time is what the stamps say, so a bag can be replayed faster or slower than
it was recorded. Every method may be called from any thread.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

import numpy as np

from alpamayo_ros.cameras import Camera
from alpamayo_ros.ego_history import interpolate_states
from alpamayo_ros.types import CameraFrame, EgoState

DROPPED = 'dropped: '
"""What the answer of ``add`` begins with when the message was not stored."""

# So many messages in a row that are older than the buffer mean that the clock jumped back (a bag
# that loops) or that the newest stamp was wrong; fewer are stragglers.
_RESTART_AFTER = 3

_QUATERNION_NORM_TOLERANCE = 0.1


class _Stamped(Protocol):
    @property
    def stamp_ns(self) -> int: ...


T = TypeVar('T', bound=_Stamped)


class _StampedBuffer(Generic[T]):
    """Items in the order of their stamps, no older than the horizon before the newest stamp."""

    def __init__(self, horizon_ns: int) -> None:
        if horizon_ns <= 0:
            raise ValueError(f'horizon_ns is {horizon_ns}; expected a time above 0')
        self._horizon_ns = horizon_ns
        self._lock = threading.Lock()
        self._items: list[T] = []
        self._stamps: list[int] = []
        self._newest_ns: int | None = None
        self._too_old_in_a_row = 0
        self._jumps_back = 0

    @property
    def latest_stamp_ns(self) -> int | None:
        """The newest stamp seen, nanoseconds; None while nothing arrived."""
        with self._lock:
            return self._newest_ns

    @property
    def jumps_back(self) -> int:
        """How often the stamps jumped back by more than the horizon; the buffer started anew."""
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
        self._items.clear()
        self._stamps.clear()
        self._newest_ns = None
        self._too_old_in_a_row = 0

    def _insert(self, item: T) -> str | None:
        """Store the item where its stamp belongs. The lock must be held."""
        stamp, note = item.stamp_ns, None
        if stamp <= 0:
            return f'{DROPPED}the stamp is {stamp} ns; expected a time above 0'
        if self._newest_ns is not None and stamp < self._newest_ns - self._horizon_ns:
            behind = (self._newest_ns - stamp) / 1e9
            self._too_old_in_a_row += 1
            if self._too_old_in_a_row < _RESTART_AFTER:
                return (f'{DROPPED}older than the buffer, {behind:.3f} s behind the newest; '
                        f'expected at most {self._horizon_ns / 1e9:.3f} s')
            self._clear()
            self._jumps_back += 1
            note = f'the stamps jumped back by {behind:.3f} s; the buffer starts anew'
        self._too_old_in_a_row = 0
        index = bisect_left(self._stamps, stamp)
        if index < len(self._stamps) and self._stamps[index] == stamp:
            return f'{DROPPED}duplicate stamp {stamp / 1e9:.9f} s'
        self._items.insert(index, item)
        self._stamps.insert(index, stamp)
        self._saw(stamp)
        return note

    def _saw(self, stamp: int) -> None:
        self._newest_ns = stamp if self._newest_ns is None else max(self._newest_ns, stamp)
        outdated = bisect_left(self._stamps, self._newest_ns - self._horizon_ns)
        del self._items[:outdated], self._stamps[:outdated]


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
            if self._grid_ns is None or previous is None or stamp_ns <= previous:
                return True
            phase = stamp_ns % self._grid_ns
            if 4 * min(phase, self._grid_ns - phase) <= 3 * (stamp_ns - previous):
                return True
            self._saw(stamp_ns)
            return False

    def skip(self, stamp_ns: int) -> None:
        """Count a frame of that stamp as arrived that nobody will look at, and leave it out."""
        with self._lock:
            if stamp_ns > 0:
                self._saw(stamp_ns)

    def add(self, frame: CameraFrame) -> str | None:
        """Store a frame; None when all is well, otherwise what was unusual.

        The text begins with ``DROPPED`` where the frame was not stored: a duplicate stamp, one
        older than the buffer. Frames out of order are put where they belong. A new resolution drops
        the frames before it, because a window is of one resolution.

        Raises ``ValueError`` for a frame of another camera.
        """
        if frame.camera_id != self.camera.camera_id:
            raise ValueError(f'frame is of camera {frame.camera_id}; '
                             f'expected {self.camera.camera_id} ({self.camera.name})')
        with self._lock:
            change = None
            if self._items and self._items[-1].patches.source_size != frame.patches.source_size:
                change = (f'resolution changed from {_size(self._items[-1])} to {_size(frame)}')
                if frame.stamp_ns <= self._stamps[-1]:
                    return f'{DROPPED}{change} in a frame that is not the newest'
                self._items.clear()
                self._stamps.clear()
                change += '; older frames dropped'
            note = self._insert(frame)
            return change if note is None else note

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
