"""``alpamayo verify``: what it says and its exit status, on right and on wrong directories."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from golden_data import GOLDEN, R1, copy_checkpoint, edit_json, edit_tensors

from alpamayo_ros.cli.main import main
from alpamayo_ros.model.runtime import Runtime

CASE = 'greedy_ended'
LOOP = {'action', 'path xyz, m', 'path rotation'}


@pytest.fixture
def directory(tmp_path, wide):
    """One checkpoint with one case, a well-conditioned one."""
    copy_checkpoint(wide, tmp_path, [CASE]).rename(tmp_path / 'model')
    return tmp_path


@pytest.fixture
def golden(tmp_path):
    """A golden checkpoint with one case, the loop of which can only be judged."""
    copy_checkpoint(R1, tmp_path, ['greedy_turn'])
    return tmp_path


@pytest.fixture
def verify(capsys):
    """Run the command, only torch; returns status, output and the failed stages."""
    def run(*arguments):
        status = main(['verify', *map(str, arguments), '--backends'])
        captured = capsys.readouterr()
        failed = {line.split('  ')[1].strip() for line in captured.out.splitlines()
                  if '  FAIL' in line}
        return status, captured.out + captured.err, failed
    return run


def test_all_is_well(directory, verify):
    shutil.copy(GOLDEN / 'units.safetensors', directory)
    status, output, failed = verify(directory)
    assert status == 0 and failed == set()
    assert f'model/{CASE}' in output and f'{directory.name}/units' in output
    assert '23 of 23 checks passed' in output and 'beyond the tolerance' not in output


def test_what_was_judged_is_said(golden, verify):
    status, output, failed = verify(golden)
    assert status == 0 and failed == set() and '13 of 13 checks passed' in output
    assert output.count('rounding alone moves this result by') == 3
    assert '3 are beyond the tolerance but within what float32 rounding alone' in output


def test_strictly_nothing_is_judged(golden, directory, verify):
    """Well-conditioned cases pass by the tolerance alone, the golden loop does not."""
    status, _, failed = verify(golden / 'r1', '--strict')
    assert status == 1 and failed == LOOP
    status, output, failed = verify(directory / 'model', '--strict')
    assert status == 0 and failed == set() and '13 of 13 checks passed' in output


def test_a_scaled_output_where_the_loop_is_judged(golden, verify):
    edit_tensors(golden / 'r1' / 'model.safetensors', scaled)
    differs(golden, verify, LOOP)


def test_the_checkpoint_itself_may_be_given(directory, verify):
    status, output, _ = verify(directory / 'model')
    assert status == 0 and '13 of 13 checks passed' in output


def scaled(tensors):
    for name in ('action_out_proj.weight', 'action_out_proj.bias'):
        tensors[name] *= 1.02


def differs(directory, verify, stages):
    status, output, failed = verify(directory)
    assert status == 1 and failed == stages, output
    assert f'{13 - len(stages)} of 13 checks passed' in output


def test_a_scaled_output(directory, verify):
    edit_tensors(directory / 'model' / 'model.safetensors', scaled)
    differs(directory, verify, LOOP)


def test_positions_off_by_one(golden, verify, monkeypatch):
    right = Runtime.context

    def late(*args):
        context = right(*args)
        return dataclasses.replace(context, position=context.position + 1)
    monkeypatch.setattr(Runtime, 'context', late)
    differs(golden, verify, LOOP)


def test_a_changed_token(directory, verify):
    edit_tensors(directory / 'model' / f'{CASE}.safetensors',
                 lambda tensors: tensors['sequences'][:, -3].add_(1))
    status, _, failed = verify(directory)
    assert status == 1 and 'tokens' in failed


def test_a_changed_prompt(directory, verify):
    edit_json(directory / 'model' / 'cases.json',
              lambda cases: cases[CASE].update(text=cases[CASE]['text'] + ' '))
    differs(directory, verify, {'prompt text'})


def test_a_changed_history(directory, verify):
    edit_tensors(directory / 'model' / f'{CASE}.safetensors',
                 lambda tensors: tensors['ego_history_xyz'][0, 0, 13:15, 0].sub_(0.3))
    status, _, failed = verify(directory)
    assert status == 1 and {'history ids', 'xyz of recorded action, m'} <= failed


def test_a_changed_picture(directory, verify):
    edit_tensors(directory / 'model' / f'{CASE}.safetensors',
                 lambda tensors: tensors['frames'][0, 0].clamp_(max=100))
    differs(directory, verify, {'patches, largest', 'patches, mean'})


def test_a_picture_of_another_size(directory, verify):
    def widen(tensors):
        tensors['frames'] = tensors['frames'].repeat(1, 1, 1, 2)
    edit_tensors(directory / 'model' / f'{CASE}.safetensors', widen)
    status, output, failed = verify(directory)
    assert status == 1 and {'patches, largest', 'patches, mean'} <= failed
    assert 'grid (1, ' in output and 'recorded (1, ' in output


def test_a_changed_reasoning_text(directory, verify):
    edit_json(directory / 'model' / 'cases.json', lambda cases: cases[CASE].update(cot=['no']))
    differs(directory, verify, {'reasoning text'})


def test_a_changed_end(directory, verify):
    edit_json(directory / 'model' / 'cases.json',
              lambda cases: cases[CASE].update(traj_future_start_at=[2]))
    differs(directory, verify, {'end of reasoning'})


@pytest.mark.parametrize('name, stage', [
    ('v0', 'v0, m/s'), ('action_xyz', 'action to xyz, m'), ('action_rot', 'action to rotation'),
    ('future_action_xyz', 'future_action to xyz, m'),
    ('future_action_rot', 'future_action to rotation'), ('delta_tokens', 'delta tokens'),
    ('delta_decoded_xyz', 'delta decoded xyz, m'), ('delta_yaw_tokens', 'delta tokens with yaw'),
    ('discrete_tokens', 'discrete tokens'), ('future_action', 'future to action')])
def test_changed_units(tmp_path, verify, name, stage):
    shutil.copy(GOLDEN / 'units.safetensors', tmp_path)

    def change(tensors):
        value = tensors[name]
        value.view(-1)[value.numel() // 2] += 1 if 'tokens' in name else 2e-3
    edit_tensors(tmp_path / 'units.safetensors', change)
    status, _, failed = verify(tmp_path)
    assert status == 1 and stage in failed


@pytest.mark.parametrize('name, stage', [('input_ids', 'prompt ids'), ('fused_ids', None)])
def test_ids_of_another_length(directory, verify, name, stage):
    edit_tensors(directory / 'model' / f'{CASE}.safetensors',
                 lambda tensors: tensors.update({name: tensors[name][:, 1:]}))
    status, _, failed = verify(directory)
    assert status == 1 and (stage or 'history ids') in failed


def test_units_of_another_shape(tmp_path, verify):
    shutil.copy(GOLDEN / 'units.safetensors', tmp_path)
    edit_tensors(tmp_path / 'units.safetensors', lambda tensors: tensors.update(
        delta_tokens=tensors['delta_tokens'][:, :-3], action_rot=tensors['action_rot'][:-1]))
    status, _, failed = verify(tmp_path)
    assert status == 1
    assert failed == {'delta tokens', 'delta decoded xyz, m', 'action to rotation'}


def test_json(directory, verify, tmp_path):
    edit_json(directory / 'model' / 'cases.json', lambda cases: cases[CASE].update(cot=['no']))
    status, _, _ = verify(directory, '--json', tmp_path / 'table.json')
    table = json.loads((tmp_path / 'table.json').read_text())
    assert status == 1 and table['device'] == 'cpu' and table['torch']
    rows = {row['stage']: row for row in table['checks']}
    assert len(rows) == 13
    assert rows['reasoning text']['error'] == 1 and not rows['reasoning text']['passed']
    assert rows['tokens']['passed'] and rows['tokens']['case'] == f'model/{CASE}'


def test_nothing_to_compare_is_2(tmp_path, verify):
    assert verify(tmp_path / 'nowhere')[0] == 2
    status, output, _ = verify(tmp_path)
    assert status == 2 and 'holds no recorded results; expected directories with' in output
    # A checkpoint without cases is nothing to compare with.
    copy_checkpoint(R1, tmp_path)
    assert verify(tmp_path)[0] == 2


@pytest.mark.parametrize('kind, item', [('tensor', 'noise'), ('tensor', 'pred_rot'),
                                        ('key', 'top_k'), ('key', 'text')])
def test_an_incomplete_case_is_named(directory, verify, kind, item):
    if kind == 'tensor':
        edit_tensors(directory / 'model' / f'{CASE}.safetensors', lambda tensors: tensors.pop(item))
    else:
        edit_json(directory / 'model' / 'cases.json', lambda cases: cases[CASE].pop(item))
    status, output, _ = verify(directory)
    assert status == 1 and f"case '{CASE}' of" in output and f"lacks the {kind} '{item}'" in output


def test_cameras_must_be_told(directory, verify):
    edit_json(directory / 'model' / 'cases.json', lambda cases: cases[CASE].pop('camera_indices'))
    status, output, _ = verify(directory)
    assert status == 1 and "lacks the key 'camera_indices' or 'cameras'" in output


def test_files_that_cannot_be_read(directory, verify):
    (directory / 'model' / f'{CASE}.safetensors').unlink()
    status, output, _ = verify(directory)
    assert status == 1 and f'{CASE}.safetensors is no readable safetensors file' in output
    (directory / 'model' / 'model.safetensors').write_bytes(b'')
    status, output, _ = verify(directory)
    assert status == 1 and 'model.safetensors is no readable safetensors file' in output
    (directory / 'model' / 'cases.json').write_text('[')
    status, output, _ = verify(directory)
    assert status == 1 and 'cannot be read as JSON' in output or 'no readable' in output


def test_a_device_that_is_not_there(directory, verify):
    status, output, _ = verify(directory, '--device', 'gpu')
    assert status == 2 and "device is 'gpu'; expected 'cpu'" in output
