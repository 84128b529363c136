"""What a user may choose about planning, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral

REASONING_MODES = ('single', 'multi')
_MAY_BE_NONE = ('top_k', 'num_inference_steps', 'min_pixels', 'max_pixels')
_WHOLE = ('num_candidates', 'max_generation_length', 'seed', *_MAY_BE_NONE)


def _require(ok: bool, name: str, value: object, expected: str) -> None:
    if not ok:
        raise ValueError(f'{name} is {value!r}; expected {expected}')


@dataclass(frozen=True)
class PlausibilityLimits:
    """Bounds a candidate must keep to be published as a plan.

    ``max_start_offset_m``: how far beyond one step at the current speed the first waypoint may
    lie from the vehicle. ``max_backward_m``: how far a path may run backwards in all.
    ``max_accel_mps2`` and ``max_decel_mps2`` (positive), ``max_curvature_1pm``,
    ``max_lateral_accel_mps2``: bounds on every step of the path.
    """

    max_start_offset_m: float = 1.0
    max_backward_m: float = 0.5
    max_accel_mps2: float = 6.0
    max_decel_mps2: float = 9.0
    max_curvature_1pm: float = 0.33
    max_lateral_accel_mps2: float = 8.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            _require(math.isfinite(value) and value > 0, name, value, 'a number above 0')


@dataclass(frozen=True)
class PlannerSettings:
    """How a plan is made.

    ``num_candidates``: trajectories a plan. ``reasoning_mode``: ``single`` (one reasoning whose
    cache all candidates share) or ``multi`` (one reasoning a candidate). ``temperature``,
    ``top_p``, ``top_k`` (None: off; 1: greedy), ``max_generation_length`` (tokens): the sampling
    of the reasoning. ``guidance_weight``: navigation guidance of 1.5, 0 is off.
    ``num_inference_steps``: Euler steps, None takes the checkpoint's. ``min_pixels`` and
    ``max_pixels``: image budget, None takes the checkpoint's. ``seed``: every plan is drawn from
    this seed, so a plan depends on its observation alone. ``limits``: plausibility bounds.
    """

    num_candidates: int = 32
    reasoning_mode: str = 'single'
    temperature: float = 0.6
    top_p: float = 0.98
    top_k: int | None = None
    max_generation_length: int = 256
    guidance_weight: float = 0.0
    num_inference_steps: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    seed: int = 0
    limits: PlausibilityLimits = field(default_factory=PlausibilityLimits)

    def __post_init__(self) -> None:
        for name in _WHOLE:
            value = getattr(self, name)
            _require(isinstance(value, Integral) and not isinstance(value, bool)
                     or value is None and name in _MAY_BE_NONE, name, value, 'a whole number')
        _require(self.num_candidates >= 1, 'num_candidates', self.num_candidates, 'at least 1')
        _require(self.reasoning_mode in REASONING_MODES, 'reasoning_mode', self.reasoning_mode,
                 'one of ' + ', '.join(REASONING_MODES))
        _require(math.isfinite(self.temperature) and self.temperature > 0, 'temperature',
                 self.temperature, 'a number above 0')
        _require(0 < self.top_p <= 1, 'top_p', self.top_p, 'above 0 and at most 1')
        _require(self.top_k is None or self.top_k >= 1, 'top_k', self.top_k,
                 'at least 1, or None for off')
        _require(self.max_generation_length >= 1, 'max_generation_length',
                 self.max_generation_length, 'at least 1')
        _require(math.isfinite(self.guidance_weight) and self.guidance_weight >= 0,
                 'guidance_weight', self.guidance_weight, 'a number of at least 0')
        _require(self.num_inference_steps is None or self.num_inference_steps >= 1,
                 'num_inference_steps', self.num_inference_steps, 'at least 1, or None')
        _require(self.min_pixels is None or self.min_pixels >= 1, 'min_pixels', self.min_pixels,
                 'at least 1, or None')
        _require(self.max_pixels is None or self.max_pixels >= (self.min_pixels or 1),
                 'max_pixels', self.max_pixels, 'at least min_pixels, or None')
        _require(0 <= self.seed < 2 ** 63, 'seed', self.seed, '0 to 2^63 - 1')
