"""What engines rely on: where the cache lies, and attention within the range of float16."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from golden_data import R1

from alpamayo_ros.model.attention import grouped_attention
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.kv_cache import CacheRoom, KVCache
from alpamayo_ros.model.layers import Rotary

GEOMETRY = load_config(R1).text


def addresses(cache):
    return [part.data_ptr() for layer in range(cache.num_layers)
            for part in (*cache.prompt(layer), *cache.tail_room(layer))]


def test_layers_stay_where_they_are_and_are_contiguous_for_every_length():
    cache = KVCache(GEOMETRY, device=torch.device('cpu'), dtype=torch.float16,
                    least=CacheRoom(100, 2, 12))
    with pytest.raises(ValueError, match='reserve'):
        cache.prompt(0)
    seen = set()
    for length in (3, 100, 57):
        cache.reserve(length, 2, 12)
        k, v = torch.randn(2, GEOMETRY.num_layers, GEOMETRY.num_kv_heads, length,
                           GEOMETRY.head_dim).half()
        for layer in range(GEOMETRY.num_layers):
            cache.write_prompt(layer, k[layer], v[layer])
        cache.prompt_length = length
        for layer in range(GEOMETRY.num_layers):
            for part, value in zip(cache.prompt(layer), (k, v), strict=True):
                assert part.is_contiguous()
                assert torch.equal(part, value[layer])
        seen.add(tuple(addresses(cache)))
    assert len(seen) == 1
    found = seen.pop()
    for part in range(4):  # keys and values of prompt and tail, layer after layer
        assert {(address - found[part]) % 512 for address in found[part::4]} == {0}
    size = cache.num_bytes
    cache.reserve(105, 2, 12)
    assert cache.num_bytes > size


def test_a_tail_is_zero_behind_its_end_whatever_was_there():
    cache = KVCache(GEOMETRY, device=torch.device('cpu'), dtype=torch.float16)
    heads, dim = GEOMETRY.num_kv_heads, GEOMETRY.head_dim
    cache.reserve(4, 3, 10)
    nan = torch.full((3, heads, 10, dim), torch.nan)
    for layer in range(GEOMETRY.num_layers):
        cache.write_tail(layer, nan, nan)
    cache.reserve(4, 3, 10)
    one = torch.ones(3, heads, 2, dim)
    for start in (0, 2):
        cache.tail_length = start
        cache.write_tail(1, one, 2 * one)
    cache.tail_length = 4
    k, v = cache.tail_room(1)
    assert (k.shape, k.is_contiguous()) == ((3, heads, 10, dim), True)
    assert torch.equal(k.sum((0, 1, 3)).bool(), torch.arange(10) < 4)
    assert float(v.sum()) == 2 * 4 * 3 * heads * dim
    assert cache.tail(1)[0].shape == (3, heads, 4, dim)
    with pytest.raises(ValueError, match='tail of 11 tokens; expected at most 10'):
        cache.tail_length = 10
        cache.write_tail(0, one[:, :, :1], one[:, :, :1])
    with pytest.raises(ValueError, match='prompt of 5 tokens; expected at most 4'):
        cache.write_prompt(0, torch.ones(heads, 5, dim), torch.ones(heads, 5, dim))


def test_attention_stays_in_the_range_of_half_precision():
    """6,000 keys of equal weight with values of 30: undivided, their sum would be 180,000."""
    keys = 6000
    q, own = torch.zeros(1, 2, 4, 8, 16), torch.full((1, 2, 2, 8, 16), 30.0)
    prompt, tail = torch.full((2, keys, 16), 30.0), torch.full((1, 2, 5, 16), 30.0)
    found = grouped_attention(
        q.half(), own.half(), own.half(), prompt_k=prompt.half(), prompt_v=prompt.half(),
        tail_k=tail.half(), tail_v=tail.half(), tail_bias=torch.zeros(1, 5))
    assert torch.isfinite(found).all()
    assert float((found.float() - 30).abs().max()) < 0.1


def test_positions_equal_on_the_axes_need_no_axes():
    rotary = Rotary(dataclasses.replace(GEOMETRY))
    rotary.materialise(torch.device('cpu'))
    positions = torch.arange(4000, 4064)
    for found, expected in zip(rotary.along(positions, torch.float32),
                               rotary(positions.expand(3, -1), torch.float32), strict=True):
        assert torch.equal(found, expected)
