"""The cache: what is kept, what grows, what is refused, and what the views show."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from golden_data import R1

from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.kv_cache import CacheRoom, KVCache

GEOMETRY = dataclasses.replace(load_config(R1).text, num_layers=3, num_kv_heads=2, head_dim=16)
TOKEN = 2 * GEOMETRY.num_layers * GEOMETRY.num_kv_heads * GEOMETRY.head_dim
"""Elements of keys and values of one token in all layers."""


def make(least: CacheRoom | None = None, dtype=torch.float32) -> KVCache:
    return KVCache(GEOMETRY, device=torch.device('cpu'), dtype=dtype, least=least)


def draw(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator), torch.randn(*shape, generator=generator)


def addresses(cache: KVCache) -> tuple[int, int]:
    return cache.prompt(0)[0].data_ptr(), cache.tail(0)[0].data_ptr()


def test_bytes_are_those_of_the_tokens():
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        cache = make(dtype=dtype)
        assert cache.num_bytes == 0 and cache.dtype == dtype
        cache.reserve(64, 4, 16)  # 64 tokens each: no padding
        assert cache.num_bytes == (64 + 64) * TOKEN * size
        assert cache.prompt(0)[0].dtype == dtype


def test_storage_is_kept_until_more_is_asked_for():
    cache = make()
    cache.reserve(80, 4, 8)
    first, size = addresses(cache), cache.num_bytes
    for prompt, groups, tail in ((80, 4, 8), (1, 1, 1), (80, 32, 1), (50, 1, 32), (80, 4, 8)):
        cache.reserve(prompt, groups, tail)
        assert addresses(cache) == first and cache.num_bytes == size
        assert cache.groups == groups and cache.tail_room(0)[0].shape == (groups, 2, tail, 16)
    cache.reserve(160, 4, 8)
    assert cache.num_bytes == (160 + 32) * TOKEN * 4
    assert addresses(cache)[1] == first[1]
    cache.reserve(80, 8, 16)
    assert cache.num_bytes == (160 + 128) * TOKEN * 4


def test_least_room_is_allocated_at_once():
    cache = make(CacheRoom(prompt=128, groups=4, tail=16))
    cache.reserve(5, 1, 2)
    first = addresses(cache)
    assert cache.num_bytes == (128 + 64) * TOKEN * 4
    assert cache.groups == 1
    cache.reserve(128, 4, 16)
    assert addresses(cache) == first


def test_what_was_written_is_what_is_read():
    cache = make()
    cache.reserve(10, 3, 6)
    prompts = [draw(2, 7, 16, seed=layer) for layer in range(3)]
    tails = [draw(3, 2, 5, 16, seed=10 + layer) for layer in range(3)]
    for layer, (k, v) in enumerate(prompts):
        cache.write_prompt(layer, k, v)
    cache.prompt_length = 7
    for start, stop in ((0, 1), (1, 4), (4, 5)):
        for layer, (k, v) in enumerate(tails):
            cache.write_tail(layer, k[:, :, start:stop], v[:, :, start:stop])
        cache.tail_length = stop
    for layer in range(3):
        for found, expected in zip((*cache.prompt(layer), *cache.tail(layer)),
                                   (*prompts[layer], *tails[layer]), strict=True):
            assert torch.equal(found, expected)
        for room, expected in zip(cache.tail_room(layer), tails[layer], strict=True):
            assert room.is_contiguous() and room.shape == (3, 2, 6, 16)
            assert torch.equal(room[:, :, :5], expected) and not room[:, :, 5:].any()


def test_a_full_prompt_is_contiguous_and_aligned():
    cache = make()
    cache.reserve(7, 1, 3)
    for layer in range(3):
        cache.write_prompt(layer, *draw(2, 7, 16))
    cache.prompt_length = 7
    for layer in range(3):
        for view in cache.prompt(layer):
            assert view.is_contiguous()
            assert (view.data_ptr() - addresses(cache)[0]) % 256 == 0


def test_reserve_forgets():
    cache = make()
    cache.reserve(4, 2, 3)
    cache.write_prompt(0, *draw(2, 4, 16))
    cache.write_tail(0, *draw(2, 2, 3, 16))
    cache.prompt_length, cache.tail_length = 4, 3
    cache.reserve(4, 2, 3)
    assert (cache.prompt_length, cache.tail_length) == (0, 0)
    assert cache.prompt(0)[0].shape == (2, 0, 16) and cache.tail(0)[0].shape == (2, 2, 0, 16)
    assert not any(part.any() for part in cache.tail_room(0))


def test_more_than_was_reserved_is_refused():
    cache = make()
    cache.reserve(4, 2, 3)
    with pytest.raises(ValueError, match='prompt of 5 tokens; expected at most 4'):
        cache.write_prompt(0, *draw(2, 5, 16))
    cache.write_tail(0, *draw(2, 2, 2, 16))
    cache.tail_length = 2
    with pytest.raises(ValueError, match='tail of 4 tokens; expected at most 3'):
        cache.write_tail(0, *draw(2, 2, 2, 16))
    # Storage that is still there from a longer prompt is not room either.
    cache.reserve(400, 2, 3)
    cache.reserve(4, 2, 3)
    with pytest.raises(ValueError, match='prompt of 5 tokens; expected at most 4'):
        cache.write_prompt(0, *draw(2, 5, 16))


@pytest.mark.parametrize('part', ['prompt', 'tail'])
def test_nothing_is_there_before_reserve(part):
    with pytest.raises(ValueError, match=f'the {part} part of the cache is not there'):
        getattr(make(), part)(0)


def test_no_tail_at_all():
    cache = make()
    cache.reserve(4, 1, 0)
    assert cache.tail(2)[1].shape == (1, 2, 0, 16)
    with pytest.raises(ValueError, match='tail of 1 tokens; expected at most 0'):
        cache.write_tail(0, *draw(1, 2, 1, 16))
