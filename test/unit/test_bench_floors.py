"""Floors: the counted bytes and operations of each stage, and the measured rates they are over."""

from __future__ import annotations

import json

import pytest
import torch

from alpamayo_ros.bench import counts
from alpamayo_ros.bench.counts import Rates, Work
from alpamayo_ros.bench.geometry import GEOMETRIES
from alpamayo_ros.bench.measure import Timing
from alpamayo_ros.bench.rates import measure_rates, peak_bytes
from alpamayo_ros.bench.report import Report
from alpamayo_ros.bench.stages import Planned
from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.config import load_config

IMAGES = [(1, 20, 36)] * 24
PROMPT = 4460


@pytest.fixture(scope='module', params=['tiny', 'small', 'r1-10b'])
def config(request, tmp_path_factory):
    return configured(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope='module')
def full(tmp_path_factory):
    return configured('r1-10b', tmp_path_factory.mktemp('full'))


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return configured('tiny', tmp_path_factory.mktemp('tiny'))


def configured(name, directory):
    (directory / 'vlm').mkdir()
    (directory / 'config.json').write_text(json.dumps(GEOMETRIES[name].config()))
    (directory / 'vlm' / 'config.json').write_text(
        json.dumps(GEOMETRIES[name].backbone_config()))
    return load_config(directory)


def test_the_weights_of_a_layer_are_those_of_the_model(config):
    with torch.device('meta'):
        model = AlpamayoModel(config)
    for layer, geometry in ((model.vlm.decoder.layers[0], config.text),
                            (model.expert.layers[0], config.expert)):
        matrices = sum(value.numel() for value in layer.parameters() if value.ndim > 1)
        assert counts.layer_weights(geometry) == matrices
    matrices = sum(value.numel() for name, value in model.vlm.visual.named_parameters()
                   if value.ndim > 1 and 'pos_embed' not in name)
    # Images and features aside.
    assert counts.vision(config, [], 1).bytes == matrices
    expert = sum(value.numel() for name, value in model.named_parameters()
                 if value.ndim > 1 and name.startswith('expert.'))
    outside = sum(value.numel() for name, value in model.named_parameters()
                  if value.ndim > 1 and name.startswith('action_'))
    step = counts.expert_step(config, 0, 0, 2, groups=1, samples=1)
    assert step.bytes == 2 * expert + 4 * outside


def test_tiny_by_hand(tiny):
    """Text: hidden 64, 4 heads of 16 with 2 of keys, MLP 128, 2 layers, 538 tokens; expert: hidden
    48, MLP 96; vision: hidden 32, MLP 64, 2 blocks, 2 mergers beside the last."""
    layer = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128
    vocabulary = tiny.text.vocab_size
    head = 64 * vocabulary
    assert counts.prefill(tiny, 3, 4) == Work(
        4 * (2 * layer + head + 3 * 64 + 3 * 2 * 2 * 2 * 16),
        2 * 3 * 2 * layer + 2 * head + 2 * 4 * 64 * (1 + 2 + 3))
    # Two reasonings of 5 tokens behind a prompt of 7.
    assert counts.decoded_token(tiny, 7, 5, 2, groups=2) == Work(
        2 * (2 * layer + head + 2 * 64 + (7 + 2 * 5) * 2 * 2 * 2 * 16),
        2 * (2 * (2 * layer + head) + 2 * 4 * 64 * (7 + 5 + 1)))
    layer = 48 * 64 + 2 * 48 * 32 + 64 * 48 + 3 * 48 * 96
    small = 60 * 48 + 48 * 48 + 48 * 48 + 48 * 2
    tokens = 2 * 3 * 64
    assert counts.expert_step(tiny, 7, 5, 2, groups=2, samples=3) == Work(
        2 * 2 * layer + 4 * small + 2 * (7 + 2 * 5) * 2 * 2 * 2 * 16,
        2 * tokens * (2 * layer + small) + 2 * 4 * 64 * tokens * (7 + 5 + 64))
    block, merger = 4 * 32 * 32 + 2 * 32 * 64, 128 * 128 + 128 * 64
    assert counts.vision(tiny, [(1, 4, 6), (1, 2, 2)], 4) == Work(
        4 * (1536 * 32 + 2 * block + 3 * merger + 28 * 1536 + 3 * 7 * 64),
        2 * 28 * (1536 * 32 + 2 * block) + 2 * 4 * 32 * (24 ** 2 + 4 ** 2) + 2 * 7 * 3 * merger)


def test_full_size_against_known_figures(full):
    """About 17 TFLOP, 77 TFLOP, 16.4 GB a token, and 4.6 GB with 0.65 GB of cache a step. The two
    of the text decoder are rounder there: they hold the embedding's table, of which a token reads
    one row, and a square where attention is a triangle."""
    assert counts.vision(full, IMAGES, 2).operations == pytest.approx(17e12, rel=0.03)
    prefill = counts.prefill(full, PROMPT, 2)
    square = 4 * 36 * 4096 * PROMPT ** 2 // 2
    table = 2 * full.text.vocab_size * 4096
    assert 0.85 * 77e12 < prefill.operations < 77e12
    assert prefill.operations + square + PROMPT * table == pytest.approx(77e12, rel=0.04)
    token = counts.decoded_token(full, PROMPT, 20, 2)
    assert 0.95 * 16.4e9 < token.bytes < 16.4e9
    step = counts.expert_step(full, PROMPT, 40, 2, groups=1, samples=32)
    cache = 2 * counts.cache_values(full.expert, PROMPT)
    assert cache == PROMPT * 144 * 1024 and cache == pytest.approx(0.65e9, rel=0.02)
    assert step.bytes - cache == pytest.approx(4.6e9, rel=0.02)


def test_stages_of_a_plan(tiny):
    stages = counts.stages(tiny, [(1, 4, 4)], prompt=50, tokens=8, candidates=4, steps=10, size=4)
    assert stages['decode'] == stages['decode, per token'].times(7)
    assert stages['expert loop'] == stages['expert step'].times(10)
    assert Work(1, 2) + Work(3, 4) == Work(4, 6)


def test_a_floor_is_the_slower_of_the_two():
    rates = Rates(bandwidth=1e9, operations=1e12)
    assert Work(2_000_000, 1_000_000_000).floor_ms(rates) == pytest.approx(2)
    assert Work(2_000_000, 5_000_000_000).floor_ms(rates) == pytest.approx(5)


def test_rates_are_measured_in_the_type_in_question():
    for dtype in (torch.float32, torch.bfloat16):
        rates = measure_rates(torch.device('cpu'), dtype, copied=16 << 20, side=192)
        # No processor is slower, none is faster.
        assert 1e8 < rates.bandwidth < 1e13 and 1e7 < rates.operations < 1e15


def test_peak_memory_is_that_of_the_work_alone():
    device, size = torch.device('cpu'), 300 << 20

    def work():
        torch.ones(size // 4).sum()
    before, during, after = (peak_bytes(device, action)[1] for action in (
        lambda: None, work, lambda: None))
    if before is None:
        pytest.fail('this system does not tell peak memory; Linux does')
    assert during - before > 0.9 * size and during - after > 0.9 * size


def test_the_floor_of_a_plan_is_the_sum_of_its_stages():
    timing = Timing.of([12.0])
    names = ('vision', 'prefill', 'decode', 'expert')
    planned = Planned(timing, dict.fromkeys(names, timing), (4,), None)
    model = {'cameras': ['a'], 'frames_per_camera': 1, 'image_size': (1, 1), 'candidates': 1,
             'resized_to': (1, 1), 'jpeg_bytes': 1, 'prompt_tokens': 1, 'waypoints': 1, 'steps': 1}
    work = {name: Work(1000, 0) for name in ('vision', 'prefill', 'decode', 'expert loop')}
    report = Report({}, 'x', model=model, plans={'single': planned, 'multi': planned}, work=work,
                    rates=Rates(1e6, 1))
    floors = report.as_dict()['floors']['stages']
    assert floors['vision'] == {'bytes': 1000, 'operations': 0, 'floor_ms': 1.0,
                                'median_to_floor': 12.0}
    assert floors['whole plan'] == {'floor_ms': 4.0, 'median_to_floor': 3.0}
    assert set(floors) == {*work, 'whole plan'}
