"""Instants of drives as samples: history, future, cause and reasoning in the ego frame."""

from __future__ import annotations

import math

import numpy as np

from alpamayo_ros.world import reasoning
from alpamayo_ros.world.binding import Bound, bound_at
from alpamayo_ros.world.driver import NOSE_M, simulate
from alpamayo_ros.world.manoeuvres import Motion, manoeuvre_of, motion
from alpamayo_ros.world.scenarios import make_drive
from alpamayo_ros.world.stage import PlayedDrive
from alpamayo_ros.world.types import FUTURE_STEPS, HISTORY_STEPS, Drive, Sample

_CAUSE_OF = {'turn_left': 'junction', 'turn_right': 'junction', 'go_straight': 'junction'}
_WAYS = {'right': -1.0, 'straight': 0.0, 'left': 1.0}
_HOLDING = ('red_light', 'pedestrian', 'standing_lead', 'braking_lead', 'slow_lead', 'cut_in')
"""Causes that never let a vehicle speed up."""
_TOLD_TURN_RAD = 0.4
_AT_REST = 0.05
"""Speed, m/s, below which a vehicle stands."""
_UNDECIDED_M = 8.0, 50.0
"""How far before the place where passing begins both futures of a blocked lane are open."""
ROUTE_AHEAD_M = (15, 30, 45)
"""How far ahead the facts say how much the route turns."""


def instants(drive: Drive) -> tuple[int, ...]:
    """The steps at which a sample makes sense.

    There is enough history and future, the cause that the drive is about binds and is visible, and
    nothing that follows comes from what cannot be foreseen. ``ValueError`` for a drive that
    ``make_drive`` or ``make_tour`` did not make.
    """
    played = _played(drive)
    first, last = _ends(played)
    if played.kind not in _ABOUT:
        return tuple(range(first, last + 1))
    return tuple(step for step in range(max(first, played.window[0]),
                                        min(last + 1, played.window[1]))
                 if _makes_sense(played, step))


def sample_at(drive: Drive, step: int) -> Sample:
    """The sample at a step. ``ValueError`` where history or future are missing."""
    played = _played(drive)
    first, last = _ends(played)
    if not first <= step <= last:
        raise ValueError(f'step is {step}; expected {first} to {last}, so that there are history '
                         'and future')
    rng = np.random.default_rng([played.seed, step, 7])
    bound = bound_at(played, step)
    history = played.ego[step - HISTORY_STEPS + 1:step + 1]
    future = played.ego[step + 1:step + 1 + FUTURE_STEPS]
    origin = played.ego[step]
    xyz, rot = _in_frame(history, origin)
    future_xyz, future_rot = _in_frame(future, origin)
    stated = _stated(played, step, bound, motion(future_xyz, float(origin[3])))
    others = _other_drives(played, step)
    return Sample(
        drive=drive, step=step, cause=bound.cause,
        reasoning=reasoning.write(bound.cause, stated, bound.words, rng), manoeuvre=stated,
        navigation=played.navigation[step], history_xyz=xyz, history_rot=rot,
        future_xyz=future_xyz, future_rot=future_rot, others=tuple(
            _in_frame(ego[1:], ego[0])[0] for ego in others), other_controls=tuple(
            ego[:FUTURE_STEPS, 4:6] for ego in others), facts=_facts(played, step, bound))


def draw_sample(kind: str, seed: int) -> Sample:
    """One instant of a drive of a kind, both drawn by the seed."""
    rng = np.random.default_rng([seed, 11])
    for attempt in range(50):
        # Now and then a drive has no instant; then another one is taken.
        drive = make_drive(kind, seed if attempt == 0 else int(rng.integers(2 ** 40)))
        steps = instants(drive)
        if steps:
            return sample_at(drive, int(rng.choice(steps)))
    raise ValueError(f'no drive of kind {kind!r} near seed {seed} has an instant')


_ABOUT = {kind: _CAUSE_OF.get(kind, kind) for kind in (
    'clear_road', 'curve', 'slow_lead', 'braking_lead', 'standing_lead', 'red_light',
    'green_light', 'pedestrian', 'cones', 'cut_in', 'turn_left', 'turn_right', 'go_straight',
    'blocked_lane')}


def _played(drive: Drive) -> PlayedDrive:
    if not isinstance(drive, PlayedDrive):
        raise ValueError(f'drive is a {type(drive).__name__}; expected one of make_drive or '
                         'make_tour')
    return drive


def _ends(drive: PlayedDrive) -> tuple[int, int]:
    return HISTORY_STEPS - 1, len(drive.ego) - 1 - FUTURE_STEPS


def _makes_sense(drive: PlayedDrive, step: int) -> bool:
    if any(step < event <= step + FUTURE_STEPS for event in drive.events):
        return False
    bound = bound_at(drive, step)
    if not bound.visible or bound.cause != _ABOUT[drive.kind]:
        return False
    if bound.cause in _HOLDING:
        return manoeuvre_of(_motion_at(drive, step))[0] != 'accelerate'
    if drive.kind in ('turn_left', 'turn_right'):
        sign = 1.0 if drive.kind == 'turn_left' else -1.0
        return sign * _motion_at(drive, step).tight > _TOLD_TURN_RAD
    if bound.cause == 'cones':
        # Beside the cones there is nothing left to decide.
        return drive.places[step] < drive.situation.shifts[0].start + 2.0
    if bound.cause == 'blocked_lane':
        return _both_open(drive, step)
    return True


def _both_open(drive: PlayedDrive, step: int) -> bool:
    """Whether the driver can still pass as well as wait, and nothing yet tells which it will be.

    Nearer, only one that waits is so slow; and to come to rest there is to wait already.
    """
    if float(drive.ego[:step + 1, 3].max()) < _AT_REST:
        return True
    situations = (drive.situation, drive.alternative)
    shift = next(situation.shifts[0] for situation in situations if situation.shifts)
    room = shift.start - float(drive.places[step])
    return _UNDECIDED_M[0] < room < _UNDECIDED_M[1] and (
        float(drive.ego[step, 3]) ** 2 < 2.0 * 2.2 * room)


def _motion_at(drive: PlayedDrive, step: int) -> Motion:
    future = drive.ego[step + 1:step + 1 + FUTURE_STEPS]
    x, y, yaw, speed = drive.ego[step, :4]
    return motion(_turned(future[:, :2] - (x, y), yaw), float(speed))


def _turned(points: np.ndarray, yaw: float) -> np.ndarray:
    """Scene vectors (T, 2) in a frame with that yaw."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.stack([cos * points[:, 0] + sin * points[:, 1],
                     -sin * points[:, 0] + cos * points[:, 1]], axis=1)


def _in_frame(states: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, 3) and rotations (T, 3, 3) of states in the frame of the state ``origin``."""
    xyz = np.zeros((len(states), 3))
    xyz[:, :2] = _turned(states[:, :2] - origin[:2], float(origin[2]))
    yaw = states[:, 2] - origin[2]
    rot = np.zeros((len(states), 3, 3))
    rot[:, 0, 0] = rot[:, 1, 1] = np.cos(yaw)
    rot[:, 1, 0] = np.sin(yaw)
    rot[:, 0, 1] = -rot[:, 1, 0]
    rot[:, 2, 2] = 1.0
    return xyz, rot


def _stated(drive: PlayedDrive, step: int, bound: Bound, found: Motion) -> tuple[str, str]:
    """What the driver decides to do: what its path does, in the words the cause allows."""
    if bound.cause == 'blocked_lane':
        return 'any', 'any'
    along, across = manoeuvre_of(found)
    if bound.cause in _HOLDING and along == 'accelerate':
        # What lets the vehicle go is yet to come; as things are, it holds.
        along = 'wait' if found.v0 < 0.5 else 'keep'
    if bound.cause == 'junction':
        return along, across if across.startswith('turn') else 'follow'
    if bound.cause == 'cones':
        aside = 'pass_left' if bound.words.get('side') == 'right' else 'pass_right'
        return along, aside if across == aside else 'any'
    return along, 'follow'


def _other_drives(drive: PlayedDrive, step: int) -> tuple[np.ndarray, ...]:
    """How the driver goes on in the drive's alternative situation, states (65, 6) from the same
    one."""
    if drive.alternative is None or not _both_open(drive, step):
        return ()
    state = drive.ego[step]
    before = float(drive.ego[step - 1, 4])
    ego, _, _ = simulate(drive.alternative.at_step(step), state[:4], FUTURE_STEPS + 1, before)
    return (ego,)


def _facts(drive: PlayedDrive, step: int, bound: Bound) -> dict[str, float]:
    s = float(drive.places[step])
    facts = {'speed': float(drive.ego[step, 3]), 'speed_limit': float(drive.situation.limit)}
    for metres in ROUTE_AHEAD_M:
        turned = drive.situation.route.at(s + metres)[2] - float(drive.ego[step, 2])
        facts[f'route_{metres}m'] = (turned + math.pi) % (2 * math.pi) - math.pi
    if bound.passage is not None:
        facts['stop_line_m'] = bound.passage.line - s
    if bound.cause == 'pedestrian':
        facts['stop_line_m'] = next(stop.at for stop in drive.situation.stops
                                    if stop.cause == 'pedestrian') - s
    instruction = drive.navigation[step]
    if instruction is not None:
        facts['way'] = _WAYS[reasoning.navigation_way(instruction)]
    if bound.gap is not None:
        facts['gap_m'] = float(bound.gap)
    if 'stop_line_m' in facts:
        facts['nose_to_line_m'] = facts['stop_line_m'] - NOSE_M
    return facts
