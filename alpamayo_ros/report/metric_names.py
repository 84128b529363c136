"""What a figure is called, its unit, and which way is worse: read from the name it has in a run.

Names are words joined by underscores, with the unit last (``max_lateral_accel_mps2``) and the
horizon in seconds where there is one (``ade_6.4s``, ``min_fde_3s``). A name that nobody thought of
is shown as it is, with what its end says about the unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_UNITS = {'mps3': 'm/s³', 'mps2': 'm/s²', 'mps': 'm/s', 'radps': 'rad/s', 'degps': '°/s',
          '1pm': '1/m', 'ms': 'ms', 'deg': '°', 'rad': 'rad', 'm': 'm', 's': 's'}
_HORIZON = re.compile(r'(?:^|[_.@ ])(\d+(?:[._]\d+)?)_?s(?=$|[_.@ ])')
_IN_METRES = re.compile(r'\b(minADE|ADE|minFDE|FDE)\b')
_LOW_IS_WORSE = re.compile(r'\b(agreement|plausible|planned)\b')
# More of it is not worse, and less neither.
_NEITHER = re.compile(r'\b(speed|distance between|spread of)\b')
_SPELT = {'ade': 'ADE', 'fde': 'FDE', 'min ADE': 'minADE', 'min FDE': 'minFDE',
          'accel': 'acceleration', 'decel': 'deceleration',
          'diversity': 'distance between candidates', 'end spread': 'spread of the end points',
          'reconstruction': 'reconstruction error', 'steadiness': 'change from plan to plan'}


@dataclass(frozen=True)
class Metric:
    """A figure of a plan.

    ``label``: for people, without the unit. ``unit``: '' for shares and counts. ``worse``: 'high',
    'low', or '' where neither end is worse. ``horizon_s``: how far ahead it looks, s, or None.
    """

    name: str
    label: str
    unit: str
    worse: str
    horizon_s: float | None = None

    @property
    def title(self) -> str:
        return f'{self.label}, {self.unit}' if self.unit else self.label


def describe(name: str) -> Metric:
    """Return what is known about the figure of that name."""
    if name.startswith('time.'):
        return Metric(name, f'time: {_words(name[5:])}', 'ms', 'high')
    if name == 'input_age_ms':
        return Metric(name, 'input age', 'ms', 'high')
    found = _HORIZON.search(name)
    horizon = float(found[1].replace('_', '.')) if found else None
    rest = name[:found.start()] + name[found.end():] if found else name
    unit = ''
    stem, _, last = rest.rpartition('_')
    if stem and last in _UNITS:
        rest, unit = stem, _UNITS[last]
    words = _words(rest)
    if not unit and _IN_METRES.search(words):
        unit = 'm'
    worse = 'low' if _LOW_IS_WORSE.search(words) else '' if _NEITHER.search(words) else 'high'
    label = words if horizon is None else f'{words} at {horizon:g} s'
    return Metric(name, label, unit, worse, horizon)


def headline(counts: Mapping[str, int]) -> list[str]:
    """Return the few figures that a list of plans shows, of those there are; see ``longest``."""
    found = (longest(counts, label) for label in (
        'ADE', 'minADE', 'FDE', 'miss', 'distance between candidates', 'change from plan to plan',
        'max lateral acceleration', 'agreement', 'time: total'))
    return [metric.name for metric in found if metric]


def longest(counts: Mapping[str, int], label: str) -> Metric | None:
    """Return the figure whose label begins with ``label`` and that looks farthest ahead.

    ``counts``: how many plans have each figure. Towards the end of a drive there is no future to
    compare with: a horizon that less than half as many plans have as a shorter one is left out.
    """
    found = [metric for metric in map(describe, counts)
             if re.match(rf'{re.escape(label)}(?:$| at )', metric.label)]
    most = max((counts[metric.name] for metric in found), default=0)
    found = [metric for metric in found if 2 * counts[metric.name] >= most > 0]
    return max(found, key=lambda metric: metric.horizon_s or 0.0, default=None)


def _words(name: str) -> str:
    words = re.sub(r'[_.@]+', ' ', name).strip()
    for short, spelt in _SPELT.items():
        words = re.sub(rf'\b{short}\b', spelt, words, flags=re.IGNORECASE)
    return words
