"""A whole run in figures: counts, means, percentiles, reasons of refusals, latency."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

STATUSES = ('planned', 'implausible', 'refused')


def summarise(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the summary of the lines of a run's plans.jsonl.

    ``counts``: instants in all and by status. ``metrics``: ``spread`` of each figure over the
    planned instants that have it. ``refusals``: how often, by stream and reason, numbers left out,
    the most frequent first. ``latency_ms``: ``spread`` by stage, over all plans that were made;
    ``input_age_ms``: likewise, None without any.
    """
    lines = list(lines)
    counts = Counter(line['status'] for line in lines)
    planned = [line for line in lines if line['status'] == 'planned']
    made = [line for line in lines if line['status'] != 'refused']
    refusals = Counter((line['stream'] or 'plan', reason_kind(line['reason']))
                       for line in lines if line['status'] != 'planned')
    return {
        'counts': {'instants': len(lines), **{status: counts[status] for status in STATUSES}},
        'metrics': _spreads(line['metrics'] for line in planned),
        'refusals': [{'stream': stream, 'reason': reason, 'count': count}
                     for (stream, reason), count in refusals.most_common()],
        'latency_ms': _spreads(line['timings_ms'] for line in made),
        'input_age_ms': spread([line['input_age_ms'] for line in made])}


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Return count, mean, median, p10, p90, min and max of the numbers; None without one."""
    numbers = np.array([value for value in values if value is not None], np.float64)
    if not len(numbers):
        return None
    low, median, high = np.percentile(numbers, [10, 50, 90])
    return {'count': len(numbers), 'mean': float(numbers.mean()), 'median': float(median),
            'p10': float(low), 'p90': float(high), 'min': float(numbers.min()),
            'max': float(numbers.max())}


def reason_kind(reason: str) -> str:
    """Return a reason without its numbers, so that equal ones can be counted."""
    return re.sub(r'-?\d+(?:\.\d+)?(?:e[+-]?\d+)?', '#', reason)


def _spreads(entries: Iterable[Mapping[str, float | None]]) -> dict[str, dict[str, float] | None]:
    entries = list(entries)
    names = dict.fromkeys(name for entry in entries for name in entry)
    return {name: spread([entry.get(name) for entry in entries]) for name in names}
