"""What a backend of the expert is given and what it must do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from alpamayo_ros.model.kv_cache import KVCache


@dataclass(frozen=True)
class ExpertContext:
    """What the candidates attend to.

    ``cache``: the VLM's cache with G tails; ``tail_length``: (G,) entries of each tail that count;
    ``position``: (G,) position id of the first waypoint's token.
    """

    cache: KVCache
    tail_length: Tensor
    position: Tensor


@dataclass(frozen=True)
class Guidance:
    """Navigation guidance: the context without the instruction, and the difference's weight."""

    without: ExpertContext
    weight: float


class ExpertBackend(Protocol):
    """Runs the whole Euler loop, so that a backend may capture it as one graph."""

    name: str

    def integrate(self, noise: Tensor, times: Tensor, context: ExpertContext, *,
                  guidance: Guidance | None = None,
                  should_stop: Callable[[], bool]) -> Tensor:
        """noise (G, S, T, 2) float32 and flow times (steps + 1,) to normalised actions
        (G, S, T, 2). Raises ``PlanCancelled`` when asked to stop between steps."""
        ...

    def close(self) -> None:
        """Give memory back; the backend is not used afterwards."""
        ...
