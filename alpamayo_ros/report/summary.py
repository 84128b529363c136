"""What a replay amounts to: key figures, statistics of every figure, windows that were refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alpamayo_ros.drive.picture import printable
from alpamayo_ros.metrics.summary import reason_kind
from alpamayo_ros.replay.record import PLANNED, REFUSED
from alpamayo_ros.report.charts import BarChart, TimeChart, bar_chart, strip, time_chart
from alpamayo_ros.report.metric_names import Metric, describe, longest
from alpamayo_ros.report.plan_view import decimals_for, number
from alpamayo_ros.report.run_folder import PlanRecord, Run

_SERIES = ('one', 'two', 'three')


@dataclass(frozen=True)
class Tile:
    """A key figure: ``value`` with its ``unit``, ``label`` above and ``note`` below it."""

    label: str
    value: str
    unit: str = ''
    note: str = ''


@dataclass(frozen=True)
class Statistics:
    """A figure over the drive, as text; ``strip``: see ``charts.strip``."""

    metric: Metric
    count: int
    mean: str
    median: str
    p90: str
    low: str
    high: str
    strip: tuple[list[float], float] | None


@dataclass(frozen=True)
class Refusal:
    """Windows refused for one reason: how many, an example of the reason, when (s)."""

    stream: str
    reason: str
    count: int
    spans: str


def tiles(run: Run) -> list[Tile]:
    """Return the key figures of a run."""
    states = Counter(record.status for record in run.instants)
    total = len(run.instants)
    others = [f'{states[name]} {name}' for name in ('refused', 'implausible') if states[name]]
    chosen = [Tile('plans made', str(states[PLANNED]), f'of {total}',
                   ', '.join(others) or 'none refused')]
    counts = run.counts()
    for label in ('ADE', 'minADE', 'miss', 'distance between candidates'):
        metric = longest(counts, label)
        if metric:
            values = run.values(metric.name)
            note = f'mean of {counts[metric.name]} plans, median {number(np.nanmedian(values))}'
            chosen.append(Tile(metric.label, number(np.nanmean(values)), metric.unit, note))
    total_ms = run.values('time.total')
    if np.isfinite(total_ms).any():
        p90 = np.nanpercentile(total_ms, 90)
        chosen.append(Tile('time a plan takes', number(np.nanmedian(total_ms)), 'ms',
                           f'median; p90 {number(p90)} ms'))
    return chosen


def statistics(run: Run) -> list[Statistics]:
    """Return every figure over the drive, in the order of the record."""
    rows = []
    for name in run.counts():
        values = run.values(name)
        known = values[np.isfinite(values)]
        decimals = decimals_for(known.tolist())
        low, median, p90, high = (number(float(value), decimals)
                                  for value in np.percentile(known, [0, 50, 90, 100]))
        rows.append(Statistics(describe(name), len(known), number(float(known.mean()), decimals),
                               median, p90, low, high, strip(values)))
    return rows


def medians(run: Run) -> dict[str, float]:
    """Return the median of each figure over the drive."""
    return {name: float(np.nanmedian(run.values(name))) for name in run.counts()}


def refusals(records: Sequence[PlanRecord]) -> list[Refusal]:
    """Return the refused windows by reason, the most frequent first.

    Reasons that differ in their numbers alone count as one; the first is quoted.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for index, record in enumerate(records):
        if record.status == REFUSED:
            key = (record.stream, reason_kind(record.reason))
            groups.setdefault(key, []).append(index)
    return [Refusal(printable(stream) or '–', printable(records[indices[0]].reason) or '–',
                    len(indices), _spans(records, indices))
            for (stream, _), indices in sorted(groups.items(), key=lambda item: -len(item[1]))]


def _spans(records: Sequence[PlanRecord], indices: Sequence[int]) -> str:
    """Return neighbouring instants as spans of time: '1.0–2.5 s, 4.0 s'."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    texts = [f'{records[run[0]].seconds:.1f}'
             + (f'–{records[run[-1]].seconds:.1f}' if len(run) > 1 else '') for run in runs]
    return ', '.join(texts[:6]) + (f' and {len(texts) - 6} more' if len(texts) > 6 else '') + ' s'


def time_charts(run: Run) -> list[TimeChart]:
    """Return the charts over time: errors, diversity, comfort, whatever the run has of them."""
    counts = run.counts()
    seconds = np.array([record.seconds for record in run.instants])
    if not len(seconds):
        return []
    refused = np.array([record.seconds for record in run.instants if record.status == REFUSED])

    def chart(title: str, *labels: str) -> TimeChart | None:
        found = [metric for metric in (longest(counts, label) for label in labels) if metric]
        return time_chart(title, found[0].unit if found else '', seconds, [
            (metric.label, css, run.values(metric.name))
            for metric, css in zip(found, _SERIES, strict=False)], refused)

    charts = [
        chart('Distance to the path really driven', 'ADE', 'minADE'),
        chart('How far candidates are apart', 'distance between candidates'),
        chart('Change from plan to plan', 'change from plan to plan'),
        chart('Acceleration', 'max lateral acceleration', 'max acceleration', 'max deceleration'),
        chart('Jerk', 'max jerk'), chart('Yaw rate', 'max yaw rate')]
    return [entry for entry in charts if entry]


def latency_chart(run: Run) -> BarChart | None:
    """Return p50, p90 and max of every stage."""
    rows = []
    for name in run.counts():
        if name.startswith('time.') or name == 'input_age_ms':
            values = run.values(name)
            p50, p90, most = np.nanpercentile(values, [50, 90, 100])
            rows.append((describe(name).label.removeprefix('time: '), (p50, p90, most),
                         number(float(p50))))
    return bar_chart('Time per stage', 'ms', rows)


def refusal_chart(rows: Sequence[Refusal]) -> BarChart | None:
    """Return the refused windows by stream."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.stream] += row.count
    return bar_chart('Refused windows by stream', 'windows',
                     [(stream, (count,), str(count)) for stream, count in counts.most_common()])


def what_was_run(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (name, value) of everything run.json says that is not empty, flattened."""
    rows: list[tuple[str, str]] = []

    def add(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                add(f'{name} {key}', inner)
        elif isinstance(value, (list, tuple)):
            add(name, ', '.join(str(item) for item in value))
        elif value not in (None, ''):
            rows.append((name.replace('_', ' '), printable(str(value))))

    for key, value in info.items():
        if key not in ('format', 'calibration', 'counts', 'settings', 'settings_hash'):
            add(key, value)
    return rows
