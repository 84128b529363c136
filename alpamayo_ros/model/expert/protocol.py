"""What a backend of the expert is given and what it must do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from alpamayo_ros.model.kv_cache import CacheRoom, KVCache


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


@dataclass(frozen=True)
class ExpertOptions:
    """What will be asked of a backend.

    ``groups`` reasonings with ``samples`` candidates each; ``max_tail``: longest reasoning in
    tokens; ``max_prefix``: longest prompt in tokens where it is known beforehand;
    ``engine_dir``: where the commands ``export`` and ``build-engine`` wrote; ``fingerprint``: of
    the expert's weights. Backends that are made for certain shapes need them all.
    """

    groups: int = 1
    samples: int = 1
    max_tail: int = 256
    max_prefix: int | None = None
    engine_dir: Path | None = None
    fingerprint: str = ''


class ExpertBackend(Protocol):
    """Runs the whole Euler loop, so that a backend may capture it as one graph.

    ``room``: what the cache has room for from the start, because the backend was made for it;
    None where it takes any.
    """

    name: str
    room: CacheRoom | None

    def fitted(self, wanted: CacheRoom) -> CacheRoom:
        """What is to be reserved for a plan that needs ``wanted``; ``EngineError`` where the
        backend was not made for so much."""
        ...

    def integrate(self, noise: Tensor, times: Tensor, context: ExpertContext, *,
                  guidance: Guidance | None = None,
                  should_stop: Callable[[], bool]) -> Tensor:
        """noise (G, S, T, 2) float32 and flow times (steps + 1,) to normalised actions
        (G, S, T, 2). Raises ``PlanCancelled`` when asked to stop between steps."""
        ...

    def close(self) -> None:
        """Give memory back; the backend is not used afterwards."""
        ...
