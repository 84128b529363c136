"""``alpamayo``: commands, help, exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from alpamayo_ros import __version__
from alpamayo_ros.cli import main as cli
from alpamayo_ros.resources import ResourceError, share_path

HEAVY = ('torch', 'transformers', 'rclpy', 'cv2', 'matplotlib', 'numpy', 'rosbags')


def alpamayo(*arguments):
    return subprocess.run([sys.executable, '-m', 'alpamayo_ros.cli.main', *map(str, arguments)],
                          capture_output=True, text=True)


def test_help_names_every_command():
    result = alpamayo('--help')
    assert result.returncode == 0
    for name in ('demo', 'play', 'make-drive', 'verify', 'bench'):
        assert f'\n    {name}' in result.stdout


@pytest.mark.parametrize('name', list(cli.COMMANDS))
def test_help_of_every_command(name):
    result = alpamayo(name, '--help')
    assert result.returncode == 0 and result.stdout.startswith(f'usage: alpamayo {name}')


def test_help_loads_nothing_heavy():
    code = ('import sys; from alpamayo_ros.cli.main import build_parser; build_parser();'
            f'print([name for name in {HEAVY!r} if name in sys.modules])')
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.stdout.strip() == '[]', result.stdout + result.stderr


def test_version():
    assert alpamayo('--version').stdout.strip() == f'alpamayo_ros {__version__}'


@pytest.mark.parametrize('arguments', [(), ('fly',), ('play',), ('play', 'x', '--rate', 'fast'),
                                       ('play', 'x', '--rate', '0'), ('play', 'x', '--rate', 'nan'),
                                       ('play', 'x', '--remap', 'a'),
                                       ('play', 'x', '--delay', '-1'),
                                       ('play', 'x', '--start-offset', '-1'),
                                       ('make-drive',), ('make-drive', 'x', '--seconds', '0'),
                                       ('demo', '--rate', '0'), ('demo', '--param', 'x')])
def test_wrong_use_is_2_with_a_message(arguments, tmp_path, monkeypatch):
    result = alpamayo(*arguments)
    assert result.returncode == 2
    assert 'alpamayo' in result.stderr and 'Traceback' not in result.stderr


@pytest.mark.parametrize('arguments, message', [
    (('play', 'no/such/bag'), "bag 'no/such/bag' does not exist"),
    (('play', 'config'), "'config' is not a rosbag2 directory"),
    (('make-drive', 'test'), "'test' exists already"),
    (('demo', '--bag', 'no/such/bag'), "bag 'no/such/bag' does not exist")])
def test_failure_is_1_with_a_message(arguments, message):
    result = subprocess.run(
        [sys.executable, '-m', 'alpamayo_ros.cli.main', *arguments], capture_output=True,
        text=True, cwd=share_path('package.xml').parent)
    assert result.returncode == 1
    assert message in result.stderr and 'Traceback' not in result.stderr


def test_interrupt_is_130(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr('alpamayo_ros.cli.make_drive.run', interrupted)
    assert cli.main(['make-drive', 'x']) == 130
    assert 'interrupted' in capsys.readouterr().err


def test_resources_are_found_and_missing_ones_named():
    assert share_path('resource', 'demo_drive', 'metadata.yaml').is_file()
    with pytest.raises(ResourceError, match="'config/nothing.yaml' of alpamayo_ros was not found"):
        share_path('config', 'nothing.yaml')


def test_resources_of_an_installed_package(tmp_path, monkeypatch):
    """An ament prefix, as colcon makes it, is enough: no source checkout around the code."""
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'alpamayo_ros').write_text('')
    config = tmp_path / 'share' / 'alpamayo_ros' / 'config'
    config.mkdir(parents=True)
    (config / 'fastdds.xml').write_text('installed')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    monkeypatch.setattr('alpamayo_ros.resources.__file__',
                        str(tmp_path / 'lib' / 'alpamayo_ros' / 'resources.py'))
    assert share_path('config', 'fastdds.xml').read_text() == 'installed'
