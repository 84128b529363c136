"""The preallocated cache of keys and values: one prompt for all, one tail a reasoning.

The prompt part is written once by prefill and read by every reasoning and every candidate. The
tail part holds what each reasoning generated. Storage is allocated by ``reserve`` and reused from
plan to plan; it grows only when a longer prompt, more groups or a longer tail are asked for.

Every layer has a stretch of storage at a fixed address and its keys fill it from the front without
gaps, whatever the lengths of the plan are. An engine that wants contiguous inputs can so read the
cache where it lies and stay bound to it from plan to plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from alpamayo_ros.model.config import TextGeometry

# A layer's stretch is a multiple of this many elements, so that each begins as aligned as the
# whole does; engines ask for 256 bytes.
_ALIGNMENT = 256


@dataclass(frozen=True)
class CacheRoom:
    """Room in tokens: the prompt, the tail of each of ``groups`` reasonings."""

    prompt: int = 0
    groups: int = 0
    tail: int = 0


class KVCache:
    """Keys and values of every layer.

    Per layer: prompt (kv_heads, L, head_dim), tail (G, kv_heads, M, head_dim). ``prompt_length``
    and ``tail_length`` say how much of them is written. ``least``: room that is allocated at
    once, however little is asked for; storage then keeps its address.
    """

    def __init__(self, geometry: TextGeometry, *, device: torch.device,
                 dtype: torch.dtype, least: CacheRoom | None = None) -> None:
        self._geometry, self._device, self._dtype = geometry, device, dtype
        self._least = least or CacheRoom()
        self._room = CacheRoom()
        self._prompt: Tensor | None = None
        self._tail: Tensor | None = None
        self.prompt_length = self.tail_length = 0

    @property
    def groups(self) -> int:
        """Reasonings G that tails were reserved for."""
        return self._room.groups

    @property
    def num_layers(self) -> int:
        return self._geometry.num_layers

    @property
    def dtype(self) -> torch.dtype:
        """Type of keys and values."""
        return self._dtype

    def reserve(self, prompt_tokens: int, groups: int, tail_tokens: int) -> None:
        """Make room and forget what was written. Storage that is large enough is kept."""
        self.prompt_length = self.tail_length = 0
        self._room, least = CacheRoom(prompt_tokens, groups, tail_tokens), self._least
        if self._elements(prompt_tokens) > _size(self._prompt):
            self._prompt = None  # give the old one back first
            self._prompt = self._allocate(max(prompt_tokens, least.prompt))
        if self._elements(groups * tail_tokens) > _size(self._tail):
            self._tail = None
            self._tail = self._allocate(max(groups * tail_tokens, least.groups * least.tail))
        # Who reads a tail beyond its end, to mask it, multiplies what lies there by zero.
        self._tail.zero_()

    @property
    def num_bytes(self) -> int:
        """Bytes of storage, both parts."""
        return sum(part.numel() * part.element_size()
                   for part in (self._prompt, self._tail) if part is not None)

    def write_prompt(self, layer: int, k: Tensor, v: Tensor) -> None:
        """k, v: (kv_heads, L, head_dim), from the prompt's first token on."""
        length, room = k.shape[-2], self._room.prompt
        if length > room:
            raise ValueError(f'prompt of {length} tokens; expected at most {room}')
        for storage, value in zip(self._prompt_room(layer), (k, v), strict=True):
            storage[:, :length] = value

    def write_tail(self, layer: int, k: Tensor, v: Tensor) -> None:
        """k, v: (G, kv_heads, n, head_dim), behind the ``tail_length`` tokens written so far."""
        start, stop, room = self.tail_length, self.tail_length + k.shape[-2], self._room.tail
        if stop > room:
            raise ValueError(f'tail of {stop} tokens; expected at most {room}')
        for storage, value in zip(self.tail_room(layer), (k, v), strict=True):
            storage[:, :, start:stop] = value

    def prompt(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values written to the prompt, views of (kv_heads, L, head_dim), contiguous
        where as many tokens were written as were reserved."""
        k, v = self._prompt_room(layer)
        return k[:, :self.prompt_length], v[:, :self.prompt_length]

    def tail(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values written to the tails, views of (G, kv_heads, M, head_dim)."""
        k, v = self.tail_room(layer)
        return k[:, :, :self.tail_length], v[:, :, :self.tail_length]

    def tail_room(self, layer: int) -> tuple[Tensor, Tensor]:
        """The tails with all that was reserved, contiguous views of (G, kv_heads, room, head_dim);
        zero behind ``tail_length``."""
        g, room = self._geometry, self._room
        shape = room.groups, g.num_kv_heads, room.tail, g.head_dim
        return self._views(self._tail, 'tail', layer, shape)

    def _prompt_room(self, layer: int) -> tuple[Tensor, Tensor]:
        g = self._geometry
        shape = g.num_kv_heads, self._room.prompt, g.head_dim
        return self._views(self._prompt, 'prompt', layer, shape)

    def _views(self, storage: Tensor | None, part: str, layer: int, shape: tuple[int, ...]
               ) -> tuple[Tensor, Tensor]:
        if storage is None:
            raise ValueError(f'the {part} part of the cache is not there; expected reserve() first')
        used = storage[:, layer, :math.prod(shape)]
        return used[0].view(shape), used[1].view(shape)

    def _elements(self, tokens: int) -> int:
        """Elements of one layer's keys for that many tokens, padded to the alignment."""
        count = tokens * self._geometry.num_kv_heads * self._geometry.head_dim
        return -(-count // _ALIGNMENT) * _ALIGNMENT

    def _allocate(self, tokens: int) -> Tensor:
        """Storage (2, layers, elements)."""
        return torch.empty(2, self._geometry.num_layers, self._elements(tokens),
                           device=self._device, dtype=self._dtype)


def _size(storage: Tensor | None) -> int:
    """Elements there are for one layer's keys; -1 where nothing was allocated yet."""
    return -1 if storage is None else storage.shape[-1]
