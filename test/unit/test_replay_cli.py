"""`alpamayo replay` as a process in which nothing of ROS can be imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alpamayo_ros.replay.table import table
from alpamayo_ros.resources import share_path

ROOT = share_path('package.xml').parent
PATIENCE_S = 240.0
PROGRAM = f"""
import sys

sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_package import is_ros


class NoRos:
    def find_spec(self, name, path=None, target=None):
        if is_ros(name):
            raise ImportError(name + ' is blocked: a replay must work without ROS')


sys.meta_path.insert(0, NoRos())
from alpamayo_ros.cli.main import main

code = main(sys.argv[1:])
assert not [name for name in sys.modules if is_ros(name)]
sys.exit(code)
"""
SMALL = ('min_pixels:=4096', 'max_pixels:=9216', 'num_candidates:=2', 'num_inference_steps:=1',
         'max_generation_length:=2', 'model.cpu_threads:=1')


def command(out, *more):
    rules = [part for rule in SMALL for part in ('--param', rule)]
    return [sys.executable, '-c', PROGRAM, 'replay', str(ROOT / 'resource' / 'demo_drive'), '--out',
            str(out), '--checkpoint', str(ROOT / 'test' / 'data' / 'golden' / 'alpamayo1_5'),
            *rules, '--every', '0.5', '--to', '4.1', *more]


def start(arguments, log):
    return subprocess.Popen(arguments, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                            env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'})


def test_an_interrupt_keeps_what_is_done_and_the_same_command_goes_on(tmp_path):
    out, log = tmp_path / 'run', tmp_path / 'log'
    with log.open('w') as stream:
        process = start(command(out), stream)
        deadline = time.monotonic() + PATIENCE_S
        lines = out / 'plans.jsonl'
        while not (lines.exists() and lines.read_bytes().count(b'\n')):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130, log.read_text()
    assert 'interrupted; the same command goes on from here' in log.read_text()
    run = json.loads((out / 'run.json').read_text())
    kept = lines.read_text().splitlines()
    assert run['status'] == 'interrupted' and 1 <= len(kept) < run['counts']['scheduled']

    with log.open('w') as stream:
        assert start(command(out), stream).wait(PATIENCE_S) == 0, log.read_text()
    run = json.loads((out / 'run.json').read_text())
    assert run['status'] == 'complete'
    assert lines.read_text().splitlines()[:len(kept)] == kept
    assert len(lines.read_text().splitlines()) == run['counts']['scheduled'] == 5
    assert f'going on after {len(kept)} of 5 instants' in log.read_text()
    assert 'ade_1s' in log.read_text() and (out / 'output' / 'metadata.yaml').is_file()


@pytest.mark.parametrize('more, message', [
    (['--every', '0.25'], 'every_s is 0.25'), (['--param', 'seed:=x'], "'seed' is 'x'"),
    (['--seed', '-1'], "'seed' is -1")])
def test_wrong_use_is_2(tmp_path, capsys, more, message):
    from alpamayo_ros.cli.main import main

    assert main(command(tmp_path / 'run', *more)[3:]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('bag, more, message', [
    ('no/such/bag', ('--checkpoint', 'x'), "bag 'no/such/bag' does not exist"),
    ('resource/demo_drive', ('--remap', 'x'), "remap 'x' is not a rule"),
    ('resource/demo_drive', (), "parameter 'checkpoint' is ''")])
def test_failure_is_1_with_a_message(tmp_path, monkeypatch, capsys, bag, more, message):
    from alpamayo_ros.cli.main import main

    monkeypatch.chdir(ROOT)
    assert main(['replay', bag, '--out', str(tmp_path / 'run'), *more]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_the_closing_table():
    spread = {'count': 2, 'mean': 1.0, 'median': 1.0, 'p10': 0.0, 'p90': 2.0, 'min': 0.0,
              'max': 2.0}
    text = table({
        'counts': {'instants': 4, 'planned': 2, 'implausible': 1, 'refused': 1},
        'metrics': {'ade_1s': spread, 'ade_6.4s': None, 'max_jerk_mps3': spread},
        'refusals': [{'stream': 'odometry', 'reason': 'gone', 'count': 1}],
        'latency_ms': {'total': spread}, 'input_age_ms': spread})
    assert text.startswith('4 instants: 2 planned, 1 implausible, 1 refused')
    assert '1 x odometry: gone' in text and 'ade_6.4s' not in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line[:1] > ' '}
    assert rows['ade_1s'] == ['m', '2', '1.000', '1.000', '2.000', '2.000']
    assert rows['max_jerk_mps3'][0] == 'm/s^3' and rows['total'][0] == 'ms'
