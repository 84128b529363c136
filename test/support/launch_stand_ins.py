"""Stand-ins for ``launch`` and ``launch_ros`` that remember what a launch file asks for."""

from __future__ import annotations

import ast
import importlib.util
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = ('planner', 'replay', 'view')
PROFILES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
_MODULES = ('launch', 'launch_ros', 'ament_index_python')


class Recorded:
    """Anything of launch: remembers how it was made."""

    def __init__(self, *args, **kwargs) -> None:
        self.args, self.kwargs = args, kwargs

    @property
    def kind(self) -> str:
        """The name of the class it stands for."""
        return type(self).__name__


def path_of(name: str) -> Path:
    """A launch file of the package."""
    return ROOT / 'launch' / f'{name}.launch.py'


def imports(path: Path) -> dict[str, list[str]]:
    """What a launch file imports of launch, launch_ros and ament_index_python, by module."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom) and node.module.partition('.')[0] in _MODULES:
            found.setdefault(node.module, []).extend(alias.name for alias in node.names)
    return found


def stand_in(monkeypatch) -> None:
    """Let launch files import stand-ins; the context that ``perform`` looks into is a dict."""
    wanted = [found for file in FILES for found in imports(path_of(file)).items()]
    # New ones also where the real modules are loaded: those must stay as they are.
    for name in {*_MODULES, *(module for module, _ in wanted)}:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    classes: dict[str, type] = {}
    for module, names in wanted:
        for name in names:
            made = classes.setdefault(name, type(name, (Recorded,), {}))
            setattr(sys.modules[module], name, made)
    classes['LaunchConfiguration'].perform = lambda self, context: context[self.args[0]]
    sys.modules['ament_index_python.packages'].get_package_share_directory = lambda _: str(ROOT)
    for variable in PROFILES:
        monkeypatch.delenv(variable, raising=False)


def load(name: str) -> types.ModuleType:
    """A launch file as a module."""
    spec = importlib.util.spec_from_file_location(f'{name}_launch', path_of(name))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entities(launch_file) -> list[Recorded]:
    """What its description holds."""
    return launch_file.generate_launch_description().args[0]


def declared(launch_file) -> dict[str, Recorded]:
    """The declared arguments by name."""
    return {entity.args[0]: entity for entity in entities(launch_file)
            if entity.kind == 'DeclareLaunchArgument'}
