"""Drives rendered ahead of time in processes of their own, in an order that only seeds decide."""

from __future__ import annotations

import multiprocessing
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any

from alpamayo_ros.training.store import Origin, Seeds

_AHEAD = 6
_PATIENCE_S = 300.0

Maker = Callable[[int], Sequence[Any]]
"""Makes what one seed gives; a module-level function or a ``functools.partial`` of one."""


class Stream:
    """What ``make`` gives for each of ``seeds``, one item after the other with its origin, made by
    ``workers`` processes.

    Worker w makes every ``workers``-th seed and the results are taken in turn, so that their order
    does not depend on how fast anyone is. A context manager: leaving it ends the processes.
    """

    def __init__(self, make: Maker, seeds: Seeds, workers: int) -> None:
        context = multiprocessing.get_context('spawn')
        self._seeds = seeds
        self._queues = [context.Queue(maxsize=_AHEAD) for _ in range(workers)]
        self._processes = [
            context.Process(target=_work, args=(make, seeds, index, workers, results), daemon=True)
            for index, results in enumerate(self._queues)]

    def __enter__(self) -> Stream:
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def __iter__(self) -> Iterator[tuple[Origin, Any]]:
        sources = cycle(zip(self._processes, self._queues, strict=True))
        for seed, source in zip(self._seeds, sources, strict=False):
            for place, item in enumerate(self._take(*source)):
                yield (seed, place), item

    def _take(self, process: Any, results: Any) -> Sequence[Any]:
        waited = 0.0
        while waited < _PATIENCE_S:
            try:
                made = results.get(timeout=5.0)
            except queue.Empty:
                waited += 5.0
                if not process.is_alive():
                    raise RuntimeError(f'a worker ended with exit code {process.exitcode}; '
                                       'expected it to go on making drives') from None
                continue
            if isinstance(made, str):
                raise RuntimeError(f'a worker failed: {made}')
            return made
        raise RuntimeError(f'a worker gave nothing for {_PATIENCE_S:.0f} s; expected a drive')


def _work(make: Maker, seeds: Seeds, index: int, workers: int, results: Any) -> None:
    import signal

    import cv2
    import torch
    # A keypress for the parent ends the workers through the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results.cancel_join_thread()
    for seed in islice(seeds, index, None, workers):
        made: list[Any] | str
        try:
            made = list(make(seed))
        except Exception as error:  # told to the parent, which ends everything
            made = f'seed {seed}: {type(error).__name__}: {error}'
        if not _handed_over(made, results):
            return
        if isinstance(made, str):
            break
    time.sleep(_AHEAD)  # until the queue's thread has written it


def _handed_over(made: list[Any] | str, results: Any) -> bool:
    """Wait for room in the queue; False when the parent is gone, however it went."""
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        try:
            results.put(made, timeout=2.0)
            return True
        except queue.Full:
            continue
    return False
