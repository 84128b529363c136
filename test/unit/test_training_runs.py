"""Training runs: what is refused, what a run begins with, and with what it goes on."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden_data import edit_json, edit_tensors
from safetensors.torch import load_file
from torch import nn

from alpamayo_ros.cli.main import main
from alpamayo_ros.evaluation.seeds import training_seed
from alpamayo_ros.training.loop import Progress, fit
from alpamayo_ros.training.settings import StageSettings, TrainingSettings
from alpamayo_ros.training.train import train

SETTINGS = TrainingSettings(compiled=False)
WEIGHTS = 'model.safetensors'


def without_work(patch) -> dict[str, int]:
    """Let the stages take no time and learn nothing; returns the seeds they get, by name."""
    found = {}

    def stage(name, stage, settings, progress, model, passes, seed, stack):
        found[name] = seed

    for name in ('_vision', '_reasoning', '_expert'):
        patch.setattr(f'alpamayo_ros.training.train.{name}', stage)
    patch.setattr('alpamayo_ros.training.train.draw_curves', lambda log, picture: None)
    return found


@pytest.fixture
def seeds(monkeypatch):
    return without_work(monkeypatch)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A run from nothing that came to its end."""
    with pytest.MonkeyPatch.context() as patch:
        without_work(patch)
        directory = tmp_path_factory.mktemp('runs') / 'first'
        train(directory, SETTINGS)
    return directory


@pytest.fixture
def run(tmp_path, finished):
    """That run, to go on with or to break."""
    return Path(shutil.copytree(finished, tmp_path / 'run'))


def contents(directory):
    return {path.relative_to(directory): path.read_bytes()
            for path in sorted(directory.rglob('*')) if path.is_file()}


def interrupt(*_):
    raise KeyboardInterrupt


def set_state(directory, **state):
    torch.save({'done': [], 'stage': None, 'step': 0, **state}, directory / 'training/state.pt')


# Values that cannot be

@pytest.mark.parametrize(('arguments', 'says'), [
    (['--steps', 'glances=3'], "'glances' is no stage; expected one of vision, glance"),
    (['--steps', 'glance=0'], 'steps of glance are 0; expected 1 or more'),
    (['--steps', 'glance'], "'glance'; expected a stage and its steps, as in glance=500"),
    (['--steps', 'vision=150000'], 'steps of vision are 150000; expected at most 140625'),
    (['--twice', 'kerb'], 'kinds to draw twice are kerb; expected some of clear_road, curve'),
    (['--scale', '0'], 'scale of the steps is 0.0; expected a finite number above 0'),
    (['--scale', 'inf'], 'scale of the steps is inf; expected a finite number above 0'),
    (['--scale', 'nan'], 'scale of the steps is nan; expected a finite number above 0'),
    (['--scale', '1e308'], 'scale of the steps is 1e+308; expected a finite number above 0'),
    (['--seed', '-1'], 'seed is -1; expected 0 to 9'),
    (['--seed', '10'], 'seed is 10; expected 0 to 9'),
    (['--workers', '0'], 'workers are 0; expected 1 or more'),
    (['--threads', '-1'], 'threads are -1; expected 0 or more'),
    (['--device', 'abacus'], "device is 'abacus'; expected 'cpu', 'cuda' or 'cuda:N'"),
    (['--device', 'cuda'], "device is 'cuda', but torch")])
def test_command_names_what_it_cannot_do(tmp_path, capsys, monkeypatch, arguments, says):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr('alpamayo_ros.training.train.train', None)
    try:
        code = main(['train', str(tmp_path / 'run'), *arguments])
    except SystemExit as ended:
        code = ended.code
    assert code == 2 and says in capsys.readouterr().err


def test_a_device_that_is_not_there_is_found_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="device is 'abacus'"):
        train(tmp_path / 'run', SETTINGS, 'abacus')
    assert not (tmp_path / 'run').exists()


def test_a_training_that_diverges_is_a_message(tmp_path, capsys, monkeypatch):
    def diverge(*_):
        raise FloatingPointError('losses are nan; expected finite ones')

    monkeypatch.setattr('alpamayo_ros.training.train.train', diverge)
    assert main(['train', str(tmp_path)]) == 1
    assert 'alpamayo train: losses are nan; expected finite ones' in capsys.readouterr().err


# Going on

def test_each_stage_has_drives_of_its_own(tmp_path, seeds):
    settings = replace(SETTINGS, seed=2)
    stages = ('vision', 'glance', 'reasoning', 'expert')
    train(tmp_path, settings)
    assert seeds == {name: training_seed(2, index) for index, name in enumerate(stages)}
    seeds.clear()
    set_state(tmp_path, done=['vision'])
    train(tmp_path, settings)
    assert seeds == {name: training_seed(2, stages.index(name)) for name in stages[1:]}


@pytest.mark.parametrize('end', ['', '{"stage": "glance", "st'])
def test_what_was_logged_and_not_kept_is_not_logged_twice(tmp_path, end):
    rows = [('vision', 20), ('vision', 40), ('glance', 20), ('glance', 40)]
    lines = [f'{{"stage": "{stage}", "step": {step}}}\n' for stage, step in rows]
    (tmp_path / 'log.jsonl').write_text(''.join(lines) + end, encoding='utf-8')
    torch.save({'done': ['vision'], 'stage': 'glance', 'step': 20}, tmp_path / 'state.pt')
    Progress(tmp_path).begin()
    assert (tmp_path / 'log.jsonl').read_text(encoding='utf-8') == ''.join(lines[:3])


def test_a_state_that_does_not_say_what_was_drawn_is_a_message(run, seeds):
    set_state(run, done=['vision'], stage='glance', step=20)
    before = contents(run)
    with pytest.raises(ValueError, match='state.pt does not say what stage glance had drawn'):
        train(run, SETTINGS)
    assert not seeds and contents(run) == before


STAGE = StageSettings(steps=6, batch=1, rate=1e-2, reuse=1, store=1)


@pytest.mark.parametrize('when', [3, 5])
def test_nothing_broken_is_kept(tmp_path, monkeypatch, when):
    """The loss of a step is finite and its gradient is not; the last step is no exception."""
    monkeypatch.setattr('alpamayo_ros.training.loop._SAVE_EVERY_S', 0.0)
    monkeypatch.setattr('alpamayo_ros.training.loop._LOG_EVERY', 1)
    layer = nn.Linear(3, 1)

    def losses(step):
        total = layer.weight.square().sum()
        return {'loss': (0 * total).sqrt() if step == when else total}

    with pytest.raises(FloatingPointError, match=f'stage some, step {when}: 1 of the weights'):
        fit('some', STAGE, Progress(tmp_path), layer, [layer], losses, weight_decay=0.0)
    progress = Progress(tmp_path)
    assert progress.step('some') == when
    assert all(value.isfinite().all() for value in progress.state['modules'].values())
    fit('some', STAGE, progress, layer, [layer],
        lambda step: {'loss': layer.weight.square().sum()}, weight_decay=0.0)
    assert Progress(tmp_path).step('some') == STAGE.steps - 1  # its end is for ``finish`` to note


def test_the_last_weights_of_a_stage_are_finite(tmp_path):
    layer = nn.Linear(3, 1)
    with pytest.raises(FloatingPointError, match='step 5: 1 of the weights learnt'):
        fit('some', STAGE, Progress(tmp_path), layer, [layer],
            lambda step: {'loss': (0 * layer.weight.square().sum()).sqrt()
                          if step == 5 else layer.weight.square().sum()}, weight_decay=0.0)


def test_weights_without_their_state_are_not_trained_again(run, seeds, capsys):
    state = run / 'training' / 'state.pt'
    state.unlink()
    before = contents(run)
    assert main(['train', str(run), '--eager']) == 1
    assert f'{run} has model.safetensors but no training/state.pt' in capsys.readouterr().err
    assert not seeds and contents(run) == before


def test_a_state_without_its_weights_is_not_gone_on_with(run, seeds):
    (run / WEIGHTS).unlink()
    set_state(run, done=['vision', 'glance'])
    with pytest.raises(ValueError, match='vision, glance is done, but .*model.safetensors is gone'):
        train(run, SETTINGS)
    assert not seeds


@pytest.mark.parametrize('place', [
    'alpamayo_ros.training.train.Progress.finish', 'alpamayo_ros.training.train._save'])
def test_killed_before_the_first_weights_are_written(tmp_path, seeds, monkeypatch, place):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(place, interrupt)
        train(tmp_path, SETTINGS)
    assert not (tmp_path / WEIGHTS).exists()
    seeds.clear()
    train(tmp_path, SETTINGS)
    assert Progress(tmp_path / 'training').is_done('expert') and (tmp_path / WEIGHTS).exists()
    assert ('vision' in seeds) is place.endswith('finish')


def test_weights_that_were_not_written_at_the_end_are_written_later(run, seeds):
    weights = (run / WEIGHTS).read_bytes()
    edit_tensors(run / WEIGHTS, lambda tensors: tensors['action_out_proj.bias'].add_(1))
    train(run, SETTINGS)
    assert not seeds and (run / WEIGHTS).read_bytes() == weights


@pytest.mark.parametrize('kept', [0, 3, -50])
def test_a_torn_state_is_a_message(run, seeds, capsys, kept):
    state = run / 'training' / 'state.pt'
    state.write_bytes(state.read_bytes()[:kept])
    before = contents(run)
    assert main(['train', str(run), '--eager']) == 1
    assert f'alpamayo train: {state} cannot be read: ' in capsys.readouterr().err
    assert not seeds and contents(run) == before


def test_torn_weights_are_a_message(run, capsys):
    (run / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes()[:5000])
    assert main(['train', str(run), '--eager']) == 1
    assert f'{run / WEIGHTS} is no readable safetensors file' in capsys.readouterr().err


# Beginning with another checkpoint

SECOND = replace(SETTINGS, seed=2)


def test_a_run_goes_on_with_what_it_began_with_and_nothing_else(tmp_path, finished, run, seeds):
    second = tmp_path / 'second'
    train(second, SECOND, start=finished)
    assert set(seeds) == {'glance', 'reasoning', 'expert'}
    edit_tensors(run / WEIGHTS, lambda tensors: tensors['action_out_proj.bias'].add_(1))
    sums = [hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest() for path in (run, finished)]
    before = contents(second)
    with pytest.raises(ValueError, match=f'has the sum {sums[0]}, but this run began with '
                                         f"'first', whose sum is {sums[1]}"):
        train(second, SECOND, start=run)
    assert contents(second) == before
    for start in (finished, None):
        set_state(second, done=['vision', 'glance'])
        seeds.clear()
        train(second, SECOND, start=start)
        assert set(seeds) == {'reasoning', 'expert'}


def test_a_run_from_nothing_does_not_begin_again_with_a_checkpoint(finished, run, seeds):
    for gone in (None, WEIGHTS):
        if gone:
            set_state(run, stage='vision', step=3, drawn={})
            (run / gone).unlink()
        before = contents(run)
        with pytest.raises(ValueError, match=f'--start is {finished}, but .* a run from nothing'):
            train(run, SETTINGS, start=finished)
        assert not seeds and contents(run) == before


def shorter(tensors):
    tensors['action_out_proj.bias'] = tensors['action_out_proj.bias'][:-1].clone()


MISFITS = [
    (lambda start: edit_tensors(start / WEIGHTS, shorter),
     'weight action_out_proj.bias has shape (1,); expected (2,)'),
    (lambda start: edit_tensors(start / WEIGHTS, lambda tensors: tensors.pop(
        'action_out_proj.bias')), 'weight action_out_proj.bias has shape None; expected (2,)'),
    (lambda start: (start / WEIGHTS).write_bytes((start / WEIGHTS).read_bytes()[:-9]),
     'model.safetensors is no readable safetensors file'),
    (lambda start: (start / WEIGHTS).unlink(), 'No such file'),
    (lambda start: edit_json(start / 'vlm/config.json', lambda value: value.update(more=1)),
     'vlm/config.json differs from what this version trains')]


def test_a_start_that_does_not_fit_leaves_nothing_behind(tmp_path, finished, seeds, capsys):
    command = ['train', str(tmp_path / 'second'), '--eager', '--seed', '2', '--start']
    for index, (change, says) in enumerate(MISFITS):
        start = Path(shutil.copytree(finished, tmp_path / f'start_{index}'))
        change(start)
        assert main([*command, str(start)]) == 1
        assert says in capsys.readouterr().err and not (tmp_path / 'second').exists()
    assert main([*command, str(finished)]) == 0
    assert set(seeds) == {'glance', 'reasoning', 'expert'}


@pytest.mark.parametrize('there', ['start.json', 'state.pt'])
def test_a_start_that_was_killed_goes_on(tmp_path, finished, seeds, monkeypatch, there):
    second = tmp_path / 'second'
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*((Progress, 'finish', interrupt) if there == 'start.json' else
                        ('alpamayo_ros.training.train._model', interrupt)))
        train(second, SECOND, start=finished)
    if there == 'state.pt':
        (second / WEIGHTS).unlink()
    assert (second / 'training' / there).exists() and not (second / WEIGHTS).exists()
    with pytest.raises(ValueError, match='start.json says that this run begins with the weights'):
        train(second, SECOND)
    assert not seeds
    train(second, SECOND, start=finished)
    assert set(seeds) == {'glance', 'reasoning', 'expert'}
    begun, got = load_file(finished / WEIGHTS), load_file(second / WEIGHTS)
    assert all(torch.equal(begun[name], got[name]) for name in begun)
