"""Comparing the result of the denoising loop, also where float32 cannot decide it digit by digit.

With random weights the velocity field is rough: the input projection holds frequencies up to 100
per unit, and one step stretches a difference ten- to fifty-fold. Over ten steps the rounding of a
single float32 operation grows to the size of the field's small structure, so two runs of one
implementation on two processors, or with two builds of one matrix product, end far more than 1e-4
apart. That was seen with the released implementation itself: its results on one machine are not
its results on another.

So a loop whose error is beyond tolerance is judged by its own sensitivity. The loop is run again
from starts that differ by float32 rounding. If those runs agree with each other within tolerance,
the case is well conditioned and has failed. If they do not, the recorded result must be one of
them: its mean distance to the runs may not exceed their mean distance from each other by more than
``MAX_DISTANCE_RATIO``. A position id off by one, a cache entry too few or an output scaled by 2 %
give ratios of 1.2 to 1.8; a right implementation gives 0.9 to 1.05.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_DISTANCE_RATIO = 1.15
RUNS = 8
ROUNDING = {'float32': 2.0 ** -24, 'float16': 2.0 ** -11, 'bfloat16': 2.0 ** -8}
"""Relative rounding of a result in each type."""


@dataclass(frozen=True)
class Sensitivity:
    """``spread``: largest difference between runs that differ by rounding; ``ratio``: mean distance
    of the recorded result to the runs over their mean distance from each other."""

    spread: float
    ratio: float

    @property
    def consistent(self) -> bool:
        """Whether the recorded result could be one of the runs."""
        return self.ratio <= MAX_DISTANCE_RATIO


def sensitivity(run: Callable[[Tensor], Tensor], noise: Tensor, recorded: Tensor, *,
                dtype: str = 'float32') -> Sensitivity:
    """Run the loop from ``RUNS`` starts that differ from ``noise`` by the rounding of ``dtype``."""
    generator = torch.Generator().manual_seed(0)
    runs = torch.stack([
        run(noise * (1 + ROUNDING[dtype] * torch.randn(noise.shape, generator=generator)))
        for _ in range(RUNS)])
    pairs = [(runs[i] - runs[j]).abs() for i in range(RUNS) for j in range(i)]
    between = torch.stack([pair.mean() for pair in pairs]).mean()
    to_recorded = (runs - recorded).abs().mean()
    return Sensitivity(spread=max(float(pair.max()) for pair in pairs),
                       ratio=float(to_recorded / between.clamp(min=1e-12)))
