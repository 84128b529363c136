"""Charts over a drive: where lines, bars and ticks lie in the picture; the templates draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

_WIDTH, _HEIGHT = 620, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 34
_MOST_DOTS = 160
_BAR_LEFT, _BAR_ROW, _BAR_RIGHT = 150, 26, 64
_STRIP = 150


@dataclass(frozen=True)
class Tick:
    """A grid line at ``place`` px and the number beside it."""

    place: float
    text: str


@dataclass(frozen=True)
class Line:
    """A series: its name, its class, the ``d`` of its line, and dots where there are few."""

    label: str
    css: str
    d: str
    dots: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class TimeChart:
    """Figures over the time of a drive. ``begin`` and ``end``: of the time axis, s."""

    title: str
    unit: str
    lines: Sequence[Line]
    across: Sequence[Tick]
    up: Sequence[Tick]
    refused: Sequence[float]
    begin: float
    end: float
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


@dataclass(frozen=True)
class Bar:
    """A row: ``marks`` are px from the left for each of the chart's measures; ``text`` at its end.

    ``y``: of the row's middle, px.
    """

    label: str
    y: float
    marks: Sequence[float]
    text: str


@dataclass(frozen=True)
class BarChart:
    """Rows of bars with one scale."""

    title: str
    unit: str
    rows: Sequence[Bar]
    across: Sequence[Tick]
    height: float
    width: int = _WIDTH
    left: int = _BAR_LEFT
    bottom: float = 0.0


def ticks(low: float, high: float, most: int) -> np.ndarray:
    """Return round numbers from ``low`` to ``high``, at most ``most`` + 1."""
    return MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)


def time_chart(title: str, unit: str, seconds: np.ndarray,
               series: Sequence[tuple[str, str, np.ndarray]],
               refused: np.ndarray) -> TimeChart | None:
    """Return a chart of ``series``, (label, class, values with NaN for none), or None if empty.

    ``seconds``: (instants,) of every value; ``refused``: times without a plan, s.
    """
    series = [entry for entry in series if np.isfinite(entry[2]).any()]
    if not series:
        return None
    highest = max(float(np.nanmax(values)) for _, _, values in series)
    lowest = min(0.0, *(float(np.nanmin(values)) for _, _, values in series))
    levels = ticks(lowest, highest if highest > lowest else lowest + 1.0, 5)
    begin, end = float(seconds[0]), float(seconds[-1])
    if end <= begin:
        end = begin + 1.0

    def x_of(time: np.ndarray) -> np.ndarray:
        return _LEFT + (time - begin) / (end - begin) * (_WIDTH - _LEFT - _RIGHT)

    def y_of(value: np.ndarray) -> np.ndarray:
        share = (value - levels[0]) / (levels[-1] - levels[0])
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    lines = []
    for label, css, values in series:
        points = np.stack([x_of(seconds), y_of(values)], axis=1)
        known = np.isfinite(points).all(axis=1)
        d = ''.join(f'{"L" if index and known[index - 1] else "M"}{x:.1f} {y:.1f}'
                    for index, (x, y) in enumerate(points.tolist()) if known[index])
        few = known.sum() <= _MOST_DOTS
        lines.append(Line(label, css, d, points[known].round(1).tolist() if few else []))
    moments = ticks(begin, end, 10)
    return TimeChart(
        title, unit, lines,
        [Tick(float(x_of(moment)), f'{moment:g}') for moment in moments if begin <= moment <= end],
        [Tick(float(y_of(level)), f'{level:g}') for level in levels],
        x_of(refused).round(1).tolist(), begin, end)


def bar_chart(title: str, unit: str,
              rows: Sequence[tuple[str, Sequence[float], str]]) -> BarChart | None:
    """Return bars: rows of (label, values, text); the first value is the bar, the rest marks."""
    if not rows:
        return None
    highest = max(max(values) for _, values, _ in rows) or 1.0
    levels = ticks(0.0, highest, 5)
    scale = (_WIDTH - _BAR_LEFT - _BAR_RIGHT) / max(highest, levels[-2])
    bottom = len(rows) * _BAR_ROW + 6.0
    return BarChart(
        title, unit,
        [Bar(label, _BAR_ROW * (index + 0.5) + 4.0,
             [_BAR_LEFT + value * scale for value in values], text)
         for index, (label, values, text) in enumerate(rows)],
        [Tick(_BAR_LEFT + level * scale, f'{level:g}') for level in levels
         if level <= max(highest, levels[-2]) * 1.001],
        bottom + 30.0, bottom=bottom)


def strip(values: np.ndarray) -> tuple[list[float], float] | None:
    """Return where each value and the median lie on a strip ``_STRIP`` px long, or None."""
    known = np.sort(values[np.isfinite(values)])
    if not len(known) or known[0] == known[-1]:
        return None
    places = (known - known[0]) / (known[-1] - known[0]) * (_STRIP - 6) + 3
    median = float(np.median(places))
    if len(places) > _MOST_DOTS:
        places = places[np.linspace(0, len(places) - 1, _MOST_DOTS).astype(int)]
    return places.round(1).tolist(), round(median, 1)
