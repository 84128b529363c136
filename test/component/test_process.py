"""How the process ends, and what it does with arguments it cannot use."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from harness import PARAMETERS, ROOT, values_of
from rig import Rig

# Steps enough for many seconds a plan, so that one that is not given up keeps the process beyond
# the 4 s after which it is forced to end, with 1 instead of 0.
SLOW = {'num_inference_steps': 60}
SLOWER = {**SLOW, 'reasoning_mode': 'multi', 'num_candidates': 256, 'num_inference_steps': 1000,
          'max_generation_length': 4096, 'temperature': 10.0}


def planning(watcher):
    """Whether a plan is in hand, as the diagnostics have it."""
    status = watcher.status('plan')
    return status is not None and 'planning_for_s' in values_of(status)


def test_a_signal_during_a_plan_ends_the_process_cleanly(start, watcher):
    rig = Rig()
    rig.start()
    try:
        process = start(SLOW)
        watcher.wait(lambda: planning(watcher), 'a plan in hand')
        process.signal(signal.SIGINT)
        assert process.wait() == 0, process.output()
    finally:
        rig.stop()
    assert 'Traceback' not in process.output()
    assert 'stopping' in process.output()


def test_a_signal_during_the_warm_up_ends_the_process_cleanly(start, watcher):
    process = start(SLOWER)
    watcher.wait_for_status('model', 'OK', 'warming up')
    process.signal(signal.SIGINT)
    assert process.wait() == 0, process.output()
    assert 'Traceback' not in process.output()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['SIGINT', 'SIGTERM'])
def test_a_signal_before_anything_is_configured(start, watcher, number):
    process = start({'autostart': False})
    assert watcher.state() == 'unconfigured'
    process.signal(number)
    assert process.wait() == 0


def test_loading_that_does_not_stop_does_not_keep_the_process(start, watcher):
    # A checkpoint on a file system that hangs, for example.
    code = ('import sys, time; from alpamayo_ros.ros import main, node; '
            'node.load_model = lambda *_: (print("hanging", flush=True), time.sleep(3600)); '
            'sys.exit(main.main())')
    process = start(command=[sys.executable, '-c', code])
    process.wait_for_output('hanging')
    process.signal(signal.SIGINT)
    assert process.wait() == 1
    assert 'still busy' in process.output()


def test_arguments_that_do_not_exist_are_refused():
    result = subprocess.run([sys.executable, '-m', 'alpamayo_ros.cli.planner', '--speed', '11'],
                            cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert '--speed' in result.stderr


def test_a_parameter_file_that_does_not_exist_is_refused():
    result = subprocess.run(
        [sys.executable, '-m', 'alpamayo_ros.cli.planner', '--ros-args', '--params-file',
         'nowhere.yaml'], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert 'nowhere.yaml' in result.stderr
    assert 'Traceback' not in result.stderr


def test_help_lists_every_parameter():
    result = subprocess.run([sys.executable, '-m', 'alpamayo_ros.cli.planner', '--help'],
                            cwd=ROOT, capture_output=True, text=True, check=True)
    for name in (*PARAMETERS, 'seed', 'limits.max_curvature_1pm'):
        assert f'  {name}: ' in result.stdout
