"""Chain-of-causation sentences: writing what binds the driver and what follows, and reading it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from alpamayo_ros.world.types import VEHICLES

_SIDES = ('left', 'right')
_OPPOSITE = {'left': 'right', 'right': 'left'}

_CLAUSES = {
    'clear_road': ('the road ahead is clear', 'the lane ahead is free',
                   'nothing is in the way on the road ahead'),
    'curve': ('the road ahead bends to the {side}', 'a curve to the {side} lies ahead',
              'there is a bend to the {side} ahead'),
    'slow_lead': ('a slow {what} drives ahead in the lane', 'the {what} ahead drives slowly',
                  'there is a slow {what} ahead'),
    'braking_lead': ('the {what} ahead is braking', 'the brake lights of the {what} ahead are on',
                     'the {what} ahead brakes'),
    'standing_lead': ('the {what} ahead stands still', 'a {what} is standing in the lane ahead',
                      'there is a standing {what} ahead'),
    'red_light': ('the traffic light ahead is red', 'the light at the junction is red',
                  'there is a red light ahead'),
    'green_light': ('the traffic light ahead is green', 'the light at the junction is green',
                    'there is a green light ahead'),
    'pedestrian': ('a pedestrian is crossing from the {side}',
                   'a pedestrian from the {side} is on the crossing',
                   'a person walks over the crossing from the {side}'),
    'cones': ('cones close the {side} half of the lane',
              'cones stand on the {side} side of the lane ahead',
              'there are cones on the {side} side of the lane'),
    'cut_in': ('a {what} is cutting in from the {side}',
               'a {what} from the {side} is moving into the lane',
               'the {what} on the {side} changes into the lane ahead'),
    'junction': ('the junction ahead is clear', 'the junction is free',
                 'the way through the junction is clear'),
    'blocked_lane': ('a stopped {what} blocks the lane ahead',
                     'the lane ahead is blocked by a stopped {what}',
                     'a {what} with hazard lights blocks the lane'),
}
"""Wordings of every cause. {what}: a kind of vehicle; {side}: left or right."""

_LONGITUDINAL = {
    'keep': ('keep the speed', 'go on at this speed'),
    'accelerate': ('speed up', 'accelerate'),
    'slow': ('slow down', 'reduce the speed'),
    'stop': ('stop', 'come to a stop'),
    'wait': ('wait', 'stay stopped'),
    'any': ('',),
}
_PLACES = {'red_light': ' before the line', 'pedestrian': ' before the crossing',
           'standing_lead': ' behind it', 'braking_lead': ' behind it', 'slow_lead': ' behind it',
           'cut_in': ' behind it'}
"""Where to stop or wait."""

_LATERAL = {'follow': ('', ' and follow the lane'), 'turn_left': (' and turn left',),
            'turn_right': (' and turn right',), 'pass_left': (' and nudge left',
                                                              ' and pass on the left'),
            'pass_right': (' and nudge right', ' and pass on the right'), 'any': ('',)}
_TO_BOTH = ('pass it on the left or wait behind it', 'go around it on the left or wait behind it')
_ASIDE = ('keep beside them', 'stay beside them')

_FRAMES = ('{cause}, so {action}.', '{action} because {cause}.', 'since {cause}, {action}.')

_NAVIGATION = {
    'left': ('Turn left at the junction', 'At the junction turn left', 'Take the next left'),
    'right': ('Turn right at the junction', 'At the junction turn right', 'Take the next right'),
    'straight': ('Go straight at the junction', 'At the junction go straight',
                 'Continue straight on'),
}


@dataclass(frozen=True)
class Reading:
    """What a text states: one of ``CAUSES`` and (longitudinal, lateral) of ``world.causes``."""

    cause: str
    manoeuvre: tuple[str, str]


def write(cause: str, manoeuvre: tuple[str, str], details: Mapping[str, str],
          rng: np.random.Generator) -> str:
    """A sentence: the cause outside the vehicle, then what the vehicle does.

    ``details``: 'what', a kind of vehicle, and 'side', 'left' or 'right', where the cause has them.
    ``ValueError`` for a cause or manoeuvre that has no wording.
    """
    if cause not in _CLAUSES:
        raise ValueError(f'cause is {cause!r}; expected one of {tuple(_CLAUSES)}')
    clauses, actions = _CLAUSES[cause], _actions(cause, manoeuvre)
    clause = clauses[int(rng.integers(len(clauses)))].format(
        what=details.get('what', 'car'), side=details.get('side', 'left'))
    action = actions[int(rng.integers(len(actions)))]
    return _framed(_FRAMES[int(rng.integers(len(_FRAMES)))], clause, action)


def _framed(frame: str, clause: str, action: str) -> str:
    text = frame.format(cause=clause, action=action)
    return text[0].upper() + text[1:]


def _actions(cause: str, manoeuvre: tuple[str, str]) -> list[str]:
    longitudinal, lateral = manoeuvre
    if longitudinal not in _LONGITUDINAL or lateral not in _LATERAL:
        raise ValueError(f'manoeuvre is {manoeuvre!r}; expected one of {tuple(_LONGITUDINAL)} and '
                         f'one of {tuple(_LATERAL)}')
    if cause == 'blocked_lane':
        return list(_TO_BOTH)
    place = _PLACES.get(cause, '') if longitudinal in ('stop', 'wait') else ''
    if cause == 'cones' and lateral == 'any':
        return [f'{first} and {second}' for first in _LONGITUDINAL[longitudinal]
                for second in _ASIDE]
    lateral_words = _LATERAL[lateral]
    if longitudinal in ('stop', 'wait') and lateral == 'follow':
        lateral_words = ('',)
    elif cause == 'curve':
        lateral_words = (' and follow the lane',)
    elif cause in ('green_light', 'junction') and lateral == 'follow':
        lateral_words = (' and go straight',)
    if longitudinal == 'any':
        return [words.removeprefix(' and ') for words in lateral_words]
    return [first + place + second
            for first, second in product(_LONGITUDINAL[longitudinal], lateral_words)]


def _pattern(words: list[str]) -> re.Pattern[str]:
    return re.compile('|'.join(rf'\b{word}\b' for word in words))


# In the order of asking: the words of an earlier one may contain those of a later one.
_CAUSE_WORDS = (
    ('blocked_lane', _pattern(['blocks', 'blocked'])),
    ('cones', _pattern(['cones'])),
    ('pedestrian', _pattern(['pedestrian', 'person'])),
    ('red_light', _pattern(['is red', 'red light'])),
    ('green_light', _pattern(['is green', 'green light'])),
    ('cut_in', _pattern(['cutting in', 'moving into', 'changes into'])),
    ('braking_lead', _pattern(['braking', 'brakes', 'brake lights'])),
    ('standing_lead', _pattern(['stands still', 'standing'])),
    ('slow_lead', _pattern(['slow (?:car|van|truck|bus)', 'drives slowly'])),
    ('curve', _pattern(['bends', 'curve', 'bend'])),
    ('junction', _pattern(['junction'])),
    ('clear_road', _pattern(['clear', 'free', 'nothing is in the way'])),
)
_LONGITUDINAL_WORDS = (
    ('wait', _pattern(['wait', 'stay stopped'])),
    ('stop', _pattern(['stop'])),
    ('accelerate', _pattern(['speed up', 'accelerate'])),
    ('slow', _pattern(['slow down', 'reduce the speed'])),
    ('keep', _pattern(['keep the speed', 'at this speed'])),
)
_LATERAL_WORDS = (
    ('turn_left', _pattern(['turn left'])),
    ('turn_right', _pattern(['turn right'])),
    ('pass_left', _pattern(['nudge left', 'pass on the left'])),
    ('pass_right', _pattern(['nudge right', 'pass on the right'])),
    ('any', _pattern(['beside them'])),
)


def read(text: str) -> Reading | None:
    """What a text states, by its words; None when it names no cause."""
    words = text.lower()
    cause = next((name for name, pattern in _CAUSE_WORDS if pattern.search(words)), None)
    if cause is None:
        return None
    if cause == 'blocked_lane' and ' or ' in words:
        return Reading(cause, ('any', 'any'))
    longitudinal = next((name for name, pattern in _LONGITUDINAL_WORDS if pattern.search(words)),
                        'any')
    lateral = next((name for name, pattern in _LATERAL_WORDS if pattern.search(words)), 'follow')
    return Reading(cause, (longitudinal, lateral))


def _named(cause: str) -> re.Pattern[str]:
    """The clauses of a cause, with the kind of vehicle and the side they name."""
    any_of = {'what': f'({"|".join(VEHICLES)})', 'side': f'({"|".join(_SIDES)})'}
    return re.compile('|'.join(rf'\b{clause.format(**any_of)}\b' for clause in _CLAUSES[cause]))


_NAMED = {cause: _named(cause) for cause in _CLAUSES}


def details(text: str, cause: str) -> dict[str, str]:
    """What a text says of a cause, as ``write`` takes it: 'what' and 'side', where it names them
    in one of the cause's wordings."""
    found = _NAMED[cause].search(text.lower())
    words = [word for word in found.groups() if word] if found else []
    return {'side' if word in _SIDES else 'what': word for word in words}


def _possible(cause: str) -> list[tuple[str, str]]:
    """The manoeuvres a cause can lead to."""
    if cause == 'blocked_lane':
        return [('any', 'any')]
    laterals = {'junction': ('follow', 'turn_left', 'turn_right'),
                'cones': ('pass_left', 'pass_right', 'any', 'follow')}.get(cause, ('follow',))
    return list(product([name for name in _LONGITUDINAL if name != 'any'], laterals))


def all_texts() -> list[str]:
    """Every sentence that ``write`` can give."""
    texts = []
    for cause, clauses in _CLAUSES.items():
        actions = sorted({action for manoeuvre in _possible(cause)
                          for action in _actions(cause, manoeuvre)})
        for clause, action, frame in product(clauses, actions, _FRAMES):
            whats = VEHICLES if '{what}' in clause else ('',)
            sides = _SIDES if '{side}' in clause else ('',)
            texts += [_framed(frame, clause.format(what=what, side=side), action)
                      for what, side in product(whats, sides)]
    return sorted(set(texts))


def navigation_texts() -> list[str]:
    """Every instruction a drive can have."""
    return [text for texts in _NAVIGATION.values() for text in texts]


def navigation_text(way: str, rng: np.random.Generator) -> str:
    """An instruction to go 'left', 'right' or 'straight'."""
    return _NAVIGATION[way][int(rng.integers(len(_NAVIGATION[way])))]


def navigation_way(text: str) -> str:
    """'left', 'right' or 'straight'. ``ValueError`` when the text names none of them."""
    for way in _NAVIGATION:
        if re.search(rf'\b{way}\b', text.lower()):
            return way
    raise ValueError(f'instruction {text!r} names no way; expected one with left, right or '
                     'straight')
