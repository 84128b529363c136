"""The expert's backends: the same numbers from all, the cache read in place, clear refusals."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from exported import MAX_PREFIX, TAIL, built, copied, exported, random_context
from golden_data import PIXELS, R1, V1_5

from alpamayo_ros.errors import EngineError, PlanCancelled
from alpamayo_ros.model import flow
from alpamayo_ros.model.checkpoint import DTYPES, EXPERT, fingerprints, load_model
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.decoding import never
from alpamayo_ros.model.expert import BACKENDS, captured, make_backend
from alpamayo_ros.model.expert.placed import PlacedExpert
from alpamayo_ros.model.expert.protocol import ExpertOptions, Guidance
from alpamayo_ros.model.kv_cache import CacheRoom
from alpamayo_ros.planner import Planner
from alpamayo_ros.settings import PlannerSettings
from alpamayo_ros.verification import backend_checks
from alpamayo_ros.verification.backend_checks import BackendVerifier, verify_backends

SETTINGS = PlannerSettings(num_candidates=4, max_generation_length=TAIL, **PIXELS)


def opened(checkpoint, dtype, folder, groups, samples, backend='onnxruntime'):
    """Backend and PyTorch over the same weights."""
    config = load_config(checkpoint)
    model = load_model(config, torch.device('cpu'), DTYPES[dtype], parts=EXPERT)
    options = ExpertOptions(groups=groups, samples=samples, max_tail=TAIL, engine_dir=folder,
                            fingerprint=fingerprints(config)[1])
    return make_backend(backend, model, options), make_backend('torch', model), config


@pytest.mark.parametrize('dtype, tolerance', [('float32', 2e-5), ('float16', 2e-2)])
@pytest.mark.parametrize('prompt, weight', [(1, 0), (5, 0), (300, 0), (300, 1.7)])
def test_a_step_is_that_of_pytorch(dtype, tolerance, prompt, weight):
    """Tails of different lengths, prompts of any length, guidance with a prompt of another."""
    expert, reference, config = opened(V1_5, dtype, exported(V1_5, dtype, 3, 2), 3, 2)
    context = random_context(config.text, DTYPES[dtype], prompt=prompt, ends=[2, TAIL, 7])
    guidance = Guidance(random_context(config.text, DTYPES[dtype], prompt=prompt + 40,
                                       ends=[2, TAIL, 7], seed=1), weight) if weight else None
    noise = torch.randn(3, 2, 64, 2, generator=torch.Generator().manual_seed(2))
    times = torch.tensor([0.3, 1.3])
    found, expected = (backend.integrate(noise, times, context, guidance=guidance,
                                         should_stop=never) for backend in (expert, reference))
    assert float((found - expected).abs().max()) < tolerance
    assert float((expected - noise).abs().max()) > 0.3


def test_the_loop_ends_where_pytorch_ends(deep):
    """Well conditioned, so strictly; in half precision within what it can do."""
    verifier = BackendVerifier(deep)
    checks = verifier.verify('onnxruntime', 'float32', 'cpu')
    checks += verifier.verify('onnxruntime', 'float16', 'cpu')
    checks += verifier.verify('torch', 'float16', 'cpu')
    assert [check.stage for check in checks] == [
        'onnxruntime float32: velocity', 'onnxruntime float32: action',
        'onnxruntime float16: 1 - cosine', 'onnxruntime float16: action',
        'torch float16: 1 - cosine', 'torch float16: action']
    assert [check for check in checks if not check.passed] == []
    assert all(check.decided_by_note is None for check in checks)
    assert checks[1].error < 2e-5


@pytest.mark.parametrize('name, change', [
    ('position', lambda value: value + 1), ('tail_length', lambda value: value - 1),
    ('prompt_v_1', lambda value: -value), ('tail_k_0', lambda value: value.flip(-2))])
def test_every_input_counts(monkeypatch, name, change):
    """With one of them wrong a step is another: far beyond the tolerance above."""
    expert, reference, config = opened(R1, 'float32', exported(R1, 'float32'), 1, 4)
    context = random_context(config.text, torch.float32, prompt=30, ends=[9])
    right = PlacedExpert.bindings
    monkeypatch.setattr(PlacedExpert, 'bindings', lambda self, context: {
        **right(self, context), name: change(right(self, context)[name]).contiguous()})
    noise, times = torch.zeros(1, 4, 64, 2), torch.tensor([0.3, 1.3])
    found, expected = (backend.integrate(noise, times, context, should_stop=never)
                       for backend in (expert, reference))
    assert float((found - expected).abs().max()) > 1e-3


def test_the_cache_is_read_where_it_lies():
    expert, _, config = opened(R1, 'float16', exported(R1, 'float16'), 1, 4)
    room = CacheRoom(MAX_PREFIX, 1, TAIL)
    context = random_context(config.text, torch.float16, prompt=33, ends=[5], least=room)
    bound = expert.bindings(context)
    assert len(bound) == 2 + 4 * config.text.num_layers
    for layer in range(config.text.num_layers):
        for kind, pair in (('prompt', context.cache.prompt(layer)),
                           ('tail', context.cache.tail_room(layer))):
            for part, value in zip('kv', pair, strict=True):
                found = bound[f'{kind}_{part}_{layer}']
                assert found.data_ptr() == value.data_ptr()
                assert found.is_contiguous()
                assert found.data_ptr() % 64 == 0
    assert tuple(bound['prompt_k_0'].shape) == (2, 33, 16)
    assert expert.room == room
    assert expert.fitted(CacheRoom(40, 1, 3)) == CacheRoom(40, 1, TAIL)


def test_a_cache_that_lies_otherwise_is_refused():
    expert, _, config = opened(R1, 'float16', exported(R1, 'float16'), 1, 4)
    with pytest.raises(EngineError, match=r'prompt_k_0 is .*torch.float32.*; expected .*float16'):
        expert.bindings(random_context(config.text, torch.float32, prompt=9, ends=[5]))
    with pytest.raises(EngineError, match=rf'tail_k_0 is \(1, 2, 9, 16\).*expected \(1, 2, {TAIL}'):
        expert.bindings(random_context(config.text, torch.float16, prompt=9, ends=[5], room=9))
    context = random_context(config.text, torch.float16, prompt=9, ends=[5])
    context.cache.prompt_length = 8  # less than reserved: the heads are no longer side by side
    with pytest.raises(EngineError, match='not contiguous'):
        expert.bindings(context)


@pytest.mark.parametrize('backend', ['torch', 'onnxruntime'])
def test_it_stops_between_steps(backend):
    expert, reference, config = opened(R1, 'float32', exported(R1, 'float32'), 1, 4)
    context = random_context(config.text, torch.float32, prompt=9, ends=[5])
    asked = iter([False, False, True])
    with pytest.raises(PlanCancelled):
        {'torch': reference, 'onnxruntime': expert}[backend].integrate(
            torch.zeros(1, 4, 64, 2), flow.schedule(10), context,
            should_stop=lambda: next(asked))
    assert next(asked, None) is None


@pytest.mark.parametrize('backend', ['torch', 'onnxruntime'])
def test_a_closed_one_does_not_run(backend):
    expert, reference, config = opened(R1, 'float32', exported(R1, 'float32'), 1, 4)
    closed = {'torch': reference, 'onnxruntime': expert}[backend]
    closed.close()
    with pytest.raises(ValueError, match='the expert is closed'):
        closed.integrate(torch.zeros(1, 4, 64, 2), flow.schedule(1), random_context(
            config.text, torch.float32, prompt=9, ends=[5]), should_stop=never)


def test_the_planner_plans_with_it():
    folder = exported(R1, 'float32')
    plans = []
    for options in ({}, {'backend': 'onnxruntime', 'engine_dir': folder}):
        settings = dataclasses.replace(SETTINGS, num_inference_steps=1, top_k=1)
        planner = Planner.load(R1, settings, **options)
        planner.warm_up([0, 1], image_size=(96, 128))
        seen = []
        right = planner.runtime.integrate

        def integrate(*args, keep=seen, right=right, **kwargs):
            keep.append(right(*args, **kwargs))
            return keep[-1]
        planner.runtime.integrate = integrate
        planner.warm_up([0, 1], image_size=(96, 128))
        plans.append((planner.backend, seen[0]))
        planner.close()
    assert [name for name, _ in plans] == ['torch', 'onnxruntime']
    assert float((plans[0][1] - plans[1][1]).abs().max()) < 1e-4


@pytest.mark.parametrize('backend, manifest', [('onnxruntime', 'export.json'),
                                               ('tensorrt', 'engine.json')])
@pytest.mark.parametrize('changes, found, expected', [
    ({'num_candidates': 8}, 'the number of candidates is 4', 'expected 8'),
    ({'reasoning_mode': 'multi'}, 'the reasoning mode is single', 'expected multi'),
    ({'max_generation_length': TAIL + 1}, f'tokens, is {TAIL}', f'expected at least {TAIL + 1}')])
def test_settings_it_was_not_made_for_are_refused_at_load(backend, manifest, changes, found,
                                                          expected):
    folder = built(R1, 'float16')
    settings = dataclasses.replace(SETTINGS, **changes)
    with pytest.raises(EngineError) as refusal:
        Planner.load(R1, settings, dtype='float16', backend=backend, engine_dir=folder)
    said = str(refusal.value)
    assert f'{found}; {expected}' in said
    made_by = {'onnxruntime': 'export', 'tensorrt': 'build-engine'}[backend]
    assert f'with: alpamayo {made_by} {R1} --candidates {settings.num_candidates} --mode ' in said
    assert f'--output {folder}' in said


def test_other_weights_precision_and_tensorrt_are_refused():
    folder = built(R1, 'float16')
    with pytest.raises(EngineError, match='the expert it was made from is .{16}; expected .{16}'):
        Planner.load(V1_5, SETTINGS, dtype='float16', backend='tensorrt', engine_dir=folder)
    with pytest.raises(EngineError, match='the precision is float16; expected float32'):
        Planner.load(R1, SETTINGS, backend='tensorrt', engine_dir=folder)
    changed = copied(folder)
    data = json.loads((changed / 'engine.json').read_text())
    (changed / 'engine.json').write_text(json.dumps({**data, 'tensorrt': '1.0.0'}))
    with pytest.raises(EngineError, match=rf'the TensorRT version is 1\.0\.0; expected '
                                          rf'{data["tensorrt"]}.*build-engine'):
        Planner.load(R1, SETTINGS, dtype='float16', backend='tensorrt', engine_dir=changed)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_tensorrt_does_not_run_elsewhere_than_asked():
    with pytest.raises(EngineError, match="runs on a GPU, and device is 'cpu'.*'onnxruntime'"):
        Planner.load(R1, SETTINGS, dtype='float16', backend='tensorrt',
                     engine_dir=built(R1, 'float16'))


@pytest.mark.parametrize('backend', ['onnxruntime', 'tensorrt'])
def test_a_directory_is_needed_and_must_hold_something(backend, tmp_path):
    with pytest.raises(EngineError, match=f"backend '{backend}' needs a directory.*engine_dir"):
        Planner.load(R1, SETTINGS, backend=backend)
    with pytest.raises(EngineError, match=r'\.json does not exist; make it with: alpamayo .*'
                                          '--candidates 4 .*--max-prefix 6144 '):
        Planner.load(R1, SETTINGS, backend=backend, engine_dir=tmp_path)


def test_a_longer_prompt_is_refused_before_it_is_run():
    planner = Planner.load(R1, SETTINGS, dtype='float16', backend='onnxruntime',
                           engine_dir=exported(R1, 'float16'))
    with pytest.raises(EngineError, match=rf'the prompt has \d+ tokens; .* was made for up to '
                                          rf'{MAX_PREFIX}.*--max-prefix 1024'):
        planner.warm_up([0, 1, 2, 3, 5, 6], 8, image_size=(96, 128))
    with pytest.raises(EngineError, match='1 reasonings x 5 candidates x 64'):
        planner.runtime.expert.check_noise(torch.zeros(1, 5, 64, 2))
    with pytest.raises(EngineError, match='2 reasonings are asked for; .* was made for 1'):
        planner.runtime.expert.fitted(CacheRoom(9, 2, 3))
    with pytest.raises(EngineError, match=f'reasonings of up to {TAIL + 1} tokens'):
        planner.runtime.expert.fitted(CacheRoom(9, 1, TAIL + 1))


def test_what_onnxruntime_cannot_do_is_told():
    with pytest.raises(EngineError, match="dtype is 'bfloat16'"):
        Planner.load(R1, SETTINGS, dtype='bfloat16', backend='onnxruntime',
                     engine_dir=exported(R1, 'float16'))
    with pytest.raises(ValueError, match=f'expected one of {", ".join(BACKENDS)}'):
        Planner.load(R1, SETTINGS, backend='onnx')


def test_a_backend_that_is_missing_fails_the_verification(monkeypatch):
    def missing(self, backend, dtype, device):
        raise EngineError('onnxruntime cannot be imported')
    monkeypatch.setattr(backend_checks.BackendVerifier, 'verify', missing)
    checks = verify_backends(R1, ['onnxruntime'])
    assert [(check.passed, check.note) for check in checks] == [
        (False, 'not compared: onnxruntime cannot be imported')]


def test_what_a_captured_loop_takes_for_granted():
    config = load_config(R1)
    context = random_context(config.text, torch.float32, prompt=20, ends=[5],
                             least=CacheRoom(64, 1, TAIL))
    cache, place = context.cache, captured.place(context.cache)
    static = captured.StaticContext(context)
    before = static.value.position.data_ptr(), static.value.tail_length.data_ptr()
    cache.reserve(20, 1, TAIL)
    cache.prompt_length = 20
    other = dataclasses.replace(context, tail_length=context.tail_length + 3,
                                position=context.position + 1)
    assert captured.place(other.cache) == place
    static.load(other)
    assert (static.value.position.data_ptr(), static.value.tail_length.data_ptr()) == before
    assert (static.value.tail_length, static.value.position) == (8, context.position + 1)
    for prompt, groups, room in ((21, 1, TAIL), (20, 2, TAIL), (20, 1, 4)):
        cache.reserve(prompt, groups, room)
        cache.prompt_length = prompt
        assert captured.place(other.cache) != place


def test_captured_loops_are_kept_and_the_oldest_given_up(monkeypatch):
    made = []

    class Loop:
        def __init__(self, prepare, noise, times, context, guidance):
            made.append(context.cache.prompt_length)

        def __call__(self, noise, times, context, guidance):
            return noise + context.cache.prompt_length
    monkeypatch.setattr(captured, 'CapturedLoop', Loop)
    config = load_config(R1)
    contexts = {length: random_context(config.text, torch.float32, prompt=length, ends=[5])
                for length in (10, 11, 12, 13, 14)}
    loops = captured.CapturedLoops(lambda context: None)

    def run(length):
        result = loops.integrate(torch.zeros(1), flow.schedule(10), contexts[length], None, never)
        assert float(result) == length
    for length in (10, 11, 10, 12, 13, 10, 14, 10, 11):
        run(length)
    assert made == [10, 11, 12, 13, 14, 11]
    with pytest.raises(PlanCancelled):
        loops.integrate(torch.zeros(1), flow.schedule(10), contexts[10], None, lambda: True)
