"""The preallocated cache of keys and values: one prompt for all, one tail a reasoning.

The prompt part is written once by prefill and read by every reasoning and every candidate. The
tail part holds what each reasoning generated. Storage is allocated by ``reserve`` and reused from
plan to plan; it grows only when a longer prompt, more groups or a longer tail are asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from alpamayo_ros.model.config import TextGeometry


class KVCache:
    """Keys and values of every layer.

    Per layer: prompt (kv_heads, L, head_dim), tail (G, kv_heads, M, head_dim). ``prompt_length``
    and ``tail_length`` say how much of them is written.
    """

    def __init__(self, geometry: TextGeometry, *, device: torch.device,
                 dtype: torch.dtype) -> None:
        self._geometry, self._device, self._dtype = geometry, device, dtype
        self._prompt: Tensor | None = None
        self._tail: Tensor | None = None
        self.prompt_length = self.tail_length = self.groups = 0

    def reserve(self, prompt_tokens: int, groups: int, tail_tokens: int) -> None:
        """Make room and forget what was written. Storage that is large enough is kept."""
        g = self._geometry
        self.prompt_length = self.tail_length = 0
        self.groups = groups
        if self._prompt is None or self._prompt.shape[3] < prompt_tokens:
            self._prompt = None  # give the old one back first
            self._prompt = torch.empty(2, g.num_layers, g.num_kv_heads, prompt_tokens, g.head_dim,
                                       device=self._device, dtype=self._dtype)
        if (self._tail is None or self._tail.shape[2] < groups
                or self._tail.shape[4] < tail_tokens):
            self._tail = None
            self._tail = torch.empty(2, g.num_layers, groups, g.num_kv_heads, tail_tokens,
                                     g.head_dim, device=self._device, dtype=self._dtype)

    @property
    def num_bytes(self) -> int:
        """Bytes of storage, both parts."""
        return sum(part.numel() * part.element_size()
                   for part in (self._prompt, self._tail) if part is not None)

    def write_prompt(self, layer: int, k: Tensor, v: Tensor) -> None:
        """k, v: (kv_heads, L, head_dim), from the prompt's first token on."""
        length = k.shape[-2]
        self._storage('prompt')[0, layer, :, :length] = k
        self._storage('prompt')[1, layer, :, :length] = v

    def write_tail(self, layer: int, k: Tensor, v: Tensor) -> None:
        """k, v: (G, kv_heads, n, head_dim), behind the ``tail_length`` tokens written so far."""
        storage, start, stop = self._storage('tail'), self.tail_length, (
            self.tail_length + k.shape[-2])
        if stop > storage.shape[4]:
            raise ValueError(f'tail of {stop} tokens; expected at most {storage.shape[4]}')
        storage[0, layer, :self.groups, :, start:stop] = k
        storage[1, layer, :self.groups, :, start:stop] = v

    def prompt(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values written to the prompt, views of (kv_heads, L, head_dim)."""
        part = self._storage('prompt')[:, layer, :, :self.prompt_length]
        return part[0], part[1]

    def tail(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values written to the tails, views of (G, kv_heads, M, head_dim)."""
        part = self._storage('tail')[:, layer, :self.groups, :, :self.tail_length]
        return part[0], part[1]

    def _storage(self, part: str) -> Tensor:
        storage = self._prompt if part == 'prompt' else self._tail
        if storage is None:
            raise ValueError(f'the {part} part of the cache is not there; expected reserve() first')
        return storage
