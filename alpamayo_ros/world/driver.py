"""The rule-based driver: follows a route on the unicycle, minds leads, lines and narrow places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.rig import FOOTPRINT_M
from alpamayo_ros.world.lines import SPACING_M, Line
from alpamayo_ros.world.manoeuvres import agrees, manoeuvre_of_path
from alpamayo_ros.world.types import DT_S

__all__ = ['Lead', 'Shift', 'Situation', 'Stop', 'Style', 'Zone', 'agrees', 'manoeuvre_of_path',
           'shift_at', 'simulate', 'speed_profile']

NOSE_M = FOOTPRINT_M[1]
"""From the rear axle to the front bumper."""
MAX_CURVATURE = 0.19
HARDEST_BRAKING = -5.0


@dataclass(frozen=True)
class Style:
    """How one driver drives: seconds, metres, m/s^2."""

    headway: float = 1.4
    gap: float = 3.0
    brake: float = 1.6
    accel: float = 1.4
    lateral: float = 1.9
    offset: float = 0.0
    astray: float = 0.0
    astray_until: int = 0
    """Until that step ``astray`` m further to the left: what futures have to recover from."""

    @staticmethod
    def draw(rng: np.random.Generator) -> Style:
        """A driver like most."""
        return Style(rng.uniform(1.3, 1.5), rng.uniform(2.7, 3.3), rng.uniform(1.5, 1.7),
                     rng.uniform(1.3, 1.5), rng.uniform(1.75, 2.0), rng.normal(0.0, 0.06),
                     rng.normal(0.0, 0.16), int(rng.integers(0, 26)))


@dataclass(frozen=True)
class Lead:
    """A vehicle on the route: its rear bumper's arc length m and speed m/s at every step.

    ``begins``, ``ends``: the driver minds it from the one step to before the other.
    """

    rear: Sequence[float]
    speed: Sequence[float]
    begins: int = 0
    ends: int = 10_000
    cause: str = 'lead'
    number: int = 0


@dataclass(frozen=True)
class Stop:
    """A place ``at`` m along the route that the front bumper must not pass while it is closed."""

    cause: str
    at: float
    begins: int = 0
    ends: int = 10_000
    margin: float = 2.5


@dataclass(frozen=True)
class Zone:
    """A part of the route, m, that is driven no faster than ``speed`` m/s."""

    cause: str
    start: float
    end: float
    speed: float


@dataclass(frozen=True)
class Shift:
    """To the side by ``amount`` m (left positive) between ``full`` and ``back``; eases in and out
    from ``start`` and to ``end``, all m along the route."""

    start: float
    full: float
    back: float
    end: float
    amount: float


@dataclass(frozen=True)
class Situation:
    """All that the driver minds. ``limit``: the speed driven on a free road, m/s."""

    route: Line
    limit: float
    style: Style
    leads: tuple[Lead, ...] = ()
    stops: tuple[Stop, ...] = ()
    zones: tuple[Zone, ...] = ()
    shifts: tuple[Shift, ...] = ()

    def at_step(self, step: int) -> Situation:
        """The same with ``step`` as the first step."""
        leads = tuple(replace(lead, rear=lead.rear[step:], speed=lead.speed[step:],
                              begins=lead.begins - step, ends=lead.ends - step)
                      for lead in self.leads)
        stops = tuple(replace(stop, begins=stop.begins - step, ends=stop.ends - step)
                      for stop in self.stops)
        style = replace(self.style, astray_until=self.style.astray_until - step)
        return replace(self, leads=leads, stops=stops, style=style)


Binding = Lead | Stop | Zone | None


def speed_profile(situation: Situation) -> tuple[list[float], list[Zone | None]]:
    """The speed allowed at every point of the route, m/s, and the zone that gives it."""
    route, style = situation.route, situation.style
    bend = np.abs(route.curvature)
    allowed = np.sqrt(style.lateral / np.maximum(bend, 1e-6))
    owner = np.where(bend > 1 / 25, 1, np.where(allowed < 0.97 * situation.limit, 0, -1))
    zones = [Zone('curve', 0, 0, 0), Zone('junction', 0, 0, 0), *situation.zones]
    for index, zone in enumerate(situation.zones, start=2):
        place = route.start + SPACING_M * np.arange(len(allowed))
        inside = (place >= zone.start) & (place <= zone.end) & (allowed > zone.speed)
        allowed[inside] = zone.speed
        owner[inside] = index
    speeds, owners = np.minimum(allowed, 40.0).tolist(), owner.tolist()
    gain = 2 * 0.85 * style.brake * SPACING_M
    for index in range(len(speeds) - 2, -1, -1):
        reachable = math.sqrt(speeds[index + 1] ** 2 + gain)
        if reachable < speeds[index]:
            speeds[index], owners[index] = reachable, owners[index + 1]
    return speeds, [zones[index] if index >= 0 else None for index in owners]


def shift_at(shifts: Sequence[Shift], s: float) -> tuple[float, float, float]:
    """The offset m to the left of the route at ``s``, its slope and the change of that, 1/m."""
    offset = slope = bend = 0.0
    for shift in shifts:
        if not shift.start < s < shift.end:
            continue
        if shift.full <= s <= shift.back:
            offset += shift.amount
            continue
        sign, begin, length = 1.0, shift.start, shift.full - shift.start
        if s > shift.back:
            sign, begin, length = -1.0, shift.back, shift.end - shift.back
        phase = math.pi * (s - begin) / length
        part = 0.5 - 0.5 * math.cos(phase)
        offset += shift.amount * (part if sign > 0 else 1.0 - part)
        slope += sign * shift.amount * 0.5 * math.pi / length * math.sin(phase)
        bend += sign * shift.amount * 0.5 * (math.pi / length) ** 2 * math.cos(phase)
    return offset, slope, bend


def simulate(situation: Situation, start: Sequence[float], steps: int,
             accel: float = 0.0) -> tuple[np.ndarray, list[Binding], np.ndarray]:
    """Drive ``steps`` states from ``start`` (x, y m, yaw rad, speed m/s).

    ``accel``: the acceleration before, m/s^2. Returns the states (steps, 6) as ``Drive.ego`` has
    them, what bound the driver at each step, and the rear axle's arc lengths (steps,) on the route.
    """
    route, style = situation.route, situation.style
    x, y, yaw, v = (float(value) for value in start)
    profile, owners = speed_profile(situation)
    s = route.nearest(x, y)
    rows, binding, places = [], [], []
    bend = route.at(s)[3]
    committed: set[int] = set()
    for step in range(steps):
        for _ in range(2):
            rx, ry, ryaw, rbend = route.at(s)
            s += (x - rx) * math.cos(ryaw) + (y - ry) * math.sin(ryaw)
        rx, ry, ryaw, _ = route.at(s)
        places.append(s)
        wanted, bound = _acceleration(situation, profile, owners, s, v, step, committed)
        wanted = max(wanted, HARDEST_BRAKING)
        # Comfort limits the jerk; hard braking may come faster.
        drop = 0.9 if wanted < -2.5 else 0.35
        accel = min(max(wanted, accel - drop), accel + 0.3)
        if v <= 0.0:
            accel = max(min(accel, wanted), 0.0) if wanted > 0 else 0.0
        if v + accel * DT_S < 1e-3 and accel <= 0.0:
            accel = -v / DT_S
        moved = v * DT_S + 0.5 * accel * DT_S ** 2
        aside = style.offset + (style.astray if step < style.astray_until else 0.0)
        bend = (_curvature(situation, s, v, x, y, yaw, rx, ry, ryaw, bend, aside)
                if moved > 1e-4 else 0.0)
        rows.append((x, y, yaw, v, accel, bend))
        binding.append(bound)
        next_v = v + accel * DT_S
        if next_v < 1e-9:
            next_v = 0.0
        next_yaw = yaw + bend * v * DT_S + 0.5 * bend * accel * DT_S ** 2
        x += 0.5 * DT_S * (v * math.cos(yaw) + next_v * math.cos(next_yaw))
        y += 0.5 * DT_S * (v * math.sin(yaw) + next_v * math.sin(next_yaw))
        yaw, v = next_yaw, next_v
        s += moved
    return np.array(rows), binding, np.array(places)


def _curvature(situation: Situation, s: float, v: float, x: float, y: float, yaw: float,
               rx: float, ry: float, ryaw: float, before: float, aside: float) -> float:
    """Steer back to the wanted line, critically damped over a length that grows with speed."""
    offset, slope, shift_bend = shift_at(situation.shifts, s)
    ahead = situation.route.at(s + 0.1 * v)[3]
    lateral = -(x - rx) * math.sin(ryaw) + (y - ry) * math.cos(ryaw)
    error = lateral - offset - aside
    turned = (yaw - ryaw + math.pi) % (2 * math.pi) - math.pi - math.atan(slope)
    length = 2.2 + 0.6 * v
    wanted = ahead + shift_bend - 2.0 * math.sin(turned) / length - error / length ** 2
    wanted = min(max(wanted, before - 0.035), before + 0.035)
    return min(max(wanted, -MAX_CURVATURE), MAX_CURVATURE)


def _acceleration(situation: Situation, profile: list[float], owners: list[Zone | None], s: float,
                  v: float, step: int, committed: set[int]) -> tuple[float, Binding]:
    """The lowest of what the road, the leads and the lines allow, m/s^2, and what gave it."""
    style = situation.style
    free = min(max((situation.limit - v) / 1.6, -1.2), style.accel)
    best, bound = free, None
    index = int((s + 0.55 * v - situation.route.start) / SPACING_M)
    index = min(max(index, 0), len(profile) - 1)
    zone = max((profile[index] - v) / 0.6, -2.5)
    if zone < best and owners[index] is not None:
        best, bound = zone, owners[index]
    nose = s + NOSE_M
    for lead in situation.leads:
        if not lead.begins <= step < lead.ends:
            continue
        gap = lead.rear[step] - nose
        if gap < -2.0:
            continue
        other = lead.speed[step]
        if other < 0.2:
            value = _stop_before(gap - style.gap, v, free, style, id(lead), committed)
        else:
            closing = v - other
            wished = style.gap + max(0.0, v * style.headway
                                     + 0.5 * v * closing / math.sqrt(style.accel * 2.0))
            value = style.accel * (1.0 - (v / max(situation.limit, 0.1)) ** 4
                                   - (wished / max(gap, 0.3)) ** 2)
            # Opening a gap that is only too small for comfort needs no hard braking.
            needed = max(closing, 0.0) ** 2 / (2.0 * max(gap - 2.0, 0.2))
            value = max(value, -1.6 - 1.3 * needed)
            committed.add(id(lead))
        if value < best:
            best, bound = value, lead
    for stop in situation.stops:
        if stop.begins <= step < stop.ends and nose < stop.at + 0.5:
            value = _stop_before(stop.at - stop.margin - nose, v, free, style, id(stop), committed)
            if value < best:
                best, bound = value, stop
    if bound is not None and best > free - 0.1 and v > 0.2:
        bound = None
    return best, bound


def _stop_before(room: float, v: float, free: float, style: Style, key: int,
                 committed: set[int]) -> float:
    """The acceleration that comes to rest after ``room`` m; ``free`` while that is far."""
    if v < 0.05 and room < 1.0:
        return -1.0
    need = v * v / (2.0 * max(room, 0.05))
    if need > style.brake:
        committed.add(key)
    if key in committed and v > 0.0:
        # Without the lower bound the last metre takes for ever.
        return -max(need, 0.7 if v < 1.0 else 0.0)
    if v < 0.05 and room < 2.5:
        return -1.0
    if need > 0.55 * style.brake:
        return min(free, 0.0)
    return free

