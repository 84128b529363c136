"""A comparison as an HTML page: the figures, and the plans that differ most side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.calibration import Rig
from alpamayo_ros.compare.pairing import Pairs, differing_settings
from alpamayo_ros.compare.statistics import FEWEST, LEVEL, RESAMPLES, Difference
from alpamayo_ros.compare.table import cells, say
from alpamayo_ros.compare.thresholds import Verdict
from alpamayo_ros.report.metric_names import describe
from alpamayo_ros.report.page import bag_name, render, surroundings
from alpamayo_ros.report.plan_view import PlanView, decimals_for, number, plan_view
from alpamayo_ros.report.run_folder import PlanRecord

_THUMBNAIL_PX = 300
_PLOT = 180
FEW = 20
"""Fewer instants than this give intervals that are too narrow; the page says so."""


@dataclass(frozen=True)
class Row:
    """A figure of the table; ``plot``: px of zero, low, mean and high on ``_PLOT`` px, or None."""

    difference: Difference
    texts: tuple[str, str, str, str, str]
    plot: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Couple:
    """Two plans of one instant. ``apart``: of their selected paths, as text; ``figures``: rows of
    (label, unit, A, B, B - A) as text.
    """

    anchor: str
    seconds: float
    apart: str
    a: PlanView
    b: PlanView
    figures: Sequence[tuple[str, str, str, str, str]]


def render_comparison(pairs: Pairs, differences: Sequence[Difference],
                      verdicts: Sequence[Verdict], rig: Rig | None, most: int, seed: int) -> str:
    """Return the page with the ``most`` pairs of plans that differ most; ``seed`` is only told."""
    around = [surroundings(run, rig, _THUMBNAIL_PX) for run in (pairs.run_a, pairs.run_b)]
    couples = []
    for place, (distance, a, b) in enumerate(differing_most(pairs, most)):
        views = [plan_view(record, place, f'pair-{place + 1}-{side}', drawn, other)
                 for record, other, side, drawn in zip((a, b), (b, a), 'ab', around, strict=True)]
        apart = ('one of them has no plausible path' if math.isinf(distance)
                 else f'selected paths {number(distance)} m apart on average')
        couples.append(Couple(f'pair-{place + 1}', a.seconds, apart, *views, _figures(a, b)))
    return render(
        'compare.html', title=f'Comparison of two replays of {bag_name(pairs.run_a)}',
        pairs=pairs, settings=differing_settings(pairs),
        rows=[Row(difference, cells(difference), _plot(difference)) for difference in differences],
        verdicts=[(verdict.kept, say(verdict)) for verdict in verdicts], couples=couples,
        blocks=sorted({difference.block for difference in differences}), level=LEVEL,
        fewest=FEWEST, resamples=RESAMPLES, seed=seed, few=len(pairs.planned) < FEW)


def differing_most(pairs: Pairs, most: int) -> list[tuple[float, PlanRecord, PlanRecord]]:
    """Return the pairs whose selected paths differ most, by their mean distance over time, m.

    Infinite where one run has a plausible path and the other has none.
    """
    found = []
    for a, b in pairs.planned:
        first, second = (record.arrays(views=False).selected for record in (a, b))
        if first is None or second is None:
            distance = 0.0 if first is second else math.inf
        else:
            steps = min(len(first), len(second))
            distance = float(np.linalg.norm(first[:steps] - second[:steps], axis=1).mean())
        found.append((distance, a, b))
    return sorted(found, key=lambda entry: (-entry[0], entry[1].t0_ns))[:most]


def _figures(a: PlanRecord, b: PlanRecord) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for name in a.figures:
        if name in b.figures:
            metric, one, two = describe(name), a.figures[name], b.figures[name]
            decimals = decimals_for([one, two])
            rows.append((metric.label, metric.unit, number(one, decimals), number(two, decimals),
                         number(two - one, decimals)))
    return rows


def _plot(difference: Difference) -> tuple[float, float, float, float] | None:
    ends = (0.0, difference.low, difference.mean, difference.high)
    reach = max(map(abs, ends))
    if not np.isfinite(ends).all() or reach == 0:
        return None
    zero, low, mean, high = (round((end / reach + 1) * (_PLOT / 2 - 6) + 6, 1) for end in ends)
    return zero, low, mean, high
