"""Trajectories as integers: the delta tokenizer (ego history) and the discrete one (actions).

Both scale a value from [low, high] to [0, bins - 1], round to the nearest integer and clamp. They
work on float32 tensors with any leading batch dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alpamayo_ros.model.unicycle import heading, unwrap


def _bins_and_bounds(config: Mapping[str, Any], bins: int, names: tuple[str, str],
                     defaults: tuple[tuple[float, ...], tuple[float, ...]]
                     ) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """``num_bins`` and the two bounds of a tokenizer; ``ValueError`` names what does not fit."""
    bins = config.get('num_bins', bins)
    if type(bins) is not int or bins < 2:
        raise ValueError(f"'num_bins' is {bins!r}; expected at least 2")
    values = [config.get(name, default) for name, default in zip(names, defaults, strict=True)]
    for name, value, default in zip(names, values, defaults, strict=True):
        if not isinstance(value, (list, tuple)) or len(value) != len(default) or not all(
                type(number) in (int, float) and math.isfinite(number) for number in value):
            raise ValueError(f"'{name}' is {value!r}; expected {len(default)} numbers")
    low, high = (tuple(float(number) for number in value) for value in values)
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise ValueError(f"'{names[0]}' is {list(low)}; expected less than '{names[1]}' "
                         f'{list(high)} everywhere')
    return bins, low, high


def _quantise(value: Tensor, low: Tensor, high: Tensor, bins: int) -> Tensor:
    scaled = (value - low) / (high - low) * (bins - 1)
    return scaled.round().long().clamp(0, bins - 1)


def _restore(token: Tensor, low: Tensor, high: Tensor, bins: int) -> Tensor:
    return token.to(low.dtype) / (bins - 1) * (high - low) + low


@dataclass(frozen=True)
class DeltaTokenizer:
    """First differences of positions, each axis in ``bins`` bins between ``low`` and ``high`` m.

    With ``yaw`` a fourth value per step follows: the difference of the negated yaw between -pi and
    pi radians.
    """

    bins: int = 1000
    low: tuple[float, ...] = (-4.0, -4.0, -10.0)
    high: tuple[float, ...] = (4.0, 4.0, 10.0)
    yaw: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DeltaTokenizer:
        """Read ``hist_traj_tokenizer_cfg``; ``ValueError`` names what does not fit."""
        return cls(*_bins_and_bounds(config, cls.bins, ('ego_xyz_min', 'ego_xyz_max'),
                                     (cls.low, cls.high)),
                   yaw=bool(config.get('predict_yaw', False)))

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        pi = (torch.pi,) if self.yaw else ()
        low = torch.tensor(self.low + tuple(-v for v in pi), dtype=like.dtype, device=like.device)
        return low, torch.tensor(self.high + pi, dtype=like.dtype, device=like.device)

    def encode(self, xyz: Tensor, rot: Tensor | None = None) -> Tensor:
        """Positions (..., P, 3) m, oldest first, to tokens (..., P * 3): x0 y0 z0 x1 ...

        The first difference is the first position itself. With ``yaw``, ``rot`` (..., P, 3, 3) is
        needed and each step has four tokens.
        """
        values = torch.diff(torch.cat([torch.zeros_like(xyz[..., :1, :]), xyz], dim=-2), dim=-2)
        if self.yaw:
            if rot is None:
                raise ValueError('rot is None; expected rotations, since this tokenizer has yaw')
            turned = -heading(rot)
            turned = unwrap(torch.cat([torch.zeros_like(turned[..., :1]), turned], dim=-1))
            values = torch.cat([values, torch.diff(turned, dim=-1)[..., None]], dim=-1)
        return _quantise(values, *self._bounds(xyz), self.bins).flatten(-2)

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens (..., P * 3) back to positions (..., P, 3) m, float32."""
        width = 4 if self.yaw else 3
        low, high = self._bounds(torch.zeros(0))
        low, high = low.to(tokens.device), high.to(tokens.device)
        steps = _restore(tokens.unflatten(-1, (-1, width)), low, high, self.bins)
        return torch.cumsum(steps[..., :3], dim=-2)


@dataclass(frozen=True)
class DiscreteTokenizer:
    """Normalised actions (..., T, 2), each value in ``bins`` bins between ``low`` and ``high``."""

    bins: int = 3000
    low: tuple[float, ...] = (-10.0, -10.0)
    high: tuple[float, ...] = (10.0, 10.0)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DiscreteTokenizer:
        """Read ``traj_tokenizer_cfg``; ``ValueError`` names what does not fit."""
        return cls(*_bins_and_bounds(config, cls.bins, ('dims_min', 'dims_max'),
                                     (cls.low, cls.high)))

    def encode(self, action: Tensor) -> Tensor:
        """Actions (..., T, 2) to tokens (..., T * 2)."""
        low = torch.tensor(self.low, dtype=action.dtype, device=action.device)
        high = torch.tensor(self.high, dtype=action.dtype, device=action.device)
        return _quantise(action, low, high, self.bins).flatten(-2)

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens (..., T * 2) back to actions (..., T, 2), float32."""
        low = torch.tensor(self.low, device=tokens.device)
        high = torch.tensor(self.high, device=tokens.device)
        return _restore(tokens.unflatten(-1, (-1, 2)), low, high, self.bins)
