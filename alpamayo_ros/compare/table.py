"""A comparison as text for a terminal or the log of a continuous integration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alpamayo_ros.compare.pairing import Pairs
from alpamayo_ros.compare.statistics import Difference
from alpamayo_ros.compare.thresholds import Verdict
from alpamayo_ros.report.plan_view import decimals_for, number

_HEADER = ('figure', 'instants', 'A', 'B', 'B - A', '95 % interval', '')


def cells(difference: Difference) -> tuple[str, str, str, str, str]:
    """Return the mean in A, in B, of B - A, and the ends of its interval, as text."""
    level = decimals_for([difference.mean_a, difference.mean_b])
    fine = max(level, decimals_for([difference.mean, difference.low, difference.high]))
    return (number(difference.mean_a, level), number(difference.mean_b, level),
            *(number(value, fine) for value in (difference.mean, difference.low, difference.high)))


def say(verdict: Verdict) -> str:
    """Return what became of a threshold in a sentence."""
    rule = (f'{verdict.threshold.metric} ({verdict.threshold.better} is better): allowed '
            f'{verdict.threshold.allowed:g} worse')
    if verdict.difference is None:
        return f'EXCEEDED  {rule}; no common instant has it in both runs'
    found = f'{number(abs(verdict.worsening), 4)} {"worse" if verdict.worsening > 0 else "better"}'
    return f'{"kept    " if verdict.kept else "EXCEEDED"}  {rule}; found {found}'


def table(pairs: Pairs, differences: Sequence[Difference], verdicts: Sequence[Verdict]) -> str:
    """Return the comparison as lines of text."""
    rows = [_HEADER]
    for difference in differences:
        mean_a, mean_b, mean, low, high = cells(difference)
        rows.append((difference.metric.title, str(difference.count), mean_a, mean_b, mean,
                     f'{low} to {high}' if np.isfinite(difference.low) else '',
                     difference.verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [f'A: {pairs.run_a.path}', f'B: {pairs.run_b.path}', pairs.summary, '']
    for row in rows:
        text = [cell.ljust(width) if column in (0, 6) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append('  '.join(text).rstrip())
    text = '\n'.join([*lines, *([''] if verdicts else []), *map(say, verdicts)])
    # Not every terminal has a minus sign of its own.
    return text.replace('\u2212', '-')
