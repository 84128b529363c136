"""The recorded results of the released implementation, and that a wrong model would be noticed."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from golden_data import GOLDEN, R1, V1_5
from reference_model import ReferenceModel

from alpamayo_ros.model.decoding import measure
from alpamayo_ros.model.runtime import Runtime
from alpamayo_ros.verification.cases import read_cases
from alpamayo_ros.verification.model_checks import CaseVerifier, verify_checkpoint
from alpamayo_ros.verification.unit_checks import verify_units

CASES = {R1: ('greedy_straight', 'greedy_turn', 'greedy_stopped', 'sampled_multi'),
         V1_5: ('six_cameras_greedy', 'six_cameras_nav', 'six_cameras_nav_cfg',
                'two_cameras_sampled')}
ALL_CASES = [(path, name) for path, names in CASES.items() for name in names]
EXACT = ('prompt text', 'prompt ids', 'history ids', 'end of reasoning', 'reasoning text')
STRICT = ('patches, largest', 'patches, mean', 'xyz of recorded action, m',
          'rotation of recorded action')
LOOP = ('action', 'path xyz, m', 'path rotation')


@pytest.fixture(scope='module', params=ALL_CASES, ids=lambda item: f'{item[0].name}-{item[1]}')
def one_case(request):
    """A verifier of its own for each case, as tests change it."""
    path, name = request.param
    return CaseVerifier(path), {case.name: case for case in read_cases(path)}[name]


def test_no_case_is_left_out():
    assert {path: tuple(case.name for case in read_cases(path)) for path in CASES} == CASES


def test_every_stage_agrees(one_case):
    verifier, case = one_case
    checks = {check.stage: check for check in verifier.verify(case)}
    assert set(checks) == {*EXACT, *STRICT, *LOOP} | ({'tokens'} if case.greedy else set())
    assert [check for check in checks.values() if not check.passed] == []
    for stage in set(checks) - set(LOOP):
        assert checks[stage].decided_by_note is None
    for stage in (*EXACT, *(['tokens'] if case.greedy else [])):
        assert checks[stage].error == 0 and checks[stage].tolerance == 0


def test_velocity_field_is_that_of_transformers(one_case):
    """On the golden weights too, where the whole loop can only be judged: one evaluation does not
    grow its rounding yet, and agrees to a few float32 roundings of phases up to 600 radians."""
    verifier, case = one_case
    runtime, tensors = verifier.runtime, case.tensors
    reference = ReferenceModel.from_checkpoint(R1 if 'r1' == verifier.label else V1_5)
    ids, images = tensors['fused_ids'][0], case.images
    length = len(ids)
    prefilled = runtime.prefill(ids, [image.grid_thw for image in images],
                                runtime.encode_images(images), groups=len(tensors['noise']),
                                tail=tensors['sequences'].shape[1] - length)
    generated = measure(tensors['sequences'][:, length:], runtime.tokenizer.future_start)
    runtime.force(prefilled, generated.tokens)
    context = runtime.context(prefilled, generated)
    seen = [reference.seen(ids, row[length:].tolist(),
                           tensors['pixel_values'], tensors['image_grid_thw'])
            for row in tensors['sequences']]
    noise = tensors['noise']
    for time in (0.0, 0.5, 0.9):
        found = runtime.expert.integrate(
            noise[:, None], torch.tensor([time, time + 1]), context,
            should_stop=lambda: False)[:, 0] - noise
        expected = torch.stack([reference.velocity(start, time, one)
                                for start, one in zip(noise, seen, strict=True)])
        assert expected.abs().max() > 1
        assert (found - expected).abs().max() < 2e-4


def test_units_agree():
    checks = verify_units(GOLDEN / 'units.safetensors')
    assert len(checks) == 10
    assert [check for check in checks if not check.passed or check.decided_by_note] == []


def failing(checkpoint, name):
    """Stages that fail in a case."""
    verifier = CaseVerifier(checkpoint)
    case = {case.name: case for case in read_cases(checkpoint)}[name]
    return {check.stage for check in verifier.verify(case) if not check.passed}


@pytest.mark.parametrize('checkpoint, name', [(R1, 'greedy_turn'), (R1, 'sampled_multi'),
                                              (V1_5, 'six_cameras_nav_cfg')],
                         ids=lambda item: getattr(item, 'name', item))
@pytest.mark.parametrize('change', [
    lambda context: dataclasses.replace(context, position=context.position + 1),
    lambda context: dataclasses.replace(context, tail_length=context.tail_length - 1)],
    ids=['position off by one', 'last entry hidden'])
def test_a_slightly_wrong_loop_fails(monkeypatch, checkpoint, name, change):
    """Also where the loop is judged by its sensitivity, and only the loop."""
    right = Runtime.context
    monkeypatch.setattr(Runtime, 'context', lambda *args: change(right(*args)))
    assert failing(checkpoint, name) == set(LOOP)


def test_verify_checkpoint_covers_every_case(monkeypatch):
    monkeypatch.setattr(CaseVerifier, 'verify', lambda self, case: [(self.label, case.name)])
    for path, names in CASES.items():
        assert verify_checkpoint(path) == [(path.name, name) for name in names]
