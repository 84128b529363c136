"""How the C library is to treat the memory that training's large tensors come and go in."""

from __future__ import annotations

import ctypes

# Options of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_PAD_BYTES = 256 * 1024 * 1024


def keep_freed_memory() -> None:
    """Keep freed memory in the process where the C library is glibc; elsewhere do nothing.

    By default every large tensor is mapped anew and handed back when freed, and clearing the new
    pages costs a third of the time of a training step on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
        mallopt(_TOP_PAD, _PAD_BYTES)
