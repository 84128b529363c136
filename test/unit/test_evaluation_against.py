"""`alpamayo evaluate --against`: whether another draw gives the figures that were reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from golden_data import V1_5

from alpamayo_ros.cli import main as cli
from alpamayo_ros.evaluation import run
from alpamayo_ros.evaluation.figures import FIGURES
from alpamayo_ros.evaluation.intervals import Estimate, difference, mean, rate
from alpamayo_ros.evaluation.judge import Judged

REPORTED = Path(__file__).parents[2] / 'docs' / 'nano_evaluation.json'


def test_difference_of_rates_is_that_of_the_literature():
    """Newcombe, Statistics in Medicine 17 (1998), 873-890, table II, example (a), method 10."""
    found = difference(rate(56, 70), rate(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_intervals_of_differences_hold_the_true_one_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        first, second = (mean(rng.gamma(1.0, 1.5, count)) for count in (280, 140))
        found = difference(first, second)
        held += found.low <= 0 <= found.high
    assert 0.90 < held / 300 < 0.985


def drawn(monkeypatch, good: float):
    """Let chance decide in place of plans, with ``good`` as the share of right causes."""
    def evaluate(options, progress):
        results = []
        for task in options.tasks():
            rng = np.random.default_rng(task.scene_id.seed)
            figures = {'cause': bool(rng.random() < good), 'ade_6.4': rng.gamma(1.0, 3.0 - good)}
            results.append(run.SceneResult(task.scene_id, {'plain': Judged(
                figures, 'text', np.zeros((64, 3)), 5.0, 1.0)}))
        head = {'date': 'today', 'machine': {'cpu': 'one', 'cores': 1}, 'versions': {'torch': '1'}}
        return run.Results(results, {'name': 'some', 'model_type': 'x', 'fingerprint': f'{good}'},
                           head, 1.0)

    monkeypatch.setattr('alpamayo_ros.evaluation.run.evaluate', evaluate)


def evaluated(tmp_path, *arguments):
    return cli.main(['evaluate', str(V1_5), '--scenes', '280', '--kinds', 'cones', 'curve',
                     '--output', str(tmp_path / 'found.json'), *map(str, arguments)])


@pytest.fixture
def reported(tmp_path, monkeypatch):
    drawn(monkeypatch, 0.9)
    assert evaluated(tmp_path) == 0
    return (tmp_path / 'found.json').rename(tmp_path / 'reported.json')


def test_another_draw_of_the_same_is_within(tmp_path, reported, capsys):
    capsys.readouterr()
    assert evaluated(tmp_path, '--seed', 3, '--kinds', 'curve', 'cones', '--guidance', 2,
                     '--against', reported) == 0
    shown = capsys.readouterr().out
    assert 'Against reported.json: 280 test scenes of seed 0' in shown
    assert '0 of 2 figures apart' in shown and 'Another checkpoint' not in shown
    found = json.loads((tmp_path / 'found.json').read_text())
    both = [json.loads(reported.read_text())['all'], found['all']]
    for key, entry in found['against']['figures'].items():
        assert entry['within'] is True and entry['low'] < 0 < entry['high']
        assert entry['value'] == pytest.approx(both[1][key]['value'] - both[0][key]['value'],
                                               abs=2e-6)
    assert set(found['against']['figures']) == {'cause', 'ade_6.4'}
    assert found['against']['seed'] == 0 and found['against']['scenes'] == 280


def test_what_is_worse_is_apart(tmp_path, reported, monkeypatch, capsys):
    drawn(monkeypatch, 0.75)
    capsys.readouterr()
    assert evaluated(tmp_path, '--seed', 3, '--against', reported) == 0
    shown = capsys.readouterr().out
    assert 'Another checkpoint: some, fingerprint 0.9.' in shown
    line, = (line for line in shown.splitlines()
             if FIGURES['cause'].label in line and line.endswith('apart  |'))
    assert line.count('%') == 2 and '] points' in line
    assert json.loads((tmp_path / 'found.json').read_text())[
        'against']['figures']['cause']['within'] is False


@pytest.mark.parametrize('content, says', [
    ('', 'holds no figures of an evaluation'), ('[1]', 'holds no figures of an evaluation'),
    ('{"arguments": {}}', "KeyError: 'checkpoint'"),
    (None, 'No such file')])
def test_what_was_not_reported_is_2(content, says, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('alpamayo_ros.evaluation.run.evaluate', None)
    path = tmp_path / 'reported.json'
    if content is not None:
        path.write_text(content)
    assert evaluated(tmp_path, '--against', path) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize('arguments, says', [
    (['--seed', 3, '--candidates', 6], 'candidates is 6; expected 32, as in'),
    (['--seed', 3, '--kinds', 'cones'], 'kinds are cones; expected cones, curve, as in'),
    ([], 'seed is 0, as in')])
def test_figures_of_other_settings_are_not_set_side_by_side(
        tmp_path, reported, arguments, says, capsys):
    assert evaluated(tmp_path, '--against', reported, *arguments) == 2
    assert says in capsys.readouterr().err


def test_the_figures_that_are_shipped_can_be_compared_with():
    from alpamayo_ros.evaluation.against import Reported
    shipped = Reported(REPORTED)
    assert shipped.scenes >= 500
    assert {key for key, figure in FIGURES.items() if figure.goal} <= set(shipped.figures)
    assert all(isinstance(value, Estimate) for value in shipped.figures.values())
