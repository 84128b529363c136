"""The expert: who sees whom, stopping, and the projections around it."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from golden_data import R1, V1_5

from alpamayo_ros.errors import PlanCancelled
from alpamayo_ros.model.action_projection import ActionProjection, FourierFeatures
from alpamayo_ros.model.expert.protocol import ExpertContext, Guidance
from alpamayo_ros.model.geometry import ActionProjectionGeometry
from alpamayo_ros.model.runtime import Runtime

TIMES = torch.tensor([0.3, 1.3])
"""One step of length one from x at time 0.3 gives x + v(x, 0.3)."""


@pytest.fixture(scope='module', params=[R1, V1_5], ids=lambda path: path.name)
def runtime(request):
    return Runtime(request.param)


def never():
    return False


def context(runtime, groups=2, prompt=40, tail=7, slot=0, seed=0):
    """A cache of random keys and values."""
    config = runtime.config.text
    cache = runtime._caches[slot]
    cache.reserve(prompt, groups, tail)
    generator = torch.Generator().manual_seed(seed)
    for layer in range(config.num_layers):
        cache.write_prompt(layer, *torch.randn(2, config.num_kv_heads, prompt, config.head_dim,
                                               generator=generator))
        cache.write_tail(layer, *torch.randn(2, groups, config.num_kv_heads, tail, config.head_dim,
                                             generator=generator))
    cache.prompt_length, cache.tail_length = prompt, tail
    lengths = torch.arange(groups) % tail + 1
    return ExpertContext(cache, lengths, prompt + lengths)


def noise(runtime, groups, samples, seed=1):
    return torch.randn(groups, samples, runtime.config.unicycle.n_waypoints, 2,
                       generator=torch.Generator().manual_seed(seed))


def velocity(runtime, x, where):
    return runtime.expert.integrate(x, TIMES, where, should_stop=never) - x


def changed(before, after):
    """Which (group, sample) differ by more than rounding."""
    return ((after - before).abs().amax((2, 3)) > 1e-4).tolist()


def test_candidates_do_not_see_each_other(runtime):
    where, x = context(runtime), noise(runtime, 2, 3)
    before = velocity(runtime, x, where)
    other = x.clone()
    other[0, 1] += 1
    assert changed(before, velocity(runtime, other, where)) == [[False, True, False], [False] * 3]


def test_a_waypoint_sees_those_after_it_unless_the_expert_is_causal(runtime):
    where, x = context(runtime, groups=1), noise(runtime, 1, 1)
    later = x.clone()
    later[0, 0, -1] += 1
    field = velocity(runtime, x, where)
    assert (velocity(runtime, later, where) - field)[0, 0, 0].abs().max() > 1e-5


def test_a_group_sees_its_own_tail_up_to_its_end(runtime):
    x, where = noise(runtime, 3, 2), context(runtime, groups=3)
    assert where.tail_length.tolist() == [1, 2, 3]
    before = velocity(runtime, x, where)
    cache = where.cache
    for layer in range(runtime.config.text.num_layers):
        for part in cache.tail(layer):
            part[:, :, 2:] += 1
    # Entry 2 is behind the end of all but the last group.
    assert changed(before, velocity(runtime, x, where)) == [[False] * 2, [False] * 2, [True] * 2]


def test_all_groups_see_the_prompt(runtime):
    x, where = noise(runtime, 2, 2), context(runtime)
    before = velocity(runtime, x, where)
    for layer in range(runtime.config.text.num_layers):
        where.cache.prompt(layer)[1][:, 0] += 3
    assert changed(before, velocity(runtime, x, where)) == [[True] * 2] * 2


def test_position_matters(runtime):
    x, where = noise(runtime, 2, 2), context(runtime)
    moved = dataclasses.replace(where, position=where.position + torch.tensor([0, 5]))
    before, after = velocity(runtime, x, where), velocity(runtime, x, moved)
    assert (before[0] - after[0]).abs().max() == 0
    assert (before[1] - after[1]).abs().max() > 1e-3


def test_samples_of_a_group_equal_groups_of_a_sample(runtime):
    """Single reasoning is multi reasoning with the same reasoning everywhere."""
    x = noise(runtime, 1, 4)
    one = context(runtime, groups=1)
    shared = velocity(runtime, x, one)[0]
    parts = [[part.clone() for part in one.cache.tail(layer)]
             for layer in range(runtime.config.text.num_layers)]
    cache = runtime._caches[1]
    cache.reserve(40, 4, 7)
    for layer, (k, v) in enumerate(parts):
        cache.write_prompt(layer, *one.cache.prompt(layer))
        cache.write_tail(layer, k.expand(4, -1, -1, -1), v.expand(4, -1, -1, -1))
    cache.prompt_length, cache.tail_length = 40, 7
    many = ExpertContext(cache, one.tail_length.expand(4), one.position.expand(4))
    apart = velocity(runtime, x.transpose(0, 1), many)[:, 0]
    assert (shared - apart).abs().max() < 1e-4


def test_no_tail_at_all(runtime):
    where = context(runtime, groups=2)
    where.cache.tail_length = 0
    none = dataclasses.replace(where, tail_length=torch.zeros(2, dtype=torch.long))
    assert torch.isfinite(velocity(runtime, noise(runtime, 2, 1), none)).all()


def test_guidance_weighs_two_contexts(runtime):
    x = noise(runtime, 2, 2)
    told, plain = context(runtime), context(runtime, slot=1, prompt=33, seed=5)
    with_navigation, without = velocity(runtime, x, told), velocity(runtime, x, plain)
    for weight in (0.5, 1.0, 3.0):
        found = runtime.expert.integrate(x, TIMES, told, guidance=Guidance(plain, weight),
                                         should_stop=never) - x
        expected = (1 - weight) * without + weight * with_navigation
        assert (found - expected).abs().max() < 1e-5


def test_the_loop_is_eulers(runtime):
    x, where = noise(runtime, 2, 2), context(runtime)
    times = torch.tensor([0.0, 0.1, 0.4, 1.0])
    found = runtime.expert.integrate(x, times, where, should_stop=never)
    for start, stop in zip(times, times[1:], strict=False):
        step = runtime.expert.integrate(x, torch.stack([start, start + 1]), where,
                                        should_stop=never) - x
        x = x + (stop - start) * step
    # A sum in another order; the field stretches its rounding.
    assert (found - x).abs().mean() < 2e-3


@pytest.mark.parametrize('after', [0, 1, 2])
def test_it_stops_between_steps(runtime, after):
    asked = []

    def should_stop():
        asked.append(True)
        return len(asked) > after
    with pytest.raises(PlanCancelled, match='between two steps of the expert'):
        runtime.expert.integrate(noise(runtime, 1, 1), torch.linspace(0, 1, 4),
                                 context(runtime, groups=1), should_stop=should_stop)
    assert len(asked) == after + 1


def test_fourier_features():
    features = FourierFeatures(6, 100.0, stored=False)
    features.materialise(torch.device('cpu'))
    assert torch.allclose(features.freqs, torch.tensor([[1.0, 10.0, 100.0]]))
    x = 0.37
    angles = [2 * math.pi * f * x for f in (1, 10, 100)]
    expected = [math.sqrt(2) * math.sin(a) for a in angles] + [
        math.sqrt(2) * math.cos(a) for a in angles]
    assert torch.allclose(features(torch.tensor([x]))[0], torch.tensor(expected), atol=5e-4)


@pytest.mark.parametrize('layers', [1, 2, 5])
def test_names_of_the_projection_follow_its_depth(layers):
    geometry = ActionProjectionGeometry(hidden_size=24, num_enc_layers=layers, max_freq=10.0,
                                        num_fourier_feats=8)
    names = set(ActionProjection(geometry, 16, stored_freqs=True).state_dict())
    trunk = {f'encoder.trunk.{3 * layer + 3}.weight' for layer in range(layers)}
    assert trunk | {'encoder.trunk.0.weight', 'norm.weight', 'sinus.1.freqs',
                    'timestep_fourier_encoder.freqs'} <= names
    assert f'encoder.trunk.{3 * layers + 3}.weight' not in names
    plain = set(ActionProjection(geometry, 16, stored_freqs=False).state_dict())
    assert names - plain == {name for name in names if name.endswith('freqs')}


def test_a_closed_expert_says_so():
    runtime = Runtime(R1)
    where, x = context(runtime, groups=1), noise(runtime, 1, 1)
    runtime.expert.close()
    with pytest.raises(ValueError, match='closed'):
        runtime.expert.integrate(x, TIMES, where, should_stop=never)
