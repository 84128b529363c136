"""Paired differences between two runs, with confidence intervals by a block bootstrap.

Both runs plan at the same instants, so each figure gives one difference an instant and what the
drive does to both falls out. Differences at neighbouring instants are alike: their futures overlap.
Drawing instants one by one would take them for independent and give intervals that are too narrow.
So whole blocks of consecutive instants are drawn (circular block bootstrap, Politis and Romano
1992), as long as a plan looks ahead, but never longer than a fifth of the drive; the interval is
the percentiles of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.compare.pairing import Pairs
from alpamayo_ros.report.metric_names import Metric, describe

RESAMPLES = 5000
LEVEL = 0.95
FEWEST = 5
"""Instants that an interval needs: from less, resampling tells nothing."""

_ROUNDING = 1e-6
_BLOCK_S = 6.4
_MOST_OF_DRIVE = 5


@dataclass(frozen=True)
class Difference:
    """A figure in two runs; ``mean`` is that of B minus A.

    ``low`` and ``high``: the confidence interval of ``mean``; NaN for less than ``FEWEST``
    instants. ``count``: where both have the figure; ``block``: how many were drawn together.
    """

    metric: Metric
    count: int
    mean_a: float
    mean_b: float
    mean: float
    low: float
    high: float
    block: int

    @property
    def worsening(self) -> float:
        """How much worse B is than A; what is neither good nor bad counts as worse either way."""
        return {'high': self.mean, 'low': -self.mean, '': abs(self.mean)}[self.metric.worse]

    @property
    def verdict(self) -> str:
        """'worse', 'better', 'different' or '' where the interval has zero in it or is missing."""
        # What rounding does is no difference.
        if not (self.low > 0 or self.high < 0) or abs(self.mean) < _ROUNDING:
            return ''
        if not self.metric.worse:
            return 'different'
        return 'worse' if self.worsening > 0 else 'better'


def compare_figures(pairs: Pairs, seed: int) -> list[Difference]:
    """Return the difference of every figure that both runs have, in the order of run A.

    Each is resampled from ``seed`` and its own name: another figure more or less changes nothing.
    """
    found = []
    for name in pairs.figure_names():
        a, b, seconds = pairs.values(name)
        if not len(a):
            continue
        block = block_length(seconds)
        rng = np.random.default_rng([seed, *name.encode('utf-8')])
        low, high = bootstrap_interval(b - a, block, rng)
        found.append(Difference(describe(name), len(a), float(a.mean()), float(b.mean()),
                                float((b - a).mean()), low, high, block))
    return found


def block_length(seconds: np.ndarray) -> int:
    """Return how many consecutive instants, at ``seconds`` (K,) ascending, make a block."""
    if len(seconds) < 2:
        return 1
    step = float(np.median(np.diff(seconds)))
    alike = int(np.ceil(_BLOCK_S / max(step, 1e-3)))
    return max(1, min(alike, len(seconds) // _MOST_OF_DRIVE))


def bootstrap_interval(differences: Sequence[float], block: int, rng: np.random.Generator,
                       resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the interval of the mean of ``differences``, in order of time, at ``LEVEL``."""
    values = np.asarray(differences, np.float64)
    count = len(values)
    if count < FEWEST:
        return float('nan'), float('nan')
    blocks = -(-count // block)
    # The sums of all blocks, round the end; of the last one only what is missing is taken.
    rest = count - (blocks - 1) * block
    around = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[:block]]))])
    whole = around[block:block + count] - around[:count]
    part = around[rest:rest + count] - around[:count]
    starts = rng.integers(0, count, (resamples, blocks))
    means = (whole[starts[:, :-1]].sum(axis=1) + part[starts[:, -1]]) / count
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)
