"""The latest examples, each used a few times before newer ones take its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class Store:
    """Draws batches of ``batch`` from at most ``size`` items of ``source``.

    Every batch is preceded by as many new items as let each be drawn ``reuse`` times on average:
    the early ones more often, until the store is full, and those near the end less. What is drawn
    depends on the order of the source and on ``rng`` alone.
    """

    FIRST = 64

    def __init__(self, source: Iterator[Any], rng: np.random.Generator, *, batch: int,
                 reuse: float, size: int, prepare: Callable[[Any], Any] = lambda item: item
                 ) -> None:
        self._source, self._rng, self._prepare = source, rng, prepare
        self._batch, self._fresh, self._size = batch, batch / reuse, size
        self._items: list[Any] = []
        self._next, self._owed = 0, float(min(self.FIRST, size))

    def draw(self) -> list[Any]:
        """A batch, drawn with replacement."""
        self._owed += self._fresh
        while self._owed >= 1 or not self._items:
            self._add(self._prepare(next(self._source)))
            self._owed -= 1
        return [self._items[index]
                for index in self._rng.integers(len(self._items), size=self._batch)]

    def _add(self, item: Any) -> None:
        if len(self._items) < self._size:
            self._items.append(item)
        else:
            self._items[self._next] = item
            self._next = (self._next + 1) % self._size
