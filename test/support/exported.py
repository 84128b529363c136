"""Exports and engines that several tests look at, made once a run: each takes seconds."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from alpamayo_ros.model.config import AlpamayoConfig, TextGeometry, load_config
from alpamayo_ros.model.expert import trt
from alpamayo_ros.model.expert.build import build_engine
from alpamayo_ros.model.expert.export import export_checkpoint
from alpamayo_ros.model.expert.graph import GraphSpec
from alpamayo_ros.model.expert.protocol import ExpertContext
from alpamayo_ros.model.kv_cache import CacheRoom, KVCache

MAX_PREFIX, TAIL = 512, 16


def spec_for(config: AlpamayoConfig, precision: str = 'float16', groups: int = 1,
             samples: int = 4, max_prefix: int = MAX_PREFIX, tail: int = TAIL) -> GraphSpec:
    return GraphSpec.of(config, precision=precision, groups=groups, samples=samples,
                        max_prefix=max_prefix, tail=tail)


def _folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix='alpamayo-test-'))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def exported(checkpoint: Path, precision: str, groups: int = 1, samples: int = 4) -> Path:
    """A directory with the export; to be read only."""
    config, folder = load_config(checkpoint), _folder()
    export_checkpoint(config, spec_for(config, precision, groups, samples), folder,
                      report=lambda _: None)
    return folder


def any_flavour() -> trt.Flavour:
    """A TensorRT that builds here; skips where there is none."""
    for name in trt.FLAVOURS:
        flavour = trt.installed(name)
        if flavour is not None and (flavour.builds_without_gpu or torch.cuda.is_available()):
            return flavour
    pytest.skip('no TensorRT that builds on this machine can be imported')


@functools.cache
def built(checkpoint: Path, precision: str, groups: int = 1, samples: int = 4) -> Path:
    """A copy of ``exported`` with the engine; to be read only."""
    flavour = any_flavour()
    config = load_config(checkpoint)
    folder = copied(exported(checkpoint, precision, groups, samples))
    build_engine(config, spec_for(config, precision, groups, samples), folder, flavour=flavour,
                 report=lambda _: None)
    return folder


def copied(directory: Path) -> Path:
    """A copy to be changed."""
    folder = _folder()
    shutil.copytree(directory, folder, dirs_exist_ok=True)
    return folder


def random_context(geometry: TextGeometry, dtype: torch.dtype, *, prompt: int, ends: list[int],
                   room: int = TAIL, seed: int = 0, least: CacheRoom | None = None
                   ) -> ExpertContext:
    """A cache of random keys and values; the tails end at ``ends``, what follows counts for
    nothing."""
    generator = torch.Generator().manual_seed(seed)
    cache = KVCache(geometry, device=torch.device('cpu'), dtype=dtype, least=least)
    cache.reserve(prompt, len(ends), room)
    heads, dim = geometry.num_kv_heads, geometry.head_dim
    for layer in range(geometry.num_layers):
        cache.write_prompt(layer, *torch.randn(2, heads, prompt, dim, generator=generator))
        cache.write_tail(layer, *torch.randn(2, len(ends), heads, max(ends), dim,
                                             generator=generator))
    cache.prompt_length, cache.tail_length = prompt, max(ends)
    length = torch.tensor(ends)
    return ExpertContext(cache, length, prompt + length - 3)
