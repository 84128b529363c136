"""Training's batched passes give what the planner's one-prompt passes give."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from alpamayo_ros.bench.synthetic import random_weights
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.expert.module import ExpertStep
from alpamayo_ros.model.runtime import Runtime
from alpamayo_ros.model.text import prompt_positions
from alpamayo_ros.model.tokenizer import special
from alpamayo_ros.training import forward
from alpamayo_ros.training.nano import IMAGE_SIZE, write_configuration

ANSWER = 'The light ahead is red, so stop.'


@pytest.fixture(scope='module')
def runtime(tmp_path_factory):
    from safetensors.torch import save_file
    directory = tmp_path_factory.mktemp('nano')
    sizes = write_configuration(directory, [ANSWER])
    weights = dict(random_weights(load_config(directory), sizes.token('future_start'),
                                  torch.float32, seed=3))
    save_file({name: value.contiguous() for name, value in weights.items()},
              directory / 'model.safetensors')
    return Runtime(directory)


def _prompt(runtime, cameras, rng):
    """Images, fused ids and the answer's ids of one sample."""
    images = rng.integers(0, 256, (4 * len(cameras), IMAGE_SIZE[1], IMAGE_SIZE[0], 3), np.uint8)
    grids = [(1, IMAGE_SIZE[1] // 16, IMAGE_SIZE[0] // 16)] * len(images)
    prompt = runtime.prompt(cameras, 4, grids, None)
    history = torch.from_numpy(np.cumsum(rng.uniform(0, 1, (16, 3)), 0) * [1, 0.1, 0])
    answer = runtime.tokenizer.encode(ANSWER + special('cot_end') + special('traj_future_start'))
    return images, grids, runtime.fuse(prompt, history), torch.tensor(answer)


@pytest.fixture(params=['eager', 'compiled'])
def passes(request):
    if request.param == 'eager':
        return forward.EAGER
    if not any(map(shutil.which, ('g++', 'c++', 'clang++'))):
        pytest.skip('there is no C++ compiler to compile the passes with')
    return forward.compiled_passes()


@torch.no_grad()
def test_batch_equals_single_prompts(runtime, passes):
    from alpamayo_ros.model.preprocessing import FramePreprocessor
    model, config = runtime.model, runtime.config
    rng = np.random.default_rng(0)
    samples = [_prompt(runtime, cameras, rng) for cameras in ((1,), (1, 6))]
    rows = [torch.cat([ids, answer]) for _, _, ids, answer in samples]
    longest = max(map(len, rows))
    ids = torch.stack([torch.nn.functional.pad(row, (0, longest - len(row))) for row in rows])
    positions = torch.zeros(3, 2, longest, dtype=torch.long)
    deltas = []
    for index, (_, grids, prompt, answer) in enumerate(samples):
        places, delta = prompt_positions(prompt, grids, config.image_token_id, 2)
        after = torch.arange(len(prompt), len(prompt) + len(answer)) + delta
        positions[:, index, :len(rows[index])] = torch.cat([places, after.expand(3, -1)], 1)
        deltas.append(delta)
    images = torch.from_numpy(np.concatenate([images for images, *_ in samples]))
    tokens, deepstack = passes.see(model, images)
    hidden, cache = passes.read(model, ids, positions, tokens.flatten(0, 1),
                                [deep.flatten(0, 1) for deep in deepstack])
    lengths = torch.tensor([len(row) for row in rows])
    noisy, time = torch.randn(2, 3, 64, 2), torch.rand(2, 3)
    batched = passes.velocity(model, noisy, time, cache, lengths, lengths + torch.tensor(deltas))

    preprocessor = FramePreprocessor(config.vision, min_pixels=config.min_pixels,
                                     max_pixels=config.max_pixels)
    step = ExpertStep(model)
    for index, (pictures, grids, prompt, answer) in enumerate(samples):
        features = runtime.encode_images([preprocessor(picture) for picture in pictures])
        prefilled = runtime.prefill(prompt, grids, features, groups=1, tail=40)
        runtime.force(prefilled, torch.cat([answer, answer[-1:]])[None])
        single = prefilled.cache
        for layer, (k, v) in enumerate(cache):
            for mine, (head, tail) in zip((k, v), zip(single.prompt(layer), single.tail(layer),
                                                      strict=True), strict=True):
                expected = torch.cat([head, tail[0]], 1)
                torch.testing.assert_close(mine[index, :, :lengths[index]], expected,
                                           atol=2e-4, rtol=1e-4)
        logits = model.vlm.logits(hidden[index, len(prompt) - 1])
        torch.testing.assert_close(logits, prefilled.logits[0], atol=1e-3, rtol=1e-4)
        cos, sin = step.rotary(lengths[index:index + 1] + deltas[index], 64, torch.float32)
        layers = range(config.text.num_layers)
        for draw in range(3):
            expected = step(noisy[index, draw][None, None], time[index, draw], cos, sin,
                            [single.prompt(layer) for layer in layers],
                            [single.tail(layer) for layer in layers], None)
            torch.testing.assert_close(batched[index, draw], expected[0, 0], atol=1e-3, rtol=1e-3)


def test_attention_of_draws_and_its_gradients_are_those_of_pytorch():
    """Against one masked attention over the prefix and all draws of a sample."""
    batch, draws, heads, kv_heads, tokens, prefix, dim = 2, 3, 4, 2, 5, 11, 8
    generator = torch.Generator().manual_seed(2)
    shapes = [(batch, draws, heads, tokens, dim)] + 2 * [(batch, draws, kv_heads, tokens, dim)]
    sides = [[3 * torch.randn(shape, generator=generator) for shape in shapes]]
    sides.append([value.clone() for value in sides[0]])
    fixed = [torch.randn(batch, kv_heads, prefix, dim, generator=generator) for _ in range(2)]
    real = torch.arange(prefix) < torch.tensor([prefix, 6])[:, None]
    for value in (*sides[0], *sides[1]):
        value.requires_grad_()

    found = forward._attend(*sides[0], *fixed, torch.zeros(real.shape).masked_fill(
        ~real, -torch.inf))

    q = sides[1][0].transpose(1, 2).flatten(2, 3)
    k, v = (torch.cat([before, own.transpose(1, 2).flatten(2, 3)], 2).repeat_interleave(2, 1)
            for before, own in zip(fixed, sides[1][1:], strict=True))
    draw = torch.arange(draws).repeat_interleave(tokens)
    mask = torch.cat([real[:, None].expand(-1, len(draw), -1),
                      (draw[:, None] == draw).expand(batch, -1, -1)], -1)[:, None]
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    expected = expected.unflatten(2, (draws, tokens)).transpose(1, 2)

    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, generator=generator)
    for result in (found, expected):
        (result * weights).sum().backward()
    for mine, theirs in zip(*sides, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-4, rtol=1e-4)


def test_padding_is_not_seen(runtime):
    """What lies behind a sample's length does not reach its velocity."""
    model, text = runtime.model, runtime.config.text
    generator = torch.Generator().manual_seed(1)
    cache = [tuple(torch.randn(1, text.num_kv_heads, 30, text.head_dim, generator=generator)
                   for _ in range(2)) for _ in range(text.num_layers)]
    other = [tuple(torch.cat([part[:, :, :20], part[:, :, 20:] + 5], 2) for part in layer)
             for layer in cache]
    noisy, time = torch.randn(1, 2, 64, 2, generator=generator), torch.tensor([[0.2, 0.7]])
    with torch.no_grad():
        first, second = (forward.velocity(model, noisy, time, entries, torch.tensor([20]),
                                          torch.tensor([25])) for entries in (cache, other))
        beyond = forward.velocity(model, noisy, time, other, torch.tensor([30]),
                                  torch.tensor([25]))
    assert torch.equal(first, second)
    assert not torch.equal(first, beyond)
