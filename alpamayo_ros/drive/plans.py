"""The node's outputs put together again, one plan at a time, and told in words; free of ROS."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.drive.picture import printable

OUTPUT_PREFIX = '/alpamayo/output'
REASONING, CANDIDATES, PLAN_INFO = (
    f'{OUTPUT_PREFIX}/{name}' for name in ('reasoning', 'candidate_paths', 'plan_info'))
_TYPES = {REASONING: 'std_msgs/msg/String', CANDIDATES: 'nav_msgs/msg/Path',
          PLAN_INFO: 'diagnostic_msgs/msg/DiagnosticStatus'}
_KEPT = 64


@dataclass(frozen=True)
class SeenPlan:
    """A plan as it came over the wire.

    ``t0_ns``: the camera time it is about; ``received_ns``: when its last message came, on the
    same clock. ``candidates``: (N, T, 3) m in frame ``frame_id``, best first; ``dt_s``: time
    between waypoints. ``info``: the key-values of plan_info.
    """

    t0_ns: int
    received_ns: int
    frame_id: str
    reasoning: str
    candidates: np.ndarray
    dt_s: float
    info: dict[str, str]

    @property
    def plausible(self) -> tuple[bool, ...]:
        """One flag a candidate."""
        return tuple(not self.info.get(f'candidate.{rank}.reasons', '')
                     for rank in range(len(self.candidates)))

    @property
    def timings_ms(self) -> dict[str, float]:
        """Milliseconds per stage as the node reports them."""
        return {key[3:]: float(value) for key, value in self.info.items()
                if key.startswith('ms.')}


class PlanCollector:
    """Puts reasoning, candidate paths and plan_info of one plan together.

    Paths belong to a plan by their stamp. The reasoning carries no stamp; reliable delivery keeps
    the order, so the n-th reasoning belongs to the n-th plan_info. ``on_plan`` is called from
    whatever thread brought the last piece.
    """

    def __init__(self, on_plan: Callable[[SeenPlan], None]) -> None:
        self._on_plan = on_plan
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._lock = threading.Lock()
        self._reasonings: deque[str] = deque(maxlen=_KEPT)
        self._infos: deque[dict[str, str]] = deque(maxlen=_KEPT)
        self._paths: dict[int, list] = {}

    def take(self, topic: str, data: bytes, stamp_ns: int) -> None:
        """Take the CDR bytes of a message that came at ``stamp_ns``; other topics are ignored."""
        if topic not in _TYPES:
            return
        message = self._store.deserialize_cdr(data, _TYPES[topic])
        with self._lock:
            if topic == REASONING:
                self._reasonings.append(message.data)
            elif topic == PLAN_INFO:
                self._infos.append({item.key: item.value for item in message.values})
            else:
                self._paths.setdefault(_nanoseconds(message.header.stamp), []).append(message)
            complete = self._complete(stamp_ns)
            while len(self._paths) > _KEPT:
                del self._paths[next(iter(self._paths))]
        for plan in complete:
            self._on_plan(plan)

    def _complete(self, stamp_ns: int) -> list[SeenPlan]:
        plans = []
        while self._infos and self._reasonings:
            info = self._infos[0]
            t0_ns = _parse_t0(info['t0'])
            paths = self._paths.get(t0_ns, [])
            if len(paths) < int(info['candidates']):
                break
            plans.append(_plan(info, t0_ns, stamp_ns, self._reasonings.popleft(), paths))
            self._infos.popleft()
            del self._paths[t0_ns]
        return plans


def _plan(info: dict[str, str], t0_ns: int, stamp_ns: int, reasoning: str,
          paths: list) -> SeenPlan:
    points = np.array([[(pose.pose.position.x, pose.pose.position.y, pose.pose.position.z)
                        for pose in path.poses] for path in paths])
    first = _nanoseconds(paths[0].poses[0].header.stamp)
    return SeenPlan(t0_ns, stamp_ns, paths[0].header.frame_id, reasoning, points,
                    (first - t0_ns) * 1e-9, info)


def _nanoseconds(stamp: object) -> int:
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def _parse_t0(text: str) -> int:
    seconds, _, fraction = text.partition('.')
    return int(seconds) * 1_000_000_000 + int(fraction)


def describe_paths(ego_paths: np.ndarray, plausible: Sequence[bool], dt_s: float) -> str:
    """Say in a line what candidates (N, T, 3) in the ego frame, best first, look like."""
    best = np.vstack([np.zeros((1, 3)), ego_paths[0]])
    length = float(np.linalg.norm(np.diff(best, axis=0), axis=1).sum())
    seconds = dt_s * ego_paths.shape[1]
    x, y = best[-1, :2]
    spread = np.linalg.norm(ego_paths[:, -1, :2] - ego_paths[:, -1, :2].mean(axis=0), axis=1)
    return (f'{len(ego_paths)} ({sum(plausible)} plausible); selected: {length:.1f} m in '
            f'{seconds:.1f} s ({length / seconds:.1f} m/s), ends {x:.1f} m ahead, {abs(y):.1f} m '
            f'{"left" if y >= 0 else "right"}; their ends scatter by {spread.mean():.1f} m')


def describe_times(timings_ms: dict[str, float]) -> str:
    """Say in a line where the time of a plan went, the large stages first.

    What an image takes on arrival (``input.*``) is no part of the total; it is told apart.
    """
    stages = {name: ms for name, ms in timings_ms.items() if name != 'total'}
    images = {name[6:]: stages.pop(name) for name in list(stages) if name.startswith('input.')}
    total = timings_ms.get('total', sum(stages.values()))
    large = sorted(stages.items(), key=lambda item: -item[1])[:6]
    text = f'{total:.0f} ms: ' + ', '.join(f'{name} {ms:.0f}' for name, ms in large)
    if images:
        text += '; an image: ' + ', '.join(f'{name} {ms:.0f}' for name, ms in images.items())
    return text


def speed_mps(info: Mapping[str, str]) -> float:
    """The speed a plan started from, to a tenth; a vehicle at rest is not at minus zero."""
    return round(float(info.get('v0_mps', 'nan')), 1) + 0.0


def describe_plan(number: int, plan: SeenPlan, ego_paths: np.ndarray, into_s: float) -> str:
    """Tell a plan in four lines. ``into_s``: t0 as seconds into the drive."""
    reasoning = printable(plan.reasoning) or '(empty)'
    if len(reasoning) > 150:
        reasoning = reasoning[:149] + '…'
    age_ms = (plan.received_ns - plan.t0_ns) / 1e6
    tokens = plan.info.get('reasoning_tokens', '?')
    return (f'plan {number}: t0 is {into_s:.2f} s into the drive, {age_ms:.0f} ms ago; '
            f'speed {speed_mps(plan.info):.1f} m/s\n'
            f'  reasoning  "{reasoning}" ({tokens} tokens)\n'
            f'  paths      {describe_paths(ego_paths, plan.plausible, plan.dt_s)}\n'
            f'  time       {describe_times(plan.timings_ms)}')
