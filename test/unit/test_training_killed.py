"""A training run as a whole: killed anywhere it gives the same bytes; one begins with another."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from alpamayo_ros.training import train as training
from alpamayo_ros.training.loop import Progress
from alpamayo_ros.training.settings import StageSettings, TrainingSettings
from alpamayo_ros.training.store import Store
from alpamayo_ros.training.train import train


@contextmanager
def in_this_process(make, seeds, workers):
    """In place of ``Stream``, whose processes take seconds to begin."""
    yield (((seed, place), item) for seed in seeds for place, item in enumerate(make(seed)))


KILLED = {
    'often saved': [('vision', 4), ('glance', 2), ('glance', 5), ('reasoning', 'end'),
                    ('expert', 2), ('expert', 4)],
    'never saved': [('vision', 'end'), ('vision', 'noted'), ('glance', 'noted'), ('expert', 4),
                    ('expert', 'end'), ('expert', 'noted')]}
"""Where runs are killed: before a step is logged, before the end of a stage is noted, or after
that before its weights are written."""


def test_a_run_that_was_killed_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr('alpamayo_ros.training.train.Stream', in_this_process)
    monkeypatch.setattr(Store, 'FIRST', 4)
    monkeypatch.setattr('alpamayo_ros.training.loop._LOG_EVERY', 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that sums are always rounded alike
    few = StageSettings(5, 2, 1e-3, 2.0, 5, (1,), frames=1)
    settings = TrainingSettings(vision=few, glance=few, reasoning=replace(few, sees=False),
                                expert=few, draws=2, compiled=False)
    left = []
    log, finish, save = Progress.log, Progress.finish, training._save

    def killed_at(*place):
        if left and left[0] == place:
            left.pop(0)
            raise KeyboardInterrupt

    def log_or_be_killed(self, stage, step, values):
        killed_at(stage, step)
        log(self, stage, step, values)

    def finish_or_be_killed(self, stage, model):
        killed_at(stage, 'end')
        finish(self, stage, model)

    def save_or_be_killed(model, directory):
        killed_at(Progress(directory / 'training').state['done'][-1], 'noted')
        save(model, directory)

    def found(directory):
        rows = (directory / 'training/log.jsonl').read_text(encoding='utf-8').splitlines()
        return ([json.loads(row) | {'seconds': None} for row in rows],
                (directory / 'model.safetensors').read_bytes(),
                (directory / 'training/curves.png').read_bytes())

    try:
        train(tmp_path / 'whole', settings)
        monkeypatch.setattr(Progress, 'log', log_or_be_killed)
        monkeypatch.setattr(Progress, 'finish', finish_or_be_killed)
        monkeypatch.setattr(training, '_save', save_or_be_killed)
        for name, places in KILLED.items():
            monkeypatch.setattr('alpamayo_ros.training.loop._SAVE_EVERY_S',
                                0.0 if name == 'often saved' else 1e9)
            left += places
            for _ in places:
                with pytest.raises(KeyboardInterrupt):
                    train(tmp_path / name, settings)
            train(tmp_path / name, settings)
            assert not left and found(tmp_path / name) == found(tmp_path / 'whole'), name
    finally:
        torch.set_num_threads(threads)
    assert len(found(tmp_path / 'whole')[0]) == 12


def test_a_run_begins_with_the_weights_of_another(tmp_path, monkeypatch):
    monkeypatch.setattr('alpamayo_ros.training.train.Stream', in_this_process)
    first, second = tmp_path / 'first', tmp_path / 'second'
    none = StageSettings(1, 2, 0.0, 4.0, 4, (1,), frames=1)
    short = TrainingSettings(vision=none, glance=none, reasoning=none, expert=none, draws=1,
                             compiled=False)
    train(first, short)
    weights = (first / 'model.safetensors').read_bytes()
    train(second, replace(short, seed=2), start=first)
    mine, theirs = load_file(second / 'model.safetensors'), load_file(first / 'model.safetensors')
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    log = (second / 'training' / 'log.jsonl').read_text(encoding='utf-8')
    assert {json.loads(line)['stage'] for line in log.splitlines()} == {
        'glance', 'reasoning', 'expert'}
    begun = json.loads((second / 'training' / 'start.json').read_text(encoding='utf-8'))
    assert begun == {'checkpoint': 'first', 'sha256': hashlib.sha256(weights).hexdigest()}
    (first / 'config.json').write_text('{}', encoding='utf-8')
    with pytest.raises(ValueError, match='expected a checkpoint of nano of the same configuration'):
        train(tmp_path / 'third', short, start=first)
