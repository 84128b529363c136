"""The latest examples, each used a few times before newer ones take its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

Origin = tuple[int, int]
"""Where an item is from: the seed of its drive, and its place among what that seed gave."""


@dataclass(frozen=True)
class Seeds:
    """Seeds of drives in order: those of ``again``, then ``first`` and all that follow it."""

    first: int
    again: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[int]:
        return chain(self.again, count(self.first))


def seeds_of(left: dict[str, Any] | None, first: int) -> Seeds:
    """What to draw from for a store that begins with ``first``, or goes on with what ``Store.left``
    gave: once more the drives of what it held, then those it has not met."""
    if left is None:
        return Seeds(first)
    again = sorted(set(left['origins'][:, 0].tolist()))
    return Seeds(again[-1] + 1, tuple(again))


class Store:
    """Draws batches of ``batch`` from at most ``size`` items of ``source``.

    Every batch is preceded by as many new items as let each be drawn ``reuse`` times on average:
    the early ones more often, until the store is full, and those near the end less. What is drawn
    depends on the order of the source and on ``rng`` alone. ``prepare``: makes what is kept of an
    item, from nothing but its origin and itself.

    ``left``: what another store's ``left`` gave; this one then goes on exactly as that one would
    have, if ``source`` gives the items of ``seeds_of``. It makes again what that one held;
    ``ValueError`` when that is no longer what its drives give.
    """

    FIRST = 64

    def __init__(self, source: Iterator[tuple[Origin, Any]], rng: np.random.Generator, *,
                 batch: int, reuse: float, size: int,
                 prepare: Callable[[Origin, Any], Any] = lambda origin, item: item,
                 left: dict[str, Any] | None = None) -> None:
        self._source, self._rng, self._prepare = source, rng, prepare
        self._batch, self._fresh, self._size = batch, batch / reuse, size
        self._items: list[Any] = []
        self._origins: list[Origin] = []
        self._next, self._owed = 0, float(min(self.FIRST, size))
        if left is not None:
            self._restore(left)

    def draw(self) -> list[Any]:
        """A batch, drawn with replacement."""
        self._owed += self._fresh
        while self._owed >= 1 or not self._items:
            self._add(*next(self._source))
            self._owed -= 1
        return [self._items[index]
                for index in self._rng.integers(len(self._items), size=self._batch)]

    def left(self) -> dict[str, Any]:
        """All that is needed to go on later, in what ``torch.save`` takes."""
        return {'origins': torch.tensor(self._origins), 'next': self._next, 'owed': self._owed,
                'random': json.dumps(self._rng.bit_generator.state)}

    def _add(self, origin: Origin, item: Any) -> None:
        item = self._prepare(origin, item)
        if len(self._items) < self._size:
            self._items.append(item)
            self._origins.append(origin)
        else:
            self._items[self._next] = item
            self._origins[self._next] = origin
            self._next = (self._next + 1) % self._size

    def _restore(self, left: dict[str, Any]) -> None:
        self._origins = [tuple(origin) for origin in left['origins'].tolist()]
        self._next, self._owed = left['next'], left['owed']
        self._rng.bit_generator.state = json.loads(left['random'])
        places = {origin: place for place, origin in enumerate(self._origins)}
        latest = max(places)
        self._items = [None] * len(places)
        with tqdm(total=len(places), desc='drawn before', mininterval=5) as bar:
            for origin, item in self._source:
                if origin in places:
                    self._items[places[origin]] = self._prepare(origin, item)
                    bar.update()
                if origin >= latest:
                    break
        if any(item is None for item in self._items):
            raise ValueError('the drives are not those that the interrupted run had drawn; '
                             'expected to go on with the version that began it, or another '
                             'directory')
