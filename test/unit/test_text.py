"""The text decoder against transformers': positions, prefill, extension, what is in the cache."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from golden_data import R1, V1_5
from reference_model import ReferenceModel
from synthetic import Wish, inputs
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLModel,
    Qwen3VLTextRotaryEmbedding,
)

from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.decoding import encode_images, extend, prefill
from alpamayo_ros.model.kv_cache import KVCache
from alpamayo_ros.model.layers import Rotary
from alpamayo_ros.model.runtime import Runtime
from alpamayo_ros.model.text import prompt_positions

WISHES = {
    'r1': Wish(cameras=(0, 1), frames_per_camera=2, size=(60, 90), total=5, min_pixels=4096,
               max_pixels=9216),
    'alpamayo1_5': Wish(cameras=(1,), frames_per_camera=3, size=(40, 130), total=5,
                        navigation='Turn left', min_pixels=4096, max_pixels=9216),
    'deep': Wish(cameras=(0, 6), frames_per_camera=2, size=(60, 100), total=5),
    'wide': Wish(cameras=(3, 5), frames_per_camera=1, size=(70, 80), total=5, navigation='Stop'),
}


@pytest.fixture(scope='module', params=list(WISHES))
def models(request):
    """Our model and the reference's, and a prompt."""
    paths = {'r1': R1, 'alpamayo1_5': V1_5}
    path = paths.get(request.param) or request.getfixturevalue(request.param)
    reference = ReferenceModel.from_checkpoint(path)
    return Runtime(path).model, reference, inputs(reference, WISHES[request.param])


def parts(given):
    grids = [tuple(grid) for grid in given.grid.tolist()]
    return grids, given.pixels.split([rows * columns for _, rows, columns in grids])


def read(model, given, groups=1, tail=8):
    """Prefill; returns cache, logits and the position offset."""
    cache = KVCache(model.config.text, device=torch.device('cpu'), dtype=model.dtype)
    cache.reserve(len(given.fused), groups, tail)
    grids, patches = parts(given)
    features, deepstack = encode_images(model, patches, grids)
    return cache, *prefill(model, cache, given.fused, grids, features, deepstack)


@torch.no_grad()
def test_prefill_gives_the_logits_and_the_cache_of_transformers(models):
    model, reference, given = models
    cache, logits, _ = read(model, given)
    output, _ = reference.read(given.fused, given.pixels, given.grid)
    expected = reference.vlm.lm_head(output.last_hidden_state[0, -1])
    assert logits.shape == (1, model.config.vocab_size) and logits.dtype == torch.float32
    assert (logits[0] - expected).abs().max() < 1e-4
    assert expected.std() > 0.1
    for layer, kept in enumerate(output.past_key_values.layers):
        for found, wanted in zip(cache.prompt(layer), (kept.keys[0], kept.values[0]), strict=True):
            assert found.shape == wanted.shape
            assert (found - wanted).abs().max() < 5e-5


@pytest.mark.parametrize('portions', [(1,) * 5, (5,), (2, 3)], ids=str)
@torch.no_grad()
def test_extension_equals_running_everything_at_once(models, portions):
    model, reference, given = models
    tokens = torch.randint(97, 123, (3, 5), generator=torch.Generator().manual_seed(0))
    cache, _, rope_delta = read(model, given, groups=3)
    logits = torch.cat([extend(model, cache, part, rope_delta)
                        for part in tokens.split(portions, dim=1)], dim=1)
    assert cache.tail_length == 5
    for row in range(3):
        output, _ = reference.read(torch.cat([given.fused, tokens[row]]), given.pixels, given.grid)
        expected = reference.vlm.lm_head(output.last_hidden_state[0, -5:])
        assert (logits[row] - expected).abs().max() < 1e-4
        for layer, kept in enumerate(output.past_key_values.layers):
            for found, wanted in zip(cache.tail(layer), (kept.keys[0], kept.values[0]),
                                     strict=True):
                assert (found[row] - wanted[:, -5:]).abs().max() < 5e-5


@torch.no_grad()
def test_positions_are_those_of_transformers(models):
    model, reference, given = models
    config = model.config
    positions, rope_delta = prompt_positions(given.fused, parts(given)[0], config.image_token_id,
                                             config.vision.spatial_merge_size)
    expected, delta = reference.vlm.model.get_rope_index(
        given.fused[None], (given.fused == config.image_token_id).int()[None], given.grid)
    assert torch.equal(positions, expected[:, 0]) and rope_delta == int(delta)


@pytest.mark.parametrize('section', [(24, 20, 20), (4, 2, 2), (3, 3, 2), (4, 4, 4), (2, 6, 0)],
                         ids=str)
def test_rotary_is_that_of_transformers(section):
    """With a low theta, so that every frequency, the last ones too, shows."""
    dim = 2 * sum(section)
    geometry = dataclasses.replace(load_config(R1).text, head_dim=dim, mrope_section=section,
                                   rope_theta=4.0)
    ours = Rotary(geometry)
    ours.materialise(torch.device('cpu'))
    reference = Qwen3VLTextRotaryEmbedding(Qwen3VLTextConfig(
        head_dim=dim, hidden_size=dim, num_attention_heads=1, rope_parameters={
            'rope_type': 'default', 'rope_theta': 4.0, 'mrope_section': list(section)}))
    positions = torch.randint(0, 60, (3, 1, 9), generator=torch.Generator().manual_seed(0))
    expected = reference(torch.zeros(1), positions)
    for found, wanted in zip(ours(positions[:, 0], torch.float32), expected, strict=True):
        assert (found - wanted[0]).abs().max() < 2e-5
    equal = positions[:1].expand(3, -1, -1)
    for found, wanted in zip(ours.along(positions[0, 0], torch.float32),
                             reference(torch.zeros(1), equal), strict=True):
        assert (found - wanted[0]).abs().max() < 2e-5


def test_positions_of_random_prompts():
    random = np.random.default_rng(0)
    for merge in (1, 2, 3):
        rope_index = Qwen3VLModel.get_rope_index

        class Model:
            class config:  # noqa: N801
                class vision_config:  # noqa: N801
                    spatial_merge_size = merge
            get_vision_position_ids = Qwen3VLModel.get_vision_position_ids

        for _ in range(20):
            ids, grids = [1] * int(random.integers(1, 5)), []
            for _ in range(int(random.integers(0, 6))):
                rows, columns = (int(n) for n in random.integers(1, 9, 2))
                grids.append((1, rows * merge, columns * merge))
                # Images of a prompt never touch: the template writes tokens around each.
                ids += [9] * (rows * columns) + [1] * int(random.integers(1, 6))
            ids = torch.tensor(ids)
            positions, rope_delta = prompt_positions(ids, grids, 9, merge)
            grid = torch.tensor(grids).reshape(-1, 3)
            expected, delta = rope_index(Model(), ids[None], (ids == 9).int()[None], grid)
            assert torch.equal(positions, expected[:, 0])
            assert rope_delta == int(delta) == int(positions.max()) + 1 - len(ids)


def test_images_that_touch_are_told_apart():
    positions, _ = prompt_positions(torch.tensor([9, 9, 9, 9, 1]), [(1, 1, 2), (1, 2, 1)], 9, 1)
    assert positions.tolist() == [[0, 0, 2, 2, 4], [0, 0, 2, 3, 4], [0, 1, 2, 2, 4]]


@pytest.mark.parametrize('ids, grids, message', [
    ([9, 9, 1, 9, 9], [(1, 1, 2)], 'more than 1 images'),
    ([9, 1, 1], [(1, 1, 2)], 'image 0 has fewer placeholders than its 2'),
    ([1, 9], [(1, 1, 2)], 'image 0 has fewer placeholders than its 2'),
    ([1, 9, 1], [(1, 1, 1), (1, 1, 1)], 'has 1 images; expected 2')])
def test_images_and_placeholders_must_fit(ids, grids, message):
    with pytest.raises(ValueError, match=message):
        prompt_positions(torch.tensor(ids), grids, 9, 1)


@torch.no_grad()
def test_bfloat16_is_near(models):
    model, _, given = models
    _, expected, _ = read(model, given)
    half = Runtime(model.config.directory, dtype='bfloat16').model
    _, logits, _ = read(half, given)
    assert logits.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(logits, expected).item() > 0.99
