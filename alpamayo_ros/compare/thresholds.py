"""How much worse a run may be than another: a file of limits, and whether they are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from alpamayo_ros.compare.statistics import Difference
from alpamayo_ros.errors import AlpamayoError

_BETTER = {'lower': 'high', 'higher': 'low'}
_KEYS = {'metric', 'better', 'allowed'}


class ThresholdError(AlpamayoError):
    """A file of thresholds that cannot be used."""


@dataclass(frozen=True)
class Threshold:
    """``metric``: a figure of a run; ``better``: 'lower' or 'higher'; ``allowed``: by how much the
    mean over the common instants may be worse in B than in A, in the unit of the figure.
    """

    metric: str
    better: str
    allowed: float


@dataclass(frozen=True)
class Verdict:
    """A threshold and what was found; ``difference`` is None when no instant has the figure."""

    threshold: Threshold
    difference: Difference | None

    @property
    def worsening(self) -> float:
        """How much worse B is, in the unit of the figure; NaN when it cannot be said."""
        if self.difference is None:
            return math.nan
        sign = 1.0 if self.threshold.better == 'lower' else -1.0
        return sign * self.difference.mean

    @property
    def kept(self) -> bool:
        """False as well when nothing could be compared: silence is no success."""
        return self.worsening <= self.threshold.allowed


def load_thresholds(path: Path) -> tuple[Threshold, ...]:
    """Read a YAML or JSON list of thresholds; ``ThresholdError`` says what is wrong in it."""
    where = f"thresholds file '{path}'"
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ThresholdError(f'{where} cannot be read: {error}') from error
    entries = content.get('thresholds') if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ThresholdError(f"{where} has no 'thresholds'; expected a list of metric, better and "
                             'allowed')
    found: list[Threshold] = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or set(entry) != _KEYS:
            raise ThresholdError(f'{where}: entry {number} is {entry!r}; expected metric, better '
                                 'and allowed')
        allowed = entry['allowed']
        if isinstance(allowed, bool) or not isinstance(allowed, (int, float)) or not (
                0 <= allowed < math.inf):
            raise ThresholdError(f'{where}: entry {number}: allowed is {allowed!r}; expected a '
                                 'number from 0 up')
        if entry['better'] not in _BETTER:
            raise ThresholdError(f"{where}: entry {number}: better is {entry['better']!r}; "
                                 "expected 'lower' or 'higher'")
        if entry['metric'] in {threshold.metric for threshold in found}:
            raise ThresholdError(f"{where}: metric '{entry['metric']}' is there twice; expected "
                                 'once')
        found.append(Threshold(str(entry['metric']), entry['better'], float(allowed)))
    return tuple(found)


def judge(differences: Sequence[Difference],
          thresholds: Sequence[Threshold]) -> tuple[Verdict, ...]:
    """Return a verdict a threshold; the file's word on which way is better counts."""
    of_name = {difference.metric.name: difference for difference in differences}
    return tuple(
        Verdict(threshold, difference and replace(difference, metric=replace(
            difference.metric, worse=_BETTER[threshold.better])))
        for threshold in thresholds
        for difference in [of_name.get(threshold.metric)])
