"""Choosing t0 and filling its window from the buffers, or saying which stream prevents it.

t0 is a multiple of 0.1 s of the stamps' clock, so a restarted node, or a replay, chooses the same
instants. A window holds, for every camera, the frames nearest to t0 - 0.3, -0.2, -0.1 and 0 s, and
odometry interpolated at t0 - 1.5 ... t0.

A t0 counts only when every stream has a message at or after it, and one at or before the first
instant it needs. While messages come in the order of their stamps nothing that arrives later can
then be nearer, or come between two odometry samples: the same t0 always has the same window, no
matter when it is looked at or when the node was started. The price is waiting for the message
after t0: at most one period of the slowest camera, half of it on average, and a plan is as old.

Nothing here knows a clock, a thread or ROS; what is too old, the caller decides.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from alpamayo_ros.buffers import FrameBuffer, OdometryBuffer
from alpamayo_ros.cameras import SIX_CAMERA_RIG, camera_by_name
from alpamayo_ros.ego_history import (
    HistoryLimits,
    disagreement,
    in_ego_frame,
    interpolate_states,
    require_above_0,
)
from alpamayo_ros.types import HISTORY_DT_NS, HISTORY_STEPS, CameraFrame, EgoState, Observation

ODOMETRY = 'odometry'
"""The name of the odometry stream in a ``Refusal``; cameras go by their topic names."""

_HISTORY_NS = (HISTORY_STEPS - 1) * HISTORY_DT_NS


@dataclass(frozen=True)
class AlignmentSettings(HistoryLimits):
    """What makes a window; the bounds on its ego history are those of ``HistoryLimits``.

    ``camera_names``: topic names, in any order. ``frames_per_camera``: frames 0.1 s apart.
    ``grid_s``: t0 is a multiple of it. ``frame_tolerance_s``: how far a frame may be from its
    instant; half a period of a 10 Hz camera plus jitter, and below 0.1 s so that a frame at t0 can
    never stand for an earlier instant. ``odometry_max_gap_s``: longest gap that is interpolated.
    ``stall_s``: how far a stream may fall behind the others before it is said to have stopped.
    """

    camera_names: tuple[str, ...] = SIX_CAMERA_RIG
    frames_per_camera: int = 4
    grid_s: float = 0.1
    frame_tolerance_s: float = 0.06
    odometry_max_gap_s: float = 0.25
    stall_s: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ('grid_s', 'odometry_max_gap_s', 'stall_s'):
            require_above_0(name, getattr(self, name))
        if not 0 < self.frame_tolerance_s < HISTORY_DT_NS / 1e9:
            raise ValueError(f'frame_tolerance_s is {self.frame_tolerance_s!r}; '
                             f'expected above 0 and below {HISTORY_DT_NS / 1e9}')
        if self.frames_per_camera < 1:
            raise ValueError(
                f'frames_per_camera is {self.frames_per_camera!r}; expected at least 1')
        if not self.camera_names or len(set(self.camera_names)) != len(self.camera_names):
            raise ValueError(
                f'camera_names is {self.camera_names!r}; expected at least one name, each once')
        for name in self.camera_names:
            camera_by_name(name)

    @property
    def frame_horizon_ns(self) -> int:
        """How far back a ``FrameBuffer`` must reach, so that one late stream spoils nothing."""
        return self._slots_ns + 2 * HISTORY_DT_NS + _ns(self.stall_s + self.grid_s)

    @property
    def odometry_horizon_ns(self) -> int:
        """How far back the ``OdometryBuffer`` must reach; odometry is the one that runs ahead."""
        return _HISTORY_NS + _ns(self.odometry_max_gap_s + self.stall_s + 2 * self.grid_s) + (
            2 * HISTORY_DT_NS)

    @property
    def _slots_ns(self) -> int:
        return (self.frames_per_camera - 1) * HISTORY_DT_NS


@dataclass(frozen=True)
class Refusal:
    """Why there is no window.

    ``stream``: a camera's topic name or ``ODOMETRY``. ``reason``: a sentence with the numbers.
    ``t0_ns``: the instant it is about, None where there is none yet. ``waiting``: nothing is wrong,
    the messages that are due will complete a window.
    """

    stream: str
    reason: str
    t0_ns: int | None = None
    waiting: bool = False


@dataclass(frozen=True)
class _Stream:
    """One stream at one moment; ``needs_ns``: how far before t0 it is read."""

    name: str
    items: Sequence[CameraFrame] | Sequence[EgoState]
    stamps: Sequence[int]
    newest_ns: int
    needs_ns: int


def align(frames: Mapping[str, FrameBuffer], odometry: OdometryBuffer, settings: AlignmentSettings,
          *, navigation: str | None = None,
          newer_than_ns: int | None = None) -> Observation | Refusal:
    """Make the observation of the newest t0 that can be filled, or say why there is none.

    ``frames``: a buffer for every camera of the settings, by topic name; ``newer_than_ns``: only a
    t0 after this one counts (that of the last plan). An ego history that disagrees with odometry's
    twist is refused rather than replaced by an older one. ``navigation`` is passed on, an empty one
    as None. Raises ``ValueError`` when a camera has no buffer.
    """
    cameras, motion = _look(frames, odometry, settings)
    streams = [*cameras, motion]
    silent = [stream.name for stream in streams if not stream.stamps]
    if silent:
        others = f' (nor from {", ".join(silent[1:])})' if silent[1:] else ''
        return Refusal(silent[0], f'nothing has arrived yet{others}')

    grid = _ns(settings.grid_s)
    slowest = min(streams, key=lambda stream: stream.newest_ns)
    newest_t0 = slowest.newest_ns // grid * grid
    shortest = max(streams, key=lambda stream: stream.stamps[0] + stream.needs_ns)
    oldest_t0 = shortest.stamps[0] + shortest.needs_ns
    failure: Refusal | None = None
    t0 = newest_t0
    while t0 >= oldest_t0 and (newer_than_ns is None or t0 > newer_than_ns):
        window = _window(cameras, motion, t0, settings)
        if not isinstance(window, Refusal):
            return _observe(*window, t0, settings, navigation)
        failure = failure or window  # the newest is the one to explain
        t0 -= grid

    stopped = _stopped(cameras, motion, settings)
    if stopped is not None:
        return stopped
    if failure is not None:
        return failure
    if newer_than_ns is not None and newest_t0 <= newer_than_ns:
        due = (newer_than_ns // grid + 1) * grid
        return Refusal(slowest.name, f'waiting for a message at or after t0 {_seconds(due)}; the '
                       f'newest is at {_seconds(slowest.newest_ns)}', due, waiting=True)
    reaches = (newest_t0 - shortest.stamps[0]) / 1e9
    return Refusal(shortest.name, f'history is filling: it begins {reaches:.3f} s before t0, '
                   f'{shortest.needs_ns / 1e9:.1f} s are needed', newest_t0, waiting=True)


def align_at(t0_ns: int, frames: Mapping[str, FrameBuffer], odometry: OdometryBuffer,
             settings: AlignmentSettings, *, navigation: str | None = None
             ) -> Observation | Refusal:
    """Make the observation of one t0, the one ``align`` makes of it, or say why there is none.

    For a replay, which chooses the instants. Ask as messages come in: the refusal is ``waiting``
    until every stream has reached t0 or one has fallen behind by more than ``stall_s``. Later than
    that the buffers may have let go of the window. Raises ``ValueError`` as ``align`` does.
    """
    cameras, motion = _look(frames, odometry, settings)
    streams = [*cameras, motion]
    slowest = min(streams, key=lambda stream: stream.newest_ns)
    if slowest.newest_ns < t0_ns:
        newest = max(stream.newest_ns for stream in streams)
        if newest - t0_ns <= _ns(settings.stall_s):
            return Refusal(slowest.name, f'waiting for a message at or after t0 '
                           f'{_seconds(t0_ns)}', t0_ns, waiting=True)
        if not slowest.newest_ns:
            return Refusal(slowest.name, 'nothing has arrived yet', t0_ns)
        stopped = _stopped(cameras, motion, settings)
        return replace(stopped, t0_ns=t0_ns) if stopped else Refusal(
            slowest.name, f'newest message is at {_seconds(slowest.newest_ns)}, before t0 '
            f'{_seconds(t0_ns)}', t0_ns)
    for stream in streams:
        if not stream.stamps or t0_ns < stream.stamps[0] + stream.needs_ns:
            begins = (t0_ns - stream.stamps[0]) / 1e9 if stream.stamps else 0.0
            return Refusal(stream.name, f'history is too short: it begins {begins:.3f} s before '
                           f't0, {stream.needs_ns / 1e9:.1f} s are needed', t0_ns)
    window = _window(cameras, motion, t0_ns, settings)
    if isinstance(window, Refusal):
        return window
    return _observe(*window, t0_ns, settings, navigation)


def _look(frames: Mapping[str, FrameBuffer], odometry: OdometryBuffer,
          settings: AlignmentSettings) -> tuple[list[_Stream], _Stream]:
    """Every camera by ascending id, and odometry, each frozen at one moment."""
    def stream(name: str, buffer: FrameBuffer | OdometryBuffer, needs_ns: int) -> _Stream:
        items, newest = buffer.snapshot()
        return _Stream(name, items, [item.stamp_ns for item in items], newest or 0, needs_ns)

    missing = [name for name in settings.camera_names if name not in frames]
    if missing:
        raise ValueError(f'no frame buffer for {", ".join(missing)}; expected one for each of '
                         f'{", ".join(settings.camera_names)}')
    names = sorted(settings.camera_names, key=lambda name: camera_by_name(name).camera_id)
    cameras = [stream(name, frames[name], settings._slots_ns) for name in names]
    return cameras, stream(ODOMETRY, odometry, _HISTORY_NS)


def _window(cameras: Sequence[_Stream], motion: _Stream, t0: int, settings: AlignmentSettings
            ) -> tuple[list[tuple[CameraFrame, ...]], list[EgoState]] | Refusal:
    slots = [t0 - back * HISTORY_DT_NS for back in range(settings.frames_per_camera - 1, -1, -1)]
    tolerance = _ns(settings.frame_tolerance_s)
    chosen: list[tuple[CameraFrame, ...]] = []
    worst: tuple[int, Refusal] | None = None
    for camera in cameras:
        picks = _pick(camera.stamps, slots, tolerance)
        if picks is not None:
            chosen.append(tuple(camera.items[pick] for pick in picks))
            continue
        distance, reason = _why_unfilled(camera, slots, settings)
        if worst is None or distance > worst[0]:
            worst = distance, Refusal(camera.name, reason, t0)
    if worst is not None:
        return worst[1]

    instants = [t0 - back * HISTORY_DT_NS for back in range(HISTORY_STEPS - 1, -1, -1)]
    pairs = []
    for instant in instants:
        before = motion.items[bisect_right(motion.stamps, instant) - 1]
        after = motion.items[bisect_left(motion.stamps, instant)]
        gap = after.stamp_ns - before.stamp_ns
        if gap > _ns(settings.odometry_max_gap_s):
            return Refusal(ODOMETRY, f'no sample for {gap / 1e9:.3f} s around '
                           f'{_back(t0, instant)}; at most {settings.odometry_max_gap_s:.3f} s '
                           'are interpolated', t0)
        pairs.append((before, after))
    return chosen, interpolate_states(pairs, instants)


def _pick(stamps: Sequence[int], slots: Sequence[int], tolerance: int) -> tuple[int, ...] | None:
    """Indices of the frames for the slots: each within the tolerance, none used twice.

    Of all such choices the one with the least sum of distances, the earlier frame of two equals:
    the nearest of each slot wherever these differ. They may not: of a 10 Hz camera half a period
    out of phase, jitter makes one frame the nearest of two slots, and its neighbours do as well.
    """
    # By the last index used: (sum of distances, indices so far).
    best: dict[int, tuple[int, tuple[int, ...]]] = {-1: (0, ())}
    for slot in slots:
        following: dict[int, tuple[int, tuple[int, ...]]] = {}
        for index in range(bisect_left(stamps, slot - tolerance),
                           bisect_right(stamps, slot + tolerance)):
            distance = abs(stamps[index] - slot)
            ways = [(total + distance, (*picks, index))
                    for last, (total, picks) in best.items() if last < index]
            if ways:
                following[index] = min(ways)
        best = following
    return min(best.values())[1] if best else None


def _why_unfilled(camera: _Stream, slots: Sequence[int],
                  settings: AlignmentSettings) -> tuple[int, str]:
    """How far the nearest frame of the worst slot is, and the sentence about it."""
    distance, slot = max((min(abs(stamp - slot) for stamp in camera.stamps), slot)
                         for slot in slots)
    if distance > _ns(settings.frame_tolerance_s):
        return distance, (f'the frame nearest to {_back(slots[-1], slot)} is '
                          f'{distance / 1e6:.1f} ms away, tolerance '
                          f'{settings.frame_tolerance_s * 1e3:.1f} ms')
    within = bisect_right(camera.stamps, slots[-1]) - bisect_left(camera.stamps, slots[0])
    return distance, (f'one frame would have to serve two of the {len(slots)} instants up to t0: '
                      f'{within} frames in {(slots[-1] - slots[0]) / 1e9:.1f} s, '
                      'expected at least 10 Hz')


def _observe(frames: Sequence[tuple[CameraFrame, ...]], states: Sequence[EgoState], t0: int,
             settings: AlignmentSettings, navigation: str | None) -> Observation | Refusal:
    xyz, rot = in_ego_frame(states)
    problem = disagreement(states, xyz, rot, settings)
    if problem is not None:
        return Refusal(ODOMETRY, problem, t0)
    return Observation(t0, tuple(frames), xyz, rot, pose_at_t0=states[-1],
                       navigation=navigation or None)


def _stopped(cameras: Sequence[_Stream], motion: _Stream,
             settings: AlignmentSettings) -> Refusal | None:
    """The stream whose newest stamp is furthest from where the others are, if too far."""
    stall = _ns(settings.stall_s)
    by_age = sorted(cameras, key=lambda camera: camera.newest_ns)
    oldest, newest = by_age[0], by_age[-1]
    if len(cameras) > 2:
        others = [stream.newest_ns for stream in (*by_age[:-1], motion)]
        ahead = newest.newest_ns - max(others)
        # All the others stopping at the same moment is less likely than one wrong clock.
        if ahead > stall and max(others) - min(others) <= stall:
            return Refusal(newest.name, f'newest frame is {ahead / 1e9:.2f} s newer than anything '
                           'of the other streams: its clock differs, or they all stopped')
    if newest.newest_ns - motion.newest_ns > stall and oldest.newest_ns >= motion.newest_ns:
        behind = newest.newest_ns - motion.newest_ns
        return Refusal(ODOMETRY, f'newest sample is {behind / 1e9:.2f} s older than the newest '
                       f'frame, limit {settings.stall_s:.2f} s')
    if newest.newest_ns - oldest.newest_ns > stall:
        behind = newest.newest_ns - oldest.newest_ns
        also = [camera.name for camera in by_age[1:] if newest.newest_ns - camera.newest_ns > stall]
        return Refusal(oldest.name, f'newest frame is {behind / 1e9:.2f} s older than the newest '
                       f'of the other cameras, limit {settings.stall_s:.2f} s'
                       + (f' (also behind: {", ".join(also)})' if also else ''))
    if motion.newest_ns - oldest.newest_ns > stall:
        behind = motion.newest_ns - oldest.newest_ns
        return Refusal(oldest.name, f'newest frame is {behind / 1e9:.2f} s older than the newest '
                       f'odometry, limit {settings.stall_s:.2f} s; all cameras are behind it: '
                       'they stopped, or the clocks differ')
    return None


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _seconds(stamp_ns: int) -> str:
    return f'{stamp_ns // 10 ** 9}.{stamp_ns % 10 ** 9 // 10 ** 6:03d} s'


def _back(t0: int, instant: int) -> str:
    return f't0 - {(t0 - instant) / 1e9:.1f} s' if instant < t0 else 't0'
