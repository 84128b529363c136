"""From noisy actions and flow time to the expert's input, one vector a waypoint.

Computed in float32 whatever the model's dtype: the highest Fourier frequency turns an error of a
half-precision input into a wrong phase.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from alpamayo_ros.model.config import ActionProjectionGeometry
from alpamayo_ros.model.layers import RMSNorm

_RMS_EPS = 1e-5


class FourierFeatures(nn.Module):
    """sin and cos of a scalar at log-spaced frequencies from 1 to ``max_freq``."""

    freqs: Tensor

    def __init__(self, features: int, max_freq: float, *, stored: bool) -> None:
        super().__init__()
        self.half, self.max_freq = features // 2, max_freq
        self.register_buffer('freqs', torch.empty(1, self.half), persistent=stored)

    def materialise(self, device: torch.device) -> None:
        """Compute the frequencies where the checkpoint does not hold them."""
        freqs = torch.logspace(0, math.log10(self.max_freq), self.half)
        self.freqs = freqs[None].to(device)

    def forward(self, x: Tensor) -> Tensor:
        """x (...) to (..., features)."""
        angle = x[..., None] * self.freqs * (2 * torch.pi)
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1) * 2 ** 0.5


class Encoder(nn.Module):
    """The MLP; positions in ``trunk`` are those of the checkpoint's weight names."""

    def __init__(self, width_in: int, hidden: int, width_out: int, layers: int) -> None:
        super().__init__()
        trunk: list[nn.Module] = [nn.Linear(width_in, hidden), nn.SiLU()]
        for index in range(layers):
            last = index == layers - 1
            trunk += [RMSNorm(hidden, _RMS_EPS), nn.Linear(hidden, width_out if last else hidden)]
            if not last:
                trunk.append(nn.SiLU())
        self.trunk = nn.Sequential(*trunk)

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(x)


class ActionProjection(nn.Module):
    """``action_in_proj``: (acceleration, curvature, time) per waypoint to the expert's width."""

    def __init__(self, geometry: ActionProjectionGeometry, width: int, *,
                 stored_freqs: bool) -> None:
        super().__init__()
        features, top = geometry.num_fourier_feats, geometry.max_freq
        self.sinus = nn.ModuleList(
            FourierFeatures(features, top, stored=stored_freqs) for _ in range(2))
        self.timestep_fourier_encoder = FourierFeatures(features, top, stored=stored_freqs)
        self.encoder = Encoder(3 * features, geometry.hidden_size, width, geometry.num_enc_layers)
        self.norm = nn.LayerNorm(width)

    def forward(self, action: Tensor, time: Tensor) -> Tensor:
        """action (..., T, 2) float32, time a scalar tensor, to (..., T, width) float32."""
        parts = [self.sinus[axis](action[..., axis]) for axis in (0, 1)]
        parts.append(self.timestep_fourier_encoder(time.expand(action.shape[:-1])))
        return self.norm(self.encoder(torch.cat(parts, dim=-1)))
