"""The denoising step with flat inputs, in the form in which it leaves PyTorch.

``GraphSpec`` says what goes in and out, by name, shape and type: the exporter writes it, the
builder and the backends check against it, and the manifests carry it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.config import AlpamayoConfig
from alpamayo_ros.model.expert.module import ExpertStep

PREFIX = 'prefix'
"""Name of the one dimension that is open: tokens of the prompt."""
PRECISIONS = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


@dataclass(frozen=True)
class Port:
    """An input or output: ``shape`` in numbers, ``PREFIX`` where it is open; ``dtype`` as numpy
    and torch call it."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str

    def __str__(self) -> str:
        return f'{self.name} ({", ".join(map(str, self.shape))}) {self.dtype}'

    def at(self, prefix: int) -> tuple[int, ...]:
        """The shape with that many tokens of prompt."""
        return tuple(prefix if size == PREFIX else int(size) for size in self.shape)


@dataclass(frozen=True)
class GraphSpec:
    """All that decides the graph besides the weights.

    ``groups`` G reasonings with ``samples`` S candidates each, of ``waypoints`` T; prompts of 1 to
    ``max_prefix`` tokens; tails of ``tail`` tokens M, of which ``tail_length`` count;
    ``precision``: type of weights, activations, keys and values.
    """

    precision: str
    groups: int
    samples: int
    waypoints: int
    max_prefix: int
    tail: int
    layers: int
    kv_heads: int
    head_dim: int

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f'precision is {self.precision!r}; expected one of '
                             f'{", ".join(PRECISIONS)}')
        for name, value in asdict(self).items():
            if name != 'precision' and value < 1:
                raise ValueError(f'{name} is {value}; expected at least 1')

    @classmethod
    def of(cls, config: AlpamayoConfig, *, precision: str, groups: int, samples: int,
           max_prefix: int, tail: int) -> GraphSpec:
        """The graph of a checkpoint for so many candidates and tokens."""
        geometry = config.expert
        return cls(precision=precision, groups=groups, samples=samples,
                   waypoints=config.unicycle.n_waypoints, max_prefix=max_prefix, tail=tail,
                   layers=geometry.num_layers, kv_heads=geometry.num_kv_heads,
                   head_dim=geometry.head_dim)

    @property
    def candidates(self) -> int:
        return self.groups * self.samples

    @property
    def mode(self) -> str:
        """The reasoning mode it is for: ``multi`` is one reasoning a candidate."""
        return 'single' if self.groups == 1 else 'multi'

    def inputs(self) -> list[Port]:
        """In the order of the graph."""
        action = (self.groups, self.samples, self.waypoints, 2)
        prompt = (self.kv_heads, PREFIX, self.head_dim)
        tail = (self.groups, self.kv_heads, self.tail, self.head_dim)
        ports = [Port('noisy', action, 'float32'), Port('time', (), 'float32'),
                 Port('position', (self.groups,), 'int64'),
                 Port('tail_length', (self.groups,), 'int64')]
        for kind, shape in (('prompt', prompt), ('tail', tail)):
            for layer in range(self.layers):
                ports += [Port(f'{kind}_{part}_{layer}', shape, self.precision)
                          for part in ('k', 'v')]
        return ports

    def outputs(self) -> list[Port]:
        return [Port('velocity', (self.groups, self.samples, self.waypoints, 2), 'float32')]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GraphSpec:
        """``ValueError`` when a field is missing, unknown or of no use."""
        try:
            return cls(**data)
        except TypeError as error:
            raise ValueError(str(error)) from error


class StepGraph(nn.Module):
    """``ExpertStep`` with the inputs of ``GraphSpec.inputs``, in that order."""

    def __init__(self, model: AlpamayoModel) -> None:
        super().__init__()
        self.step = ExpertStep(model)

    def forward(self, noisy: Tensor, time: Tensor, position: Tensor, tail_length: Tensor,
                *cache: Tensor) -> Tensor:
        pairs = list(zip(cache[::2], cache[1::2], strict=True))
        layers = len(pairs) // 2
        tail_k = pairs[layers][0]
        cos, sin = self.step.rotary(position, noisy.shape[-2], tail_k.dtype)
        entries = torch.arange(tail_k.shape[-2], device=tail_k.device)
        beyond = entries >= tail_length[:, None]
        bias = torch.where(beyond, -torch.inf, 0.0).to(torch.float32)
        return self.step(noisy, time, cos, sin, pairs[:layers], pairs[layers:], bias)
