"""A real colcon build in an empty workspace, and the executables that come out of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = shutil.ignore_patterns(
    '.*', '__pycache__', '*.egg-info', 'build', 'install', 'log', 'out', 'test')
# The bridge is there where the messages it needs are.
EXECUTABLES = sorted(['planner', 'alpamayo', *(
    ['autoware_bridge'] if find_spec('autoware_internal_planning_msgs') else [])])
CLEAN = {
    name: value for name, value in os.environ.items()
    if name not in ('PYTHONPATH', 'AMENT_PREFIX_PATH', 'COLCON_PREFIX_PATH', 'PYTHONHOME')}


@pytest.fixture(scope='module')
def prefix(tmp_path_factory) -> Path:
    """The install prefix of the package, built in a workspace that holds nothing else."""
    workspace = tmp_path_factory.mktemp('workspace')
    shutil.copytree(ROOT, workspace / 'src' / 'alpamayo_ros', ignore=NOT_COPIED)
    build = subprocess.run(
        [sys.executable, '-m', 'colcon', 'build', '--event-handlers', 'console_direct+'],
        cwd=workspace, env=os.environ | {'PYTHONPATH': ros_paths()}, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert build.returncode == 0, build.stdout
    return workspace / 'install' / 'alpamayo_ros'


def ros_paths() -> str:
    """PYTHONPATH without the source tree: what a sourced ROS put there, if there is one."""
    paths = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    return os.pathsep.join(path for path in paths if path and Path(path).resolve() != ROOT)


def in_workspace(prefix: Path, command: str) -> subprocess.CompletedProcess:
    """Run a shell command as a user does: in a new shell, with the workspace sourced."""
    return subprocess.run(
        ['bash', '-c', f'source "{prefix.parent}/local_setup.bash" && {command}'],
        cwd=prefix, env=CLEAN | {'PYTHONPATH': ros_paths()}, text=True, check=False,
        capture_output=True)


@pytest.mark.parametrize('name', EXECUTABLES)
def test_the_executables_are_installed(prefix, name):
    executable = prefix / 'lib' / 'alpamayo_ros' / name
    assert executable.is_file()
    assert os.access(executable, os.X_OK)


def test_the_executables_are_those_only(prefix):
    assert sorted(path.name for path in (prefix / 'lib' / 'alpamayo_ros').iterdir()) == EXECUTABLES


def test_the_package_is_in_the_ament_index(prefix):
    marker = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'alpamayo_ros'
    assert marker.is_file()


@pytest.mark.parametrize('folder', ['launch', 'config', 'resource'])
def test_the_shared_files_are_installed_unchanged(prefix, folder):
    share = prefix / 'share' / 'alpamayo_ros'
    source = {
        path.relative_to(ROOT): path.read_bytes()
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
        and path != ROOT / 'resource' / 'alpamayo_ros'}
    installed = {
        path.relative_to(share): path.read_bytes()
        for path in (share / folder).rglob('*') if path.is_file()}
    assert source, f'{folder}/ is empty'
    assert installed.keys() == source.keys()
    assert all(installed[name] == source[name] for name in source)


def test_the_files_a_launch_needs_are_there(prefix):
    share = prefix / 'share' / 'alpamayo_ros'
    for name in ('package.xml', 'LICENSE', 'launch/planner.launch.py', 'launch/replay.launch.py',
                 'launch/view.launch.py', 'config/planner.yaml', 'config/alpamayo.rviz',
                 'config/fastdds.xml'):
        assert (share / name).is_file(), f'{name} is not installed'


def test_every_module_is_installed(prefix):
    site = next(prefix.glob('lib/python3*/site-packages/alpamayo_ros'))
    source = {path.relative_to(ROOT / 'alpamayo_ros')
              for path in (ROOT / 'alpamayo_ros').rglob('*')
              if path.is_file() and '__pycache__' not in path.parts}
    installed = {path.relative_to(site) for path in site.rglob('*')
                 if path.is_file() and '__pycache__' not in path.parts}
    assert installed == source


def test_the_tool_runs_from_the_install(prefix):
    result = in_workspace(prefix, f'"{prefix}/lib/alpamayo_ros/alpamayo" --help')
    assert result.returncode == 0, result.stderr
    for command in ('verify', 'play', 'bench', 'demo'):
        assert command in result.stdout


def test_the_installed_package_is_the_one_that_runs(prefix):
    result = in_workspace(
        prefix, f'"{sys.executable}" -c "import alpamayo_ros; print(alpamayo_ros.__file__)"')
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_relative_to(prefix)


def test_all_executables_have_something_to_call(prefix):
    program = (
        "from importlib.metadata import distribution; "
        "points = distribution('alpamayo_ros').entry_points; "
        "print(sorted(point.name for point in points if callable(point.load())))")
    result = in_workspace(prefix, f'"{sys.executable}" -c "{program}"')
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(EXECUTABLES)
