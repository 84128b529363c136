"""`make setup` leaves the tools of the checkout as one command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from alpamayo_ros import __version__

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path):
    """An environment that fits its requirements, so that nothing is installed."""
    venv = tmp_path / 'an environment'
    (venv / 'bin').mkdir(parents=True)
    (venv / 'bin' / 'python').symlink_to(sys.executable)
    total = subprocess.run('cat requirements/base.txt | cksum', shell=True, cwd=ROOT, text=True,
                           check=True, capture_output=True).stdout.strip()
    (venv / '.requirements').write_text(
        f'python {platform.python_version()}, ros wheels, {total}\n', encoding='utf-8')
    return venv


def test_the_tool_runs_from_anywhere(environment, tmp_path):
    variables = {name: value for name, value in os.environ.items()
                 if name not in ('PYTHONPATH', 'ROS_DISTRO')}
    setup = subprocess.run(
        ['sh', 'scripts/setup_venv.sh'], cwd=ROOT, text=True, capture_output=True,
        env={**variables, 'VENV': str(environment), 'REQUIREMENTS': 'base',
             'PYTHON': sys.executable})
    assert (setup.returncode, setup.stdout, setup.stderr) == (0, '', '')
    tool = environment / 'bin' / 'alpamayo'
    # A path that the caller has set stays, behind the checkout.
    shown = subprocess.run([tool, '--version'], cwd=tmp_path, text=True, capture_output=True,
                           env={**variables, 'PYTHONPATH': str(tmp_path)})
    assert (shown.returncode, shown.stdout) == (0, f'alpamayo_ros {__version__}\n'), shown.stderr
    assert sorted(item.name for item in (environment / 'bin').iterdir()) == ['alpamayo', 'python']
    wrong = subprocess.run([tool, 'park'], cwd=tmp_path, text=True, capture_output=True,
                           env=variables)
    assert wrong.returncode == 2
    assert "'park'" in wrong.stderr
