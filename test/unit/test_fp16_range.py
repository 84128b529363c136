"""The range of float16: every half-precision tensor of the expert's step is seen, and judged."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from alpamayo_ros.bench.geometry import GEOMETRIES
from alpamayo_ros.cli.main import main
from alpamayo_ros.model import layers
from alpamayo_ros.verification import fp16_range
from alpamayo_ros.verification.fp16_range import LARGEST, MARGIN, Magnitudes, check_fp16_range

TINY = GEOMETRIES['tiny']
PREFIX = 30


def tiny(**options):
    return {check.stage: check for check in check_fp16_range(TINY, 'tiny', prefix=PREFIX,
                                                             **options)}


def test_the_tiny_expert_is_within_range():
    checks = tiny()
    assert all(check.passed for check in checks.values())
    assert {check.tolerance for check in checks.values()} == {LARGEST / MARGIN}
    magnitudes = [check.error for check in checks.values()]
    assert magnitudes == sorted(magnitudes, reverse=True) and all(map(math.isfinite, magnitudes))
    # What makes values large is there, in the layer it was put into.
    assert checks['mlp: mul 1'].error == pytest.approx(fp16_range.UNIT, rel=0.05)
    assert checks['mlp.down_proj: linear 1'].error == pytest.approx(fp16_range.MASSIVE, rel=0.1)
    assert checks['mlp.down_proj: linear 1'].note == 'layer 1'
    assert checks['self_attn.q_norm.weight (weight)'].error == fp16_range.SHARP


def test_every_part_of_the_step_is_seen():
    stages = set(tiny())
    assert {'step: to 1', 'prompt keys (input)', 'tail values (input)', 'norm: mul 1',
            'action_out_proj: linear 1', 'action_out_proj.weight (weight)'} <= stages
    # Products with the keys and with the values of prompt, own block and tail.
    assert {f'step: matmul {index}' for index in range(1, 7)} <= stages
    for part in ('self_attn.q_proj', 'self_attn.o_proj', 'mlp.gate_proj', 'mlp.down_proj'):
        assert {f'{part}: linear 1', f'{part}.weight (weight)'} <= stages
    assert {'step: add 3', 'step: add 4'} <= stages  # the residual stream


def test_the_residual_stream_grows_as_stated():
    """Massive channels aside, its root mean square ends at what all layers add up to."""
    ends = []
    right = layers.RMSNorm.forward

    def forward(self, x):
        if x.shape[-1] == TINY.expert.hidden:
            ends.append(x[..., fp16_range.MASSIVE_CHANNELS:].float().square().mean().sqrt())
        return right(self, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers.RMSNorm, 'forward', forward)
        tiny()
    assert float(ends[-1]) == pytest.approx(fp16_range.RESIDUAL, rel=0.2)
    assert [float(end) for end in ends] == sorted(map(float, ends))


def test_a_norm_that_squares_in_half_precision_fails(monkeypatch):
    """The mistake that the float32 of the norms is there to avoid."""
    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))
    monkeypatch.setattr(layers.RMSNorm, 'forward', forward)
    failed = [check for check in tiny().values() if not check.passed]
    assert 'norm: square 1' in {check.stage for check in failed}
    assert max(check.error for check in failed) > LARGEST


def test_a_cache_beyond_the_range_fails(monkeypatch):
    monkeypatch.setattr(fp16_range, 'VALUE', 20000.0)
    checks = tiny()
    assert not checks['prompt values (input)'].passed and not checks['step: matmul 4'].passed
    assert checks['prompt keys (input)'].passed
    assert not tiny(margin=1e6)['prompt keys (input)'].passed


def test_only_the_type_in_question_is_recorded():
    seen = Magnitudes(torch.float16)
    part = nn.Linear(2, 2, bias=False).half()
    nn.init.constant_(part.weight, 2.0)
    with seen, torch.inference_mode():
        seen.follow(part, 'part')
        x = torch.tensor([3.0, -40.0])
        half = x.to(torch.float16)
        part(half)
        (half + half).float().square()
        with seen.paused():
            half * 1000
        half.view(1, 2)
    assert seen.largest == {
        'part.weight (weight)': (2.0, 0), 'step: to 1': (40.0, 0), 'part: linear 1': (74.0, 0),
        'step: add 1': (80.0, 0)}


def test_what_is_no_number_is_not_lost():
    seen = Magnitudes(torch.float16)
    for name, odd in (('x', math.nan), ('y', math.inf), ('z', -math.inf)):
        for value in (3.0, odd, 5.0):
            seen.note(name, torch.tensor([value, 1.0], dtype=torch.float16))
    assert set(seen.largest.values()) == {(math.inf, 0)} and len(seen.largest) == 3


def test_the_command(capsys, tmp_path):
    status = main(['verify', '--fp16-range', '--geometry', 'tiny', '--json',
                   str(tmp_path / 'range.json')])
    output, errors = capsys.readouterr()
    assert status == 0 and 'fp16 range tiny' in output and 'FAIL' not in output
    assert 'prompt of 5000 tokens' in errors and '"stage": "mlp: mul 1"' in (
        tmp_path / 'range.json').read_text()
    assert main(['verify']) == 2
    assert 'no directory is given' in capsys.readouterr().err


def test_the_command_fails_when_something_is_out_of_range(capsys, monkeypatch):
    monkeypatch.setattr(fp16_range, 'MASSIVE', 40000.0)
    assert main(['verify', '--fp16-range', '--geometry', 'tiny']) == 1
    assert 'mlp.down_proj: linear 1' in [line.split('  ')[1].strip() for line in
                                         capsys.readouterr().out.splitlines() if 'FAIL' in line]
