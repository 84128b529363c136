"""The package as a whole: versions, dependencies, layering and house rules, held by tests."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from catkin_pkg.changelog import get_changelog_from_path
from catkin_pkg.package import parse_package

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'alpamayo_ros'
SOURCES = sorted(PACKAGE.rglob('*.py'))
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.py'))
PYTHON_FILES = [
    *SOURCES, *LAUNCH_FILES, ROOT / 'setup.py',
    *sorted((ROOT / 'scripts').rglob('*.py')), *sorted((ROOT / 'test').rglob('*.py'))]
TEXT_FOLDERS = (
    '.ci', 'alpamayo_ros', 'config', 'docs', 'engines', 'launch', 'requirements', 'resource',
    'scripts', 'test')
TEXT_SUFFIXES = {
    '', '.cfg', '.css', '.html', '.ini', '.js', '.json', '.md', '.py', '.rst', '.sh', '.svg',
    '.toml', '.txt', '.xml', '.yaml', '.yml'}

MAX_LINES = 400
ROS_ROOMS = ('ros', 'drive')

# Modules whose dependency has another name in package.xml. The last three come with the
# distribution that the key installs.
DEPENDENCY_OF_MODULE = {
    'PIL': 'python3-pil',
    'cv2': 'python3-opencv',
    'jinja2': 'python3-jinja2',
    'matplotlib': 'python3-matplotlib',
    'mcap': 'python3-mcap-pip',
    'numpy': 'python3-numpy',
    'rosbags': 'python3-rosbags-pip',
    'scipy': 'python3-scipy',
    'simplejpeg': 'python3-simplejpeg-pip',
    'torch': 'python3-pytorch-pip',
    'tqdm': 'python3-tqdm',
    'transformers': 'python3-transformers-pip',
    'yaml': 'python3-yaml',
    'huggingface_hub': 'python3-transformers-pip',
    'safetensors': 'python3-transformers-pip',
    'tokenizers': 'python3-transformers-pip',
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_ros(module: str) -> bool:
    top = module.partition('.')[0]
    return top.startswith(('rclpy', 'rcl_', 'rosidl', 'launch')) or top.endswith(
        ('_msgs', '_srvs', '_interfaces')) or top in (
        'cv_bridge', 'message_filters', 'tf2_ros')


def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports by name, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'), str(path))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module)
        elif (isinstance(node, ast.Call) and node.args
              and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
              and ast.unparse(node.func) in ('importlib.import_module', '__import__',
                                             'import_module')):
            found.add(node.args[0].value)
    return found


def text_files() -> list[Path]:
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in TEXT_FOLDERS:
        files.extend(path for path in (ROOT / folder).rglob('*') if path.is_file())
    return sorted(
        path for path in files
        if path.suffix in TEXT_SUFFIXES and '__pycache__' not in path.parts)


def test_the_lists_that_these_tests_walk_are_not_empty():
    assert PACKAGE / 'planner.py' in SOURCES
    assert ROOT / 'launch' / 'planner.launch.py' in LAUNCH_FILES
    assert Path(__file__).resolve() in PYTHON_FILES
    assert ROOT / 'package.xml' in text_files()
    assert ROOT / '.ci' / 'run' in text_files()


def test_versions_agree():
    import alpamayo_ros
    setup = subprocess.run(
        [sys.executable, 'setup.py', '--version'], cwd=ROOT, check=True, text=True,
        stdout=subprocess.PIPE).stdout.split()[-1]
    changelog = get_changelog_from_path(str(ROOT / 'CHANGELOG.rst'))
    newest = next(version for version, _, _ in changelog.foreach_version())
    assert {
        'package.xml': parse_package(str(ROOT)).version,
        'setup.py': setup,
        'CHANGELOG.rst': newest,
    } == dict.fromkeys(('package.xml', 'setup.py', 'CHANGELOG.rst'), alpamayo_ros.__version__)


def test_package_xml_is_valid_and_says_what_the_package_is():
    warnings: list[str] = []
    package = parse_package(str(ROOT), warnings=warnings)
    assert warnings == []
    assert package.package_format == 3
    assert package.get_build_type() == 'ament_python'
    assert [str(license) for license in package.licenses] == ['Apache-2.0']
    assert 'Apache License' in (ROOT / package.licenses[0].file).read_text(encoding='utf-8')


def test_exec_depends_cover_every_import():
    declared = {depend.name for depend in parse_package(str(ROOT)).exec_depends}
    missing = {}
    for path in [*SOURCES, *LAUNCH_FILES]:
        for module in imported_modules(path):
            top = module.partition('.')[0]
            if top in sys.stdlib_module_names or top == PACKAGE.name:
                continue
            key = DEPENDENCY_OF_MODULE.get(top, top)
            if key not in declared:
                missing.setdefault(key, []).append(relative(path))
    assert missing == {}


def test_the_designs_dependencies_are_exec_depends():
    declared = {depend.name for depend in parse_package(str(ROOT)).exec_depends}
    assert declared >= {
        'rclpy', 'cv_bridge', 'launch_ros', 'tensorrt', 'python3-numpy', 'python3-opencv',
        'python3-pytorch-pip', 'python3-transformers-pip'}
    assert 'python3-pytest' in {depend.name for depend in parse_package(str(ROOT)).test_depends}


def test_every_requirement_is_pinned_exactly_and_once():
    pinned: dict[tuple[str, str], str] = {}
    for path in sorted((ROOT / 'requirements').glob('*.txt')):
        for line in path.read_text(encoding='utf-8').splitlines():
            requirement = line.partition('#')[0].strip()
            if not requirement:
                continue
            match = re.fullmatch(
                r'([A-Za-z0-9_.-]+)==([0-9][0-9A-Za-z.]*)'
                r'(?:; (python_version (?:<|>=) "3\.1[0-3]"|platform_machine == "x86_64"))?',
                requirement)
            assert match, f'{relative(path)}: {line!r} is not name==version; expected an exact pin'
            key = (match[1].lower().replace('_', '-'), match[3] or '')
            assert key not in pinned, f'{relative(path)}: {key} is pinned a second time'
            pinned[key] = match[2]
    names = {name for name, _ in pinned}
    assert names >= {'torch', 'transformers', 'tokenizers', 'ros-jazzy-rclpy', 'pytest'}
    for name in names:
        markers = {marker for other, marker in pinned if other == name}
        # TensorRT for RTX exists for x86-64 alone; elsewhere TensorRT comes with the computer.
        assert markers in ({''}, {'python_version < "3.11"', 'python_version >= "3.11"'},
                           {'platform_machine == "x86_64"'}), (
            f'{name} is not pinned for every Python: {markers}')


def test_only_the_ros_rooms_import_ros():
    offenders = {
        relative(path): sorted(filter(is_ros, imported_modules(path)))
        for path in SOURCES
        if path.relative_to(PACKAGE).parts[0] not in ROS_ROOMS
        and any(map(is_ros, imported_modules(path)))}
    assert offenders == {}
    assert any(map(is_ros, imported_modules(PACKAGE / 'ros' / 'node.py')))


OFF_VEHICLE = ('world', 'training', 'evaluation')
USERS_OF_THE_WORLD = {'alpamayo_ros/cli/train.py', 'alpamayo_ros/cli/evaluate.py',
                      'alpamayo_ros/cli/make_drive.py', 'alpamayo_ros/drive/make.py'}


def test_what_runs_on_the_vehicle_does_not_import_the_driving_world():
    rooms = tuple(f'alpamayo_ros.{room}' for room in OFF_VEHICLE)
    users = {relative(path) for path in SOURCES
             if path.relative_to(PACKAGE).parts[0] not in OFF_VEHICLE
             and any(module.startswith(rooms) for module in imported_modules(path))}
    assert users <= USERS_OF_THE_WORLD
    assert 'alpamayo_ros/drive/make.py' in users


WITHOUT_ROS = """
import importlib, sys

sys.path.insert(0, {test_folder!r})
from test_package import is_ros


class NoRos:
    def find_spec(self, name, path=None, target=None):
        if is_ros(name):
            raise ImportError(name + ' is blocked: this module must work without ROS')


sys.meta_path.insert(0, NoRos())
for name in {modules!r}:
    importlib.import_module(name)
assert not [name for name in sys.modules if is_ros(name)]
try:
    import rclpy
except ImportError:
    print('imported without ROS')
"""


def test_the_planner_core_and_the_tools_import_without_ros():
    modules = []
    for path in SOURCES:
        parts = path.relative_to(ROOT).with_suffix('').parts
        if parts[1] not in ROS_ROOMS and path.name != '__main__.py':
            modules.append('.'.join(parts).removesuffix('.__init__'))
    assert {'alpamayo_ros', 'alpamayo_ros.planner', 'alpamayo_ros.cli.main',
            'alpamayo_ros.cli.verify'} <= set(modules)
    program = WITHOUT_ROS.format(test_folder=str(Path(__file__).parent), modules=modules)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    result = subprocess.run(
        [sys.executable, '-c', program], env=environment, text=True, check=False,
        capture_output=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == 'imported without ROS'


@pytest.mark.parametrize('path', PYTHON_FILES, ids=relative)
def test_no_file_is_too_long(path):
    lines = path.read_text(encoding='utf-8').splitlines()
    assert len(lines) <= MAX_LINES, f'{len(lines)} lines; expected at most {MAX_LINES}'


@pytest.mark.parametrize('path', [*SOURCES, *LAUNCH_FILES], ids=relative)
def test_the_package_validates_without_assert(path):
    tree = ast.parse(path.read_text(encoding='utf-8'), str(path))
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert lines == [], f'assert in lines {lines}; python -O removes it, so raise an error instead'


def test_the_list_of_files_is_up_to_date():
    sys.path.insert(0, str(ROOT / 'scripts'))
    from list_files import PAGE, page
    assert PAGE.read_text(encoding='utf-8') == page(), 'run scripts/list_files.py'


def test_every_folder_of_the_package_is_a_package():
    folders = {path.parent for path in SOURCES}
    assert [relative(folder) for folder in folders if not (folder / '__init__.py').is_file()] == []


def test_no_path_of_a_machine_and_no_package_index_is_written_down():
    # Put together from pieces so that this file does not find itself.
    paths = '|'.join('/' + name + '/' for name in ('home', 'root', 'work', 'tmp', 'Users'))
    hosts = '|'.join(re.escape(name) for name in (
        'pypi' + '.org', 'python' + 'hosted.org', 'download.' + 'pytorch.org',
        '--' + 'index-url', '--' + 'extra-index-url', '--' + 'find-links'))
    pattern = re.compile(rf'(?<![\w.$}}-])(?:{paths})|{hosts}')
    found = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
            if pattern.search(line):
                found.append(f'{relative(path)}:{number}: {line.strip()[:100]}')
    assert found == []
