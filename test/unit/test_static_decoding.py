"""Static steps, which a GPU captures, write what plain decoding writes; here uncaptured."""

from __future__ import annotations

import pytest
import torch
from golden_data import R1, V1_5, recorded
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from alpamayo_ros.errors import PlanCancelled
from alpamayo_ros.model import static_decoding
from alpamayo_ros.model.runtime import Runtime
from alpamayo_ros.model.sampling import Sampling
from alpamayo_ros.model.static_decoding import StaticDecoding, StaticStep
from alpamayo_ros.types import ImagePatches
from alpamayo_ros.verification.cases import read_cases
from alpamayo_ros.verification.model_checks import CaseVerifier

GREEDY = Sampling(top_k=1)
WILD = Sampling(temperature=1.5, top_p=1.0)
SAMPLINGS = {'greedy': GREEDY, 'released': Sampling(), 'top k': Sampling(1.2, 5, 0.9),
             'wild': WILD}


def static(runtime):
    """The runtime decoding by static steps."""
    runtime._decoding = StaticDecoding(runtime.model)
    return runtime


@pytest.fixture(scope='module')
def runtime():
    return Runtime(R1)


@pytest.fixture(scope='module')
def prompt(runtime):
    """A golden prompt whose greedy reasoning ends after three tokens."""
    tensors = recorded(R1, 'greedy_turn')
    grids = [tuple(grid) for grid in tensors['image_grid_thw'].tolist()]
    parts = tensors['pixel_values'].split([rows * columns for _, rows, columns in grids])
    images = [ImagePatches(part, grid, (0, 0)) for part, grid in zip(parts, grids, strict=True)]
    return tensors['fused_ids'][0], grids, runtime.encode_images(images)


def both(runtime, prompt, sampling, *, limit=24, groups=1, seed=0):
    """What plain decoding and what static steps write: tokens and so on, tails, tail length."""
    found = []
    for decoding in (None, StaticDecoding(runtime.model)):
        runtime._decoding = decoding
        try:
            prefilled = runtime.prefill(*prompt, groups=groups, tail=limit)
            generated = runtime.decode(prefilled, sampling, limit,
                                       torch.Generator().manual_seed(seed))
        finally:
            runtime._decoding = None
        cache = prefilled.cache
        found.append((generated, [part.clone() for layer in range(cache.num_layers)
                                  for part in cache.tail_room(layer)], cache.tail_length))
    return found


def agree(found):
    (plain, plain_tails, plain_length), (other, tails, length) = found
    assert torch.equal(plain.tokens, other.tokens)
    assert torch.equal(plain.length, other.length)
    assert torch.equal(plain.truncated, other.truncated)
    assert length == plain_length
    for a, b in zip(plain_tails, tails, strict=True):
        assert a.shape == b.shape and (a - b).abs().max() < 2e-5
        assert not b[:, :, length:].any()
    return plain


@pytest.mark.parametrize('sampling', SAMPLINGS)
@pytest.mark.parametrize('groups', [1, 5])
def test_the_same_tokens(runtime, prompt, sampling, groups):
    agree(both(runtime, prompt, SAMPLINGS[sampling], groups=groups, seed=2))


@pytest.mark.parametrize('limit', [1, 2, 3, 4, 5, 9])
def test_the_same_at_every_limit(runtime, prompt, limit):
    """The greedy reasoning has its end token third, and one more is drawn behind it."""
    plain = agree(both(runtime, prompt, GREEDY, limit=limit))
    assert plain.tokens.shape[1] == min(limit, 4)


@pytest.mark.parametrize('every', [1, 2, 3, 7, 100])
def test_how_often_is_looked_does_not_matter(runtime, prompt, monkeypatch, every):
    monkeypatch.setattr(static_decoding, 'LOOK_EVERY', every)
    plain = agree(both(runtime, prompt, WILD, limit=40, groups=4, seed=1))
    assert len(set(plain.length.tolist())) > 1
    agree(both(runtime, prompt, GREEDY, limit=40))


def test_kept_steps_begin_anew(runtime, prompt):
    """The second plan over the same cache, with another prompt behind the same addresses."""
    decoding = StaticDecoding(runtime.model)
    ids, grids, features = prompt
    other = ids.clone()
    other[-3:] = torch.tensor([65, 66, 67])
    for text in (ids, other, ids):
        tokens = []
        for used in (None, decoding):
            runtime._decoding = used
            try:
                prefilled = runtime.prefill(text, grids, features, groups=2, tail=12)
                tokens.append(runtime.decode(prefilled, WILD, 12,
                                             torch.Generator().manual_seed(4)).tokens)
            finally:
                runtime._decoding = None
        assert torch.equal(*tokens)
    assert len(decoding._steps) == 1


def test_the_last_few_are_kept(runtime, prompt):
    decoding = StaticDecoding(runtime.model)
    runtime._decoding = decoding
    try:
        for limit in (2, 3, 4, 5, 6, 4):
            prefilled = runtime.prefill(*prompt, groups=1, tail=8)
            runtime.decode(prefilled, GREEDY, limit, torch.Generator())
    finally:
        runtime._decoding = None
    assert [key[2] for key in decoding._steps] == [3, 5, 6, 4]


@pytest.mark.parametrize('sampling', SAMPLINGS)
def test_a_step_reads_nothing_back_and_stays_where_it_is(runtime, prompt, sampling):
    prefilled = runtime.prefill(*prompt, groups=3, tail=9)
    step = StaticStep(runtime.model, prefilled.cache, SAMPLINGS[sampling], 9, 522)
    with torch.inference_mode():
        step.begin(prefilled.logits, prefilled.cache.prompt_length + prefilled.rope_delta)

        def addresses():
            return {name: value.data_ptr() for name, value in vars(step).items()
                    if isinstance(value, torch.Tensor)}
        before = addresses()
        for _ in range(3):
            step()
        assert addresses() == before
        # Values are not known there, so whatever depends on one fails.
        with FakeTensorMode(allow_non_fake_inputs=True):
            step()
            with pytest.raises(DataDependentOutputException):
                bool(step.ended.all())


@pytest.mark.parametrize('after', [0, 1, 2])
def test_it_stops_between_tokens_when_asked_to(runtime, prompt, after):
    asked = []

    def should_stop():
        asked.append(True)
        return len(asked) > after
    prefilled = runtime.prefill(*prompt, groups=1, tail=24)
    with pytest.raises(PlanCancelled, match='while the reasoning was being written'):
        StaticDecoding(runtime.model).decode(
            runtime.model, prefilled.cache, prefilled.logits, prefilled.rope_delta,
            future_start=522, sampling=GREEDY, limit=24, generator=torch.Generator(),
            should_stop=should_stop)
    assert len(asked) == after + 1


def test_tails_without_room_are_refused(runtime, prompt):
    prefilled = runtime.prefill(*prompt, groups=1, tail=4)
    with pytest.raises(ValueError, match='tails have room for 4 tokens; expected 7 or more'):
        StaticStep(runtime.model, prefilled.cache, GREEDY, 8, 522)


@pytest.mark.parametrize('checkpoint, name', [
    (R1, 'greedy_straight'), (R1, 'greedy_turn'), (R1, 'greedy_stopped'), (R1, 'sampled_multi'),
    (V1_5, 'six_cameras_greedy'), (V1_5, 'six_cameras_nav_cfg'), (V1_5, 'two_cameras_sampled')],
    ids=lambda item: getattr(item, 'name', item))
def test_recorded_results_are_met_as_well(checkpoint, name):
    verifier = CaseVerifier(checkpoint)
    static(verifier.runtime)
    case = {case.name: case for case in read_cases(checkpoint)}[name]
    checks = verifier.verify(case)
    assert checks and [check for check in checks if not check.passed] == []
    if case.greedy:
        assert verifier.runtime._decoding._steps, 'nothing was decoded by static steps'
