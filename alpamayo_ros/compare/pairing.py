"""Which plans of two runs belong together, and whether the runs can be compared at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros.replay.folder import RunError
from alpamayo_ros.replay.record import PLANNED
from alpamayo_ros.report.run_folder import PlanRecord, Run

# About the plan before as well: to be compared only where that was at the same instant.
_OF_TWO_PLANS = ('steadiness_m',)
_SETTINGS = ('checkpoint', 'expert', 'seed', 'reasoning_mode', 'num_candidates', 'cameras',
             'parameters', 'hardware', 'versions', 'schedule', 'status')


@dataclass(frozen=True)
class Pairs:
    """Two runs and the instants that are in both, in order of time.

    ``instants``: one record of each run an instant, whatever its status.
    """

    run_a: Run
    run_b: Run
    instants: tuple[tuple[PlanRecord, PlanRecord], ...]

    @property
    def planned(self) -> tuple[tuple[PlanRecord, PlanRecord], ...]:
        """The instants at which both runs have candidates."""
        return tuple(pair for pair in self.instants
                     if all(record.has_candidates for record in pair))

    @property
    def summary(self) -> str:
        """How many instants there are, in a sentence."""
        only = [len(run.instants) - len(self.instants) for run in (self.run_a, self.run_b)]
        text = (f'{len(self.instants)} instants are in both runs, {len(self.planned)} of them '
                'with a plan in both')
        if any(only):
            text += f'; {only[0]} in A alone and {only[1]} in B alone are left out'
        return text + '.'

    def values(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a figure in A and in B where both have it, and when, s: (K,) each.

        ``planned`` is 1 where a plan was made and 0 where it was not, at every instant. What
        changed since the plan before is compared only where both runs had that at one instant.
        """
        def value(record: PlanRecord) -> float:
            if name == PLANNED:
                return float(record.status == PLANNED)
            return record.figures.get(name, np.nan)

        instants = self.instants
        if name in _OF_TWO_PLANS:
            before_a, before_b = _plans_before(self.run_a), _plans_before(self.run_b)
            instants = [pair for pair in instants
                        if before_a.get(pair[0].t0_ns) == before_b.get(pair[0].t0_ns)]
        rows = np.array([(value(a), value(b), a.seconds) for a, b in instants]).reshape(-1, 3)
        rows = rows[np.isfinite(rows).all(axis=1)]
        return rows[:, 0], rows[:, 1], rows[:, 2]

    def figure_names(self) -> list[str]:
        """Return the figures that both runs have, in the order of run A."""
        in_b = set(self.run_b.counts())
        return [PLANNED, *(name for name in self.run_a.counts() if name in in_b)]


def pair_runs(run_a: Run, run_b: Run, least: int) -> Pairs:
    """Pair the instants of two runs by their t0.

    ``RunError`` for runs of different drives, and for less than ``least`` instants at which both
    have a plan.
    """
    (name_a, when_a), (name_b, when_b) = _drive(run_a), _drive(run_b)
    if when_a != when_b or (run_a.info.get('bag_start_ns') is None and name_a != name_b):
        raise RunError(f"'{run_a.path}' is a run of '{name_a}' ({when_a}) and '{run_b.path}' one "
                       f"of '{name_b}' ({when_b}); expected two runs of one drive")
    if run_a.dt_s != run_b.dt_s:
        raise RunError(f'dt_s is {run_a.dt_s} in A and {run_b.dt_s} in B; expected the same')
    of_b = {record.t0_ns: record for record in run_b.instants}
    pairs = Pairs(run_a, run_b, tuple(
        (record, of_b[record.t0_ns]) for record in run_a.instants if record.t0_ns in of_b))
    if len(pairs.planned) < least:
        raise RunError(
            f"'{run_a.path}' has {len(run_a.plans)} plans and '{run_b.path}' {len(run_b.plans)}; "
            f'{len(pairs.planned)} of them are about the same instants; expected {least} or more')
    return pairs


def differing_settings(pairs: Pairs) -> list[tuple[str, str, str]]:
    """Return (name, in A, in B) of what run.json says differently."""
    rows: list[tuple[str, str, str]] = []

    def compare(name: str, a: Any, b: Any) -> None:
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            for key in dict.fromkeys((*a, *b)):
                compare(f'{name} {key}', a.get(key), b.get(key))
        elif a != b:
            rows.append((name.replace('_', ' '), _text(a), _text(b)))

    for key in _SETTINGS:
        compare(key, pairs.run_a.info.get(key), pairs.run_b.info.get(key))
    return rows


def _plans_before(run: Run) -> dict[int, int]:
    """The t0 of the plan before, for the t0 of each plan but the first, ns."""
    times = [record.t0_ns for record in run.plans]
    return dict(zip(times[1:], times, strict=False))


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ', '.join(map(str, value))
    return '–' if value in (None, '') else str(value)


def _drive(run: Run) -> tuple[str, str]:
    """What tells a drive from another, wherever it is kept: its name and when it was recorded."""
    return Path(str(run.info.get('bag'))).name, (
        f'{run.info.get("bag_start_ns")} to {run.info.get("bag_end_ns")} ns')
