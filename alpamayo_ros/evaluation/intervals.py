"""95 % confidence intervals: Wilson's for rates, the bootstrap's for means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z_95 = 1.959963984540054
_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure over ``count`` scenes and its 95 % interval; NaN throughout for no scenes."""

    value: float
    low: float
    high: float
    count: int


def rate(successes: int, count: int) -> Estimate:
    """Share of successes, with Wilson's score interval; ``ValueError`` for impossible counts."""
    if not 0 <= successes <= count:
        raise ValueError(f'successes are {successes} of {count}; expected 0 to {count}')
    if not count:
        return Estimate(math.nan, math.nan, math.nan, 0)
    share, z2 = successes / count, Z_95 ** 2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 / (1 + z2 / count) * math.sqrt(
        share * (1 - share) / count + z2 / (4 * count ** 2))
    # At 0 and 1 the formula ends there exactly; rounding must not say otherwise.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == count else middle + half
    return Estimate(share, low, high, count)


def mean(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean, with the percentile interval of 2000 resamples drawn from ``seed``."""
    sample = np.asarray(values, np.float64)
    if not len(sample):
        return Estimate(math.nan, math.nan, math.nan, 0)
    if not np.isfinite(sample).all():
        value = float(sample.mean())
        return Estimate(value, value, value, len(sample))
    random = np.random.default_rng(seed)
    chosen = random.integers(0, len(sample), (_RESAMPLES, len(sample)))
    low, high = np.percentile(sample[chosen].mean(axis=1), [2.5, 97.5])
    return Estimate(float(sample.mean()), float(low), float(high), len(sample))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """``first`` less ``second`` of two draws that have nothing in common, with the interval that
    follows from their two (Newcombe 1998, method 10, for rates; Zou and Donner 2008 in general).
    """
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, low, high, min(first.count, second.count))
