"""The released implementation's way, rebuilt to compare with: the same numbers, another way."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from alpamayo_ros.bench.baseline import GrowingCache
from alpamayo_ros.bench.geometry import GEOMETRIES
from alpamayo_ros.bench.released import ReleasedWay
from alpamayo_ros.bench.report import Report
from alpamayo_ros.bench.run import measure_model
from alpamayo_ros.bench.stages import compare_released
from alpamayo_ros.bench.synthetic import write_checkpoint
from alpamayo_ros.bench.workbench import Options, Workbench
from alpamayo_ros.errors import PlanCancelled
from alpamayo_ros.model.expert.protocol import Guidance
from alpamayo_ros.model.sampling import Sampling
from alpamayo_ros.planner import Planner

CANDIDATES, TOKENS = 3, 5


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """With low frequencies only, so that the loop does not magnify rounding."""
    path = write_checkpoint(GEOMETRIES['tiny'], tmp_path_factory.mktemp('calm'))
    config = json.loads((path / 'config.json').read_text())
    config['action_in_proj_cfg']['max_freq'] = 1.0
    (path / 'config.json').write_text(json.dumps(config))
    return path


@pytest.fixture(scope='module')
def bench(checkpoint):
    bench = Workbench(Options(checkpoint, candidates=CANDIDATES, tokens=TOKENS, repeats=1,
                              image_size=(72, 128), min_pixels=4096, max_pixels=9216))
    yield bench
    bench.planner.close()


@pytest.fixture
def released(bench):
    return ReleasedWay(bench.runtime)


def prefilled(bench, runtime, groups=CANDIDATES):
    ids = bench.runtime.fuse(bench.runtime.prompt(
        bench.camera_ids, 4, bench.grids, None), bench.history_xyz)
    return runtime.prefill(ids, bench.grids, runtime.encode_images(bench.images), groups=groups,
                           tail=TOKENS)


def test_identical_reasonings_give_the_plan_of_a_shared_one(bench, released):
    settings = dataclasses.replace(bench.options.settings, top_k=1)
    ours = Planner(bench.runtime, settings).plan(bench.observation)
    theirs = Planner(released, dataclasses.replace(settings, reasoning_mode='multi')).plan(
        bench.observation)
    assert len(theirs.reasoning) == CANDIDATES and set(theirs.reasoning) == set(ours.reasoning)
    actions = [np.stack([item.action for item in sorted(plan.candidates,
                                                        key=lambda item: item.sample)])
               for plan in (ours, theirs)]
    assert actions[0].std() > 0.1
    np.testing.assert_allclose(*actions, atol=2e-3)


def test_one_step_agrees_to_rounding(bench):
    found = compare_released(bench)
    assert found.largest_difference < 1e-5
    assert found.ours.tokens == (TOKENS,) and found.released.tokens == (TOKENS,) * CANDIDATES
    assert found.ratio == found.released.total.median / found.ours.total.median
    assert set(found.ours.stages) == set(found.released.stages)


def test_sampled_reasonings_are_those_of_multi_reasoning(bench, released):
    """The same draws from the same logits, each over a cache of its own."""
    tokens, actions = [], []
    for runtime in (bench.runtime, released):
        start = prefilled(bench, runtime)
        generated = runtime.decode(start, Sampling(temperature=2.0, top_p=1.0), TOKENS,
                                   torch.Generator().manual_seed(3))
        tokens.append(generated.tokens)
        assert start.cache.tail_length == TOKENS - 1
        # As if they had ended at different places: entries behind the end are hidden.
        ended = dataclasses.replace(generated, length=torch.tensor([4, 1, 2]))
        actions.append(runtime.integrate(bench.noise(CANDIDATES), runtime.context(start, ended),
                                         steps=1))
    assert torch.equal(*tokens) and len(set(map(tuple, tokens[0].tolist()))) == CANDIDATES
    torch.testing.assert_close(*actions, atol=1e-5, rtol=0)


def test_every_sequence_has_a_prompt_of_its_own(bench, released):
    one, many = (prefilled(bench, released, groups).cache for groups in (1, CANDIDATES))
    assert many.num_bytes == CANDIDATES * one.num_bytes
    shared = prefilled(bench, bench.runtime).cache
    assert many.length == many.prompt_length == shared.prompt_length and many.tail_length == 0


def test_the_cache_grows_and_is_cropped():
    cache = GrowingCache(2)
    assert cache.length == cache.num_bytes == 0
    parts = [torch.randn(2, 1, size, 4) for size in (3, 2, 1)]
    for part in parts:
        k, v = cache.append(0, part, -part)
    assert torch.equal(k, torch.cat(parts, dim=-2)) and torch.equal(v, -k) and cache.length == 6
    cache.crop(3)
    k, _ = cache.append(0, parts[2], parts[2])
    assert torch.equal(k, torch.cat([parts[0], parts[2]], dim=-2))
    assert cache.num_bytes == 2 * 2 * 4 * 4 * 4


def test_it_is_stopped_and_refuses_guidance(bench, released):
    start = prefilled(bench, released)
    generated = released.decode(start, Sampling(top_k=1), TOKENS, torch.Generator())
    context, noise = released.context(start, generated), bench.noise(CANDIDATES)
    with pytest.raises(PlanCancelled, match='between two steps'):
        released.integrate(noise, context, should_stop=lambda: True)
    with pytest.raises(ValueError, match='guidance has weight 2.0; expected none'):
        released.integrate(noise, context, guidance=Guidance(context, 2.0))
    released.close()
    assert bench.runtime.model is released.model


def test_it_is_a_section_of_its_own(bench):
    report = Report({'machine': {'cpu': 'x', 'cores': 1, 'memory_gib': 1, 'gpu': None,
                                 'load_average_before': 0}, 'versions': {'torch': '2'},
                     'date': 'now', 'torch_threads': 1}, 'x')
    measure_model(bench.options, report, say=lambda text: None, stages=False)
    assert report.released is not None and not report.stages() and report.rates is None
    ratio = report.as_dict()['released']['released_to_ours_plan_time']
    assert ratio == pytest.approx(report.released.ratio, abs=1e-3)
    table = report.table()
    assert 'released way' in table and 'goal 8 times: ' in table
    slow = dataclasses.replace(report.released.released, total=dataclasses.replace(
        report.released.ours.total, milliseconds=(1e9,)))
    report.released = dataclasses.replace(report.released, released=slow, released_bytes=None)
    assert 'goal 8 times: kept' in report.table() and ' ?  ' in report.table()
