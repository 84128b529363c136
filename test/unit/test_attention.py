"""Attention to a shared prefix equals plain attention to everything put together."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from alpamayo_ros.model import fused_attention
from alpamayo_ros.model.attention import grouped_attention
from alpamayo_ros.model.fused_attention import (
    kernel_for,
    merged_attention,
    plain_part,
    shared_attention,
)

SHAPES = {  # groups, samples, kv heads, queries per kv head, tokens, prompt, tail, head size
    'one of each': (1, 1, 1, 1, 1, 1, 0, 8),
    'single reasoning': (1, 5, 2, 3, 7, 19, 4, 16),
    'many candidates': (1, 20, 2, 2, 7, 19, 4, 16),
    'multi reasoning': (6, 1, 2, 2, 5, 23, 9, 12),
    'groups and samples': (3, 4, 2, 1, 6, 11, 3, 24),
    'no tail yet': (2, 2, 3, 2, 4, 13, 0, 16),
    'decoding': (4, 1, 2, 4, 1, 30, 6, 16),
    'long prompt': (2, 3, 1, 4, 3, 700, 20, 64),
}


def make(shape, seed=0, dtype=torch.float32, scale=1.5):
    """Queries, and keys and values of the three parts."""
    groups, samples, kv_heads, reps, tokens, prompt, tail, dim = shape
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return (scale * torch.randn(*size, generator=generator)).to(dtype)
    return (draw(groups, samples, kv_heads * reps, tokens, dim),
            draw(groups, samples, kv_heads, tokens, dim),
            draw(groups, samples, kv_heads, tokens, dim),
            dict(prompt_k=draw(kv_heads, prompt, dim), prompt_v=draw(kv_heads, prompt, dim),
                 tail_k=draw(groups, kv_heads, tail, dim),
                 tail_v=draw(groups, kv_heads, tail, dim)))


def plain(q, own_k, own_v, *, prompt_k, prompt_v, tail_k, tail_v, tail_bias=None, own_bias=None):
    """Every sequence by itself, in float64."""
    groups, samples, heads, tokens, dim = q.shape
    reps = heads // prompt_k.shape[0]
    out = torch.empty(q.shape, dtype=torch.float64)
    for group in range(groups):
        for sample in range(samples):
            for head in range(heads):
                kv = head // reps
                k = torch.cat([prompt_k[kv], tail_k[group, kv], own_k[group, sample, kv]]).double()
                v = torch.cat([prompt_v[kv], tail_v[group, kv], own_v[group, sample, kv]]).double()
                logits = q[group, sample, head].double() @ k.T / math.sqrt(dim)
                ahead = prompt_k.shape[1]
                if tail_bias is not None:
                    logits[:, ahead:ahead + tail_k.shape[2]] += tail_bias[group]
                if own_bias is not None:
                    logits[:, ahead + tail_k.shape[2]:] += own_bias
                out[group, sample, head] = logits.softmax(-1) @ v
    return out


WAYS = {'plain': grouped_attention, 'shared': shared_attention,
        'merged': partial(merged_attention, attend=plain_part)}


@pytest.fixture(params=WAYS)
def attend(request):
    """``merged`` is what a GPU does, with products in the place of its kernels."""
    return WAYS[request.param]


@pytest.mark.parametrize('name', SHAPES)
def test_equals_attention_to_the_concatenation(attend, name):
    q, k, v, parts = make(SHAPES[name])
    found = attend(q, k, v, **parts)
    assert found.shape == q.shape and found.dtype == torch.float32
    assert (found - plain(q, k, v, **parts)).abs().max() < 5e-6


@pytest.mark.parametrize('name', SHAPES)
def test_with_hidden_tail_entries_and_causal_own_block(attend, name):
    q, k, v, parts = make(SHAPES[name], seed=1)
    groups, tail, tokens = q.shape[0], parts['tail_k'].shape[2], q.shape[3]
    seen = torch.arange(groups) % (tail + 1)  # from nothing of it to all of it
    tail_bias = torch.zeros(groups, tail).masked_fill(
        torch.arange(tail) >= seen[:, None], -torch.inf)
    own_bias = torch.full((tokens, tokens), -torch.inf).triu(1)
    found = attend(q, k, v, **parts, tail_bias=tail_bias, own_bias=own_bias)
    expected = plain(q, k, v, **parts, tail_bias=tail_bias, own_bias=own_bias)
    assert (found - expected).abs().max() < 5e-6


def test_what_is_hidden_does_not_matter_however_large(attend):
    q, k, v, parts = make(SHAPES['multi reasoning'])
    bias = torch.zeros(6, 9)
    bias[:, 4:] = -torch.inf
    expected = attend(q, k, v, **parts, tail_bias=bias)
    parts['tail_k'][:, :, 4:] = 1e4
    parts['tail_v'][:, :, 4:] = 1e4
    found = attend(q, k, v, **parts, tail_bias=bias)
    assert (found - expected).abs().max() < 1e-6


def test_finite_biases(attend):
    q, k, v, parts = make(SHAPES['groups and samples'])
    generator = torch.Generator().manual_seed(3)
    bias = dict(tail_bias=torch.randn(3, 3, generator=generator),
                own_bias=torch.randn(6, 6, generator=generator))
    found = attend(q, k, v, **parts, **bias)
    assert (found - plain(q, k, v, **parts, **bias)).abs().max() < 5e-6


def test_huge_logits_stay_finite(attend):
    """One softmax over all parts: the largest logit is taken off, wherever it is."""
    q, k, v, parts = make(SHAPES['groups and samples'], scale=40)
    found = attend(q, k, v, **parts)
    assert (found - plain(q, k, v, **parts)).abs().max() < 1e-2  # values are up to 150
    for part in ('prompt_k', 'tail_k'):
        q, k, v, parts = make(SHAPES['groups and samples'])
        parts[part] = parts[part] * 300
        assert (attend(q, k, v, **parts) - plain(q, k, v, **parts)).abs().max() < 1e-3


@pytest.mark.parametrize('dtype, tolerance', [(torch.bfloat16, 0.04), (torch.float16, 0.006)])
@pytest.mark.parametrize('name', ['single reasoning', 'multi reasoning', 'long prompt'])
def test_half_precision(attend, name, dtype, tolerance):
    q, k, v, parts = make(SHAPES[name], dtype=dtype, scale=1.0)
    groups, tail = q.shape[0], parts['tail_k'].shape[2]
    bias = torch.zeros(groups, tail).masked_fill(torch.arange(tail) >= tail - 1, -torch.inf)
    found = attend(q, k, v, **parts, tail_bias=bias)
    assert found.dtype == dtype
    assert (found.double() - plain(q, k, v, **parts, tail_bias=bias)).abs().max() < tolerance


def test_samples_and_groups_do_not_see_each_other(attend):
    q, k, v, parts = make(SHAPES['groups and samples'])
    expected = attend(q, k, v, **parts)
    q[0, 0] += 1
    k[0, 0] += 1
    v[0, 0] += 1
    parts['tail_k'][1] += 1
    found = attend(q, k, v, **parts)
    changed = (found - expected).abs().amax((2, 3, 4)) > 1e-6
    assert changed.tolist() == [[True, False, False, False], [True] * 4, [False] * 4]


def test_a_part_is_attention_with_the_logarithm_of_its_sum():
    q, k, v, _ = make(SHAPES['single reasoning'])
    q, k, v = q[0][:, :2], k[0], v[0]
    bias = torch.zeros(7, 7).masked_fill(torch.ones(7, 7).triu(1) > 0, -1e30)
    for mask in (None, bias):
        value, log_sum = plain_part(q, k, v, mask)
        logits = q.double() @ k.double().mT / 4 + (0 if mask is None else mask.double())
        assert (log_sum - logits.logsumexp(-1)).abs().max() < 1e-5
        assert (value - logits.softmax(-1) @ v.double()).abs().max() < 1e-5


def test_which_kernel_a_gpu_runs():
    half, wide, single = torch.float16, torch.bfloat16, torch.float32
    flash, efficient = fused_attention._by_flash, fused_attention._by_efficient
    assert [kernel_for(dtype, 128, (9, 0)) for dtype in (half, wide, single)] == [
        flash, flash, None]
    assert [kernel_for(dtype, 128, (7, 5)) for dtype in (half, wide, single)] == [
        efficient, None, None]
    assert [kernel_for(half, dim, (8, 7)) for dim in (72, 256, 12, 264)] == [
        flash, flash, None, None]


@pytest.mark.parametrize('capability', [(9, 0), (7, 5)])
@pytest.mark.parametrize('tokens', [64, 1])
def test_a_gpu_is_given_what_its_kernels_take(monkeypatch, capability, tokens):
    """Types and shapes alone, without a GPU: PyTorch follows them through its CUDA kernels."""
    called, plain = [], []
    monkeypatch.setattr(fused_attention, '_capability', lambda device: capability)
    monkeypatch.setattr(fused_attention, 'grouped_attention',
                        lambda q, *rest, **parts: (plain.append(True), q)[1])

    def spy(name, kernel):
        return lambda *args: (called.append(name), kernel(*args))[1]
    for name in ('_FLASH', '_EFFICIENT'):
        monkeypatch.setattr(fused_attention, name, spy(name, getattr(fused_attention, name)))
    with FakeTensorMode():
        q = torch.empty(2, 16, 16, tokens, 128, device='cuda', dtype=torch.float16)
        k = torch.empty(2, 16, 8, tokens, 128, device='cuda', dtype=torch.float16)
        prompt = torch.empty(8, 4500, 128, device='cuda', dtype=torch.float16)
        tail = torch.empty(2, 8, 39, 128, device='cuda', dtype=torch.float16)
        found = shared_attention(q, k, k, prompt_k=prompt, prompt_v=prompt, tail_k=tail,
                                 tail_v=tail, tail_bias=torch.zeros(2, 39, device='cuda'))
    assert found.shape == q.shape and found.dtype == q.dtype and found.device.type == 'cuda'
    if tokens == 1:
        assert plain and not called
    else:
        # The prompt and the own block; the tail is masked.
        assert called == ['_FLASH' if capability == (9, 0) else '_EFFICIENT'] * 2 and not plain
