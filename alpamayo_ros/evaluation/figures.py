"""The figures of an evaluation: what each is called, what kind it is, which goal it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from alpamayo_ros.evaluation.geometry import HORIZONS_S
from alpamayo_ros.evaluation.intervals import Estimate, mean, rate


@dataclass(frozen=True)
class Figure:
    """``kind``: 'rate' (of truth values) or 'mean' (of numbers in ``unit``). ``goal``: at least
    that for a rate, at most that for a mean; None where there is none."""

    label: str
    kind: str = 'rate'
    unit: str = ''
    goal: float | None = None

    def estimate(self, values: Iterable[float | bool | None]) -> Estimate:
        """The figure over those scenes where it is not None, with its 95 % interval."""
        known = [value for value in values if value is not None]
        return rate(sum(map(bool, known)), len(known)) if self.kind == 'rate' else mean(known)

    def reached(self, estimate: Estimate) -> bool | None:
        """Whether the goal is reached; None without a goal or without scenes."""
        if self.goal is None or not estimate.count:
            return None
        return estimate.value >= self.goal if self.kind == 'rate' else estimate.value <= self.goal


def _by_horizon() -> dict[str, Figure]:
    result = {}
    for key, label in (('ade', 'ADE of the selected path, to the nearest sensible future'),
                       ('ade_realised', 'ADE of the selected path, to the realised future'),
                       ('min_ade', 'minADE over the candidates, to the realised future'),
                       ('min_ade_nearest', 'minADE over the candidates, to the nearest future'),
                       ('velocity', 'baseline: constant velocity, to the nearest future'),
                       ('turn', 'baseline: constant turn rate, to the nearest future')):
        for seconds in HORIZONS_S:
            goal = {'ade_6.4': 1.5, 'min_ade_6.4': 0.7}.get(f'{key}_{seconds:g}')
            result[f'{key}_{seconds:g}'] = Figure(f'{label}, {seconds:g} s', 'mean', 'm', goal)
    return result


FIGURES: Mapping[str, Figure] = {
    'cause': Figure('the cause named is the true one', goal=0.90),
    'object': Figure('  of a vehicle its kind, where the cause is right'),
    'side': Figure('  of a side that one, where the cause is right'),
    'manoeuvre': Figure('the manoeuvre named is the true one'),
    'readable': Figure('the reasoning names a cause'),
    **_by_horizon(),
    'red_stays': Figure('red light: the selected path ends before the line', goal=0.95),
    'red_stays_going': Figure('  the same, where constant velocity would cross it'),
    'red_velocity': Figure('  baseline: constant velocity'),
    'green_goes': Figure('green light: the selected path does not stop', goal=0.95),
    'walker_yields': Figure('pedestrian: the line is crossed no sooner than by the driver'),
    'way': Figure('junctions: the instructed way is taken', goal=0.95),
    'way_ahead': Figure('  the same, where the line is still ahead'),
    'agrees': Figure('reasoning and path agree', goal=0.95),
    'agrees_chance': Figure("  by chance: the text with another scene's path"),
    'open': Figure('texts that leave the manoeuvre open'),
    'futures': Figure('two futures: both among the candidates', goal=0.80),
    'futures_rarer': Figure("  share of the rarer future's candidates", 'mean'),
    'futures_between': Figure('  share of candidates that are neither', 'mean'),
    'pairwise': Figure('mean distance of two candidates', 'mean', 'm'),
    'spread': Figure('spread of the candidates at 6.4 s (RMS)', 'mean', 'm'),
    'planned': Figure('plans with a plausible candidate'),
    'plausible_share': Figure('plausible candidates', 'mean'),
}
