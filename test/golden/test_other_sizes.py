"""Other sizes than the golden ones, against transformers' modules: strictly, and sharply.

These cases are well conditioned, so the whole loop agrees to 1e-4; and each part of the model done
wrong on purpose makes them fail.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from golden_data import observe
from reference_model import ReferenceModel

from alpamayo_ros.model import decoding, runtime
from alpamayo_ros.model.layers import Rotary
from alpamayo_ros.model.runtime import Runtime
from alpamayo_ros.model.vision import VisionTower
from alpamayo_ros.planner import Planner
from alpamayo_ros.settings import PlannerSettings
from alpamayo_ros.verification import loop
from alpamayo_ros.verification.backend_checks import verify_backends
from alpamayo_ros.verification.cases import read_cases
from alpamayo_ros.verification.model_checks import CaseVerifier, verify_checkpoint

LOOP = {'action', 'path xyz, m', 'path rotation'}


@pytest.mark.parametrize('name, cases', [
    ('deep', {'multi', 'greedy_truncated'}), ('causal', {'pair'}),
    ('wide', {'greedy_ended', 'guided_multi', 'navigation'}),
    ('nano', {'red_light', 'turn_guided', 'turn_left'})])
def test_every_stage_agrees_strictly(request, name, cases):
    checkpoint = request.getfixturevalue(name)
    checks = verify_checkpoint(checkpoint)
    assert {check.case.split('/')[1] for check in checks} == cases
    assert [check for check in checks
            if not check.passed or check.decided_by_note is not None] == []
    # Far below the tolerance: what is left is rounding.
    assert max(check.error for check in checks if check.stage == 'action') < 2e-5


def test_backends_agree_on_a_trained_checkpoint(nano):
    """Half precision against float32, step by step and after the loop."""
    checks = verify_backends(nano, ['torch', 'onnxruntime'])
    assert {check.stage.split(':')[0] for check in checks} >= {
        'torch float16', 'onnxruntime float16', 'onnxruntime float32'}
    assert [check for check in checks if not check.passed] == []
    assert [check for check in checks
            if 'float32' in check.stage and check.decided_by_note is not None] == []


def test_the_cases_hold_what_they_are_for(deep, wide):
    ends = {case.name: (case.info['traj_future_start_at'], case.info['max_generation_length'])
            for path in (deep, wide) for case in read_cases(path)}
    assert ends == {'multi': ([2, 10, 6, 3, 1, 12], 12), 'greedy_truncated': ([-1], 8),
                    'greedy_ended': ([5], 12), 'guided_multi': ([4, -1, 8, 2, 9, 6], 9),
                    'navigation': ([5], 9)}
    assert len(list(deep.glob('*.safetensors'))) == 3 + 2


def changed_context(change):
    right = Runtime.context
    return Runtime, 'context', lambda *args: change(right(*args))


def flipped_expert():
    right = runtime.load_config

    def load(directory):
        config = right(directory)
        return dataclasses.replace(config, expert_causal=not config.expert_causal)
    return runtime, 'load_config', load


def changed_model(change):
    right = Runtime.__init__

    def init(self, *args, **kwargs):
        right(self, *args, **kwargs)
        change(self.model)
    return Runtime, '__init__', init


def scale_output(model):
    model.action_out_proj.weight.mul_(1.02)


def stale_frequencies(model):
    model.action_in_proj.sinus[1].freqs /= 1.01


def later_continuation():
    right = decoding.extend
    return (decoding, 'extend',
            lambda model, cache, tokens, delta: right(model, cache, tokens, delta + 1))


def without_deepstack():
    right = VisionTower.forward
    return (VisionTower, 'forward',
            lambda *args: (right(*args)[0], [0 * deep for deep in right(*args)[1]]))


def swapped_deepstack():
    right = VisionTower.forward
    return VisionTower, 'forward', lambda *args: (right(*args)[0], right(*args)[1][::-1])


def plain_rotary():
    right = Rotary.forward
    return (Rotary, 'forward', lambda self, positions, dtype: right(
        self, positions[:1].expand_as(positions), dtype))


def wrong_history():
    right = runtime.fuse_history
    return (runtime, 'fuse_history', lambda ids, xyz, config, tokenizer: right(
        ids, xyz, dataclasses.replace(config, history_token_offset=0), tokenizer))


def other_guidance(weight):
    right = runtime.Runtime.integrate

    def integrate(self, *args, guidance=None, **kwargs):
        if guidance is not None:
            guidance = dataclasses.replace(guidance, weight=weight)
        return right(self, *args, guidance=guidance, **kwargs)
    return Runtime, 'integrate', integrate


MISTAKES = {
    'position one late': lambda: changed_context(
        lambda c: dataclasses.replace(c, position=c.position + 1)),
    'one entry too few': lambda: changed_context(
        lambda c: dataclasses.replace(c, tail_length=c.tail_length - 1)),
    'one entry too many': lambda: changed_context(
        lambda c: dataclasses.replace(c, tail_length=c.tail_length + 1)),
    'junk after the end seen': lambda: changed_context(
        lambda c: dataclasses.replace(c, tail_length=torch.full_like(c.tail_length, 10 ** 6))),
    'groups mixed up': lambda: changed_context(
        lambda c: dataclasses.replace(c, tail_length=c.tail_length.flip(0))),
    'expert causal': flipped_expert,
    'output scaled': lambda: changed_model(scale_output),
    'generated tokens late': later_continuation,
    'no deepstack': without_deepstack,
    'flat rotary positions': plain_rotary,
}


@pytest.fixture
def few_runs(monkeypatch):
    """A loop that fails is judged by fewer runs, to save time; these cases do not need more."""
    monkeypatch.setattr(loop, 'RUNS', 2)


def failed_stages(checkpoint, name):
    case = {case.name: case for case in read_cases(checkpoint)}[name]
    return {check.stage for check in CaseVerifier(checkpoint).verify(case) if not check.passed}


@pytest.mark.parametrize('mistake', list(MISTAKES))
@pytest.mark.parametrize('name, case', [('deep', 'multi'), ('wide', 'guided_multi')])
def test_a_mistake_is_noticed(few_runs, request, monkeypatch, mistake, name, case):
    checkpoint = request.getfixturevalue(name)
    monkeypatch.setattr(*MISTAKES[mistake]())
    assert failed_stages(checkpoint, case) == LOOP


def test_a_mistake_with_stored_frequencies_is_noticed(few_runs, monkeypatch, deep):
    monkeypatch.setattr(*changed_model(stale_frequencies))
    assert failed_stages(deep, 'multi') == LOOP


def test_a_mistake_in_the_order_of_deepstack_is_noticed(few_runs, monkeypatch, deep):
    monkeypatch.setattr(*swapped_deepstack())
    assert failed_stages(deep, 'multi') == LOOP


@pytest.mark.parametrize('weight', [1.0, 1.6, 0.0])
def test_a_mistake_in_guidance_is_noticed(few_runs, monkeypatch, wide, weight):
    monkeypatch.setattr(*other_guidance(weight))
    assert failed_stages(wide, 'guided_multi') == LOOP


def test_a_mistake_in_history_tokens_is_noticed(few_runs, monkeypatch, deep):
    monkeypatch.setattr(*wrong_history())
    assert failed_stages(deep, 'multi') == {'history ids'}


def test_the_planner_gives_the_reference_paths(wide):
    """From an observation through the planner, where one reasoning is shared by all candidates."""
    case = {case.name: case for case in read_cases(wide)}['greedy_ended']
    info, tensors = case.info, case.tensors
    planner = Planner.load(wide, PlannerSettings(
        num_candidates=5, top_k=1, max_generation_length=info['max_generation_length'],
        min_pixels=info['min_pixels'], max_pixels=info['max_pixels']))
    waypoints = planner.num_waypoints
    noise = torch.randn(5, waypoints, 2, generator=torch.Generator().manual_seed(7))
    noise[2] = tensors['noise'][0]
    # The recorded patches: a resized picture may differ by one of 255.
    images = iter(case.images)
    observation = observe(wide, 'greedy_ended', lambda rgb: next(images))
    plan = planner.plan(observation, noise=noise.numpy())
    assert [item.cot for item in plan.reasoning] == info['cot']
    assert plan.reasoning[0].token_count == 5 and not plan.reasoning[0].truncated

    reference = ReferenceModel.from_checkpoint(wide)
    ids = tensors['fused_ids'][0]
    seen = reference.seen(ids, tensors['sequences'][0, len(ids):].tolist(),
                          tensors['pixel_values'], tensors['image_grid_thw'])
    by_sample = sorted(plan.candidates, key=lambda candidate: candidate.sample)
    for start, candidate in zip(noise, by_sample, strict=True):
        expected = reference.integrate(start, seen, 6)
        np.testing.assert_allclose(candidate.action, expected, atol=1e-4)
    np.testing.assert_allclose(by_sample[2].xyz, tensors['pred_xyz'][0, 0, 0], atol=1e-3)
    np.testing.assert_allclose(by_sample[2].rot, tensors['pred_rot'][0, 0, 0], atol=1e-4)
