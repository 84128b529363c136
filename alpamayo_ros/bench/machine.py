"""What a measurement was made on: hardware, versions, how busy it was."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

import torch

import alpamayo_ros

_PACKAGES = ('torch', 'transformers', 'tokenizers', 'numpy', 'pillow', 'simplejpeg')


def cpu_name() -> str:
    """The processor's name as the kernel gives it, or the architecture."""
    try:
        text = Path('/proc/cpuinfo').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return platform.machine()
    for line in text.splitlines():
        key, _, value = line.partition(':')
        if key.strip() in ('model name', 'Model', 'Hardware'):
            return value.strip()
    return platform.machine()


def describe(device: torch.device) -> dict[str, object]:
    """Hardware, versions and date, for a table's head and for JSON."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    machine: dict[str, object] = {
        'cpu': cpu_name(), 'cores': len(os.sched_getaffinity(0)),
        'memory_gib': round(memory / 2 ** 30, 1), 'gpu': None,
        'load_average_before': round(os.getloadavg()[0], 2)}
    if device.type == 'cuda':
        machine['gpu'] = torch.cuda.get_device_name(device)
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        'date': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'machine': machine,
        'versions': {'alpamayo_ros': alpamayo_ros.__version__,
                     'python': platform.python_version(), **versions,
                     'cuda': torch.version.cuda if device.type == 'cuda' else None},
        'torch_threads': torch.get_num_threads()}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
