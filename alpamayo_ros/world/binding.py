"""What binds the driver at an instant, told from the world alone and only where it can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from alpamayo_ros.world.driver import NOSE_M, Lead, Stop, Zone
from alpamayo_ros.world.stage import Passage, PlayedDrive

AHEAD_STEPS = 25
"""What will bind within this many steps binds already."""
_SEEN_M = 60.0
_JUNCTION_M = 45.0


@dataclass(frozen=True)
class Bound:
    """A cause of ``CAUSES`` with the words for its text; ``visible``: the images show it.

    ``passage``: the junction it is about, if any; ``gap``: m to a vehicle ahead.
    """

    cause: str
    visible: bool = True
    words: Mapping[str, str] = field(default_factory=dict)
    passage: Passage | None = None
    gap: float | None = None


def bound_at(drive: PlayedDrive, step: int) -> Bound:
    """What binds at ``step`` or first does soon after."""
    s = float(drive.places[step])
    for later in range(step, min(step + AHEAD_STEPS, len(drive.binding))):
        binding = drive.binding[later]
        if isinstance(binding, Lead):
            if drive.ego[later, 4] > 0.4:
                # It only says how briskly; what lets the vehicle go says more.
                continue
            return _by_lead(drive, binding, step, s)
        if isinstance(binding, Stop):
            distance = binding.at - s - NOSE_M
            return Bound(binding.cause, binding.begins <= step < binding.ends
                         and distance < _SEEN_M, drive.details.get(binding.cause, {}),
                         _next_passage(drive, s, binding.cause))
        if isinstance(binding, Zone):
            if binding.cause == 'curve':
                return _by_curve(drive, s)
            if binding.cause == 'junction':
                return Bound('junction', passage=_next_passage(drive, s, 'junction'))
            return Bound(binding.cause, words=drive.details.get(binding.cause, {}))
    return _by_road(drive, step, s)


def _by_lead(drive: PlayedDrive, lead: Lead, step: int, s: float) -> Bound:
    gap = lead.rear[step] - s - NOSE_M
    seen = lead.begins <= step < lead.ends and gap < _SEEN_M
    if lead.cause != 'lead':
        return Bound(lead.cause, seen, drive.details.get(lead.cause, {}), gap=gap)
    vehicle = drive.leads[lead.number]
    words = {'what': vehicle.mover.body.kind, 'side': vehicle.side}
    if vehicle.cuts is not None and step < vehicle.cuts[1]:
        return Bound('cut_in', seen and vehicle.cuts[0] <= step, words, gap=gap)
    speed = lead.speed[step]
    if speed < 0.2:
        cause = 'standing_lead'
        # What has just come to rest looks, over 0.3 s, like what still brakes.
        seen = seen and lead.speed[max(step - 4, 0)] < 0.2
    elif 'braking' in vehicle.mover.states[step]:
        cause = 'braking_lead'
        seen = seen and speed > 1.5 and 'braking' in vehicle.mover.states[max(step - 2, 0)]
    else:
        cause = 'slow_lead'
    return Bound(cause, seen, words, gap=gap)


def _next_passage(drive: PlayedDrive, s: float, cause: str) -> Passage | None:
    if cause not in ('red_light', 'junction', 'green_light'):
        return None
    return next((passage for passage in drive.passages if s < passage.end), None)


def _by_curve(drive: PlayedDrive, s: float) -> Bound:
    """The side to which the route bends most within the next seconds."""
    route = drive.situation.route
    bends = [route.at(s + way)[3] for way in range(0, 50, 2)]
    most = max(bends, key=abs)
    return Bound('curve', words={'side': 'left' if most > 0 else 'right'})


def _by_road(drive: PlayedDrive, step: int, s: float) -> Bound:
    """Nothing holds the driver back: a junction, a bend or the free road."""
    passage = _next_passage(drive, s, 'junction')
    if passage is not None:
        distance = passage.line - s - NOSE_M
        lit = passage.junction.lit
        if distance < _JUNCTION_M and not (lit and passage.lit_red(step)):
            if passage.way == 'straight' and lit:
                return Bound('green_light', distance > -4.0, passage=passage)
            return Bound('junction', passage=passage)
        if distance < _SEEN_M:
            # Too far to be told from a free road.
            return Bound('clear_road', False, passage=passage)
    speed = max(float(drive.ego[step, 3]), 4.0)
    route = drive.situation.route
    if any(abs(route.at(s + way)[3]) > 1 / 110 for way in (0.0, 1.2 * speed, 2.4 * speed)):
        return _by_curve(drive, s)
    return Bound('clear_road')
