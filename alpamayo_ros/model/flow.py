"""Flow matching: where it starts, when it is asked, and the Euler loop in between."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def start_noise(count: int, waypoints: int, generator: torch.Generator) -> Tensor:
    """Standard normal noise (count, waypoints, 2), float32, on the CPU.

    Drawn on the CPU so that a seed means the same noise on every device.
    """
    return torch.randn(count, waypoints, 2, generator=generator, device='cpu')


def schedule(steps: int, device: torch.device | str = 'cpu') -> Tensor:
    """Flow times 0 ... 1, (steps + 1,), float32."""
    return torch.linspace(0, 1, steps + 1, device=device)


def euler(velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, times: Tensor) -> Tensor:
    """Integrate dx/dt = velocity(x, t) over ``times``; x and the result have the same shape."""
    for index in range(times.shape[0] - 1):
        x = x + (times[index + 1] - times[index]) * velocity(x, times[index])
    return x


def guided(with_navigation: Tensor, without: Tensor, weight: float) -> Tensor:
    """Navigation guidance: (1 - w) without + w with."""
    return (1 - weight) * without + weight * with_navigation
