"""What the machine at hand can do, copy bandwidth and matrix rate; and what memory work takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

from alpamayo_ros.bench.counts import Rates
from alpamayo_ros.bench.measure import take_turns

# Larger than any cache: bytes that are copied, and rows and columns of the matrices.
_SIZES = {'cpu': (256 << 20, 3072), 'cuda': (2 << 30, 8192)}
_REPEATS = 5
_CLEAR_REFS, _STATUS = Path('/proc/self/clear_refs'), Path('/proc/self/status')
_RESET_PEAK = '5'
Result = TypeVar('Result')


def measure_rates(device: torch.device, dtype: torch.dtype, *, copied: int | None = None,
                  side: int | None = None) -> Rates:
    """The best of some repeats, in turns: copying ``copied`` bytes (which moves twice as many) and
    the product of two matrices of ``side`` x ``side`` in ``dtype``."""
    usual = _SIZES[device.type]
    count, side = (copied or usual[0]) // dtype.itemsize, side or usual[1]
    source = torch.ones(count, device=device, dtype=dtype)
    target = torch.empty_like(source)
    a = torch.ones(side, side, device=device, dtype=dtype)
    product = torch.empty_like(a)

    def synchronise() -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)

    with torch.inference_mode():
        took = take_turns({'copy': lambda: target.copy_(source),
                           'product': lambda: torch.mm(a, a, out=product)},
                          repeats=_REPEATS, synchronise=synchronise)
    copy_s, product_s = (min(timing.milliseconds) / 1e3 for timing in took.values())
    return Rates(2 * source.nbytes / copy_s, 2 * side ** 3 / product_s)


def peak_bytes(device: torch.device, action: Callable[[], Result]) -> tuple[Result, int | None]:
    """Run it; what it returns, and the most memory that was in use meanwhile: of the GPU as
    PyTorch allocated it, on a CPU of the whole process. None where the system does not tell."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        return action(), torch.cuda.max_memory_allocated(device)
    known = False
    with suppress(OSError):
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding='ascii')
        known = True
    return action(), _peak_resident() if known else None


def _peak_resident() -> int | None:
    """The largest resident size since it was last reset, from the kernel."""
    with suppress(OSError):
        for line in _STATUS.read_text(encoding='ascii', errors='replace').splitlines():
            name, _, value = line.partition(':')
            if name == 'VmHWM':
                return int(value.split()[0]) << 10
    return None
