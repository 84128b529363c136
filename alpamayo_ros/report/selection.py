"""Which plans of a long drive a page shows: the worst ones, and others evenly over the drive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from alpamayo_ros.report.metric_names import Metric, describe, headline
from alpamayo_ros.report.run_folder import PlanRecord, figure_counts


@dataclass(frozen=True)
class Selection:
    """``indices``: of the shown plans, in order of time. ``rule``: the choice in a sentence."""

    indices: tuple[int, ...]
    rule: str


def badness(record: PlanRecord, metric: Metric) -> float:
    """Return a number that is greater the worse a plan is; the least of all without the figure."""
    value = record.figures.get(metric.name, math.nan)
    if math.isnan(value):
        return -math.inf
    return -value if metric.worse == 'low' else value


def choose(plans: Sequence[PlanRecord], most: int) -> Selection:
    """Choose at most ``most`` plans: half of them the worst, the others evenly over the drive."""
    if len(plans) <= most:
        return Selection(tuple(range(len(plans))), f'All {len(plans)} plans are shown.')
    names = headline(figure_counts(plans))
    chosen: set[int] = set()
    by = 'half of them'
    if names:
        metric = describe(names[0])
        worst = sorted(range(len(plans)), key=lambda index: -badness(plans[index], metric))
        chosen.update(worst[:most // 2])
        by = f'{len(chosen)} worst by {metric.title}'
    rest = [index for index in range(len(plans)) if index not in chosen]
    places = most - len(chosen)
    chosen.update(rest[math.floor((place + 0.5) * len(rest) / places)] for place in range(places))
    rule = (f'{most} of {len(plans)} plans are shown: the {by}, the others evenly over the drive. '
            'Figures and charts of the summary are about all of them.'
            if names else f'{most} of {len(plans)} plans are shown, evenly over the drive.')
    return Selection(tuple(sorted(chosen)), rule)
