"""The node's parameters without a node: from its parameter file and from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from alpamayo_ros.ros.node_settings import unknown_parameter
from alpamayo_ros.ros.parameter_table import BY_NAME, PARAMETERS, ParameterError
from alpamayo_ros.ros.topics import NODE_NAME

_KEY = 'ros__parameters'


def read_parameters(file: Path | None, rules: Sequence[str] = (),
                    changes: Mapping[str, Any] | None = None
                    ) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the value of every parameter, and warnings about names no parameter has.

    ``file``: as for ``--params-file``; what it has for ``/alpamayo`` and the wildcards that match
    it counts, in the order of the file. ``rules``: ``NAME:=VALUE``, they go over the file, and
    ``changes`` go over both. Raises ``ParameterError`` for a file that is none, a rule that is
    none and a value that does not fit.
    """
    given = parameter_file(file) if file else {}
    for rule in rules:
        name, separator, text = rule.partition(':=')
        if not (separator and name and text):
            raise ParameterError(f"parameter '{rule}' is not a rule; expected NAME:=VALUE")
        try:
            given[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ParameterError(f"parameter '{name}' is '{text}', which is no value: {error}"
                                 ) from error
    given.update(changes or {})
    warnings = tuple(filter(None, map(unknown_parameter, sorted(given))))
    values = {spec.name: spec.check(given.get(spec.name, spec.default)) for spec in PARAMETERS}
    return values, warnings


def parameter_file(file: Path) -> dict[str, Any]:
    """Return the flat parameters a ROS parameter file has for the node; ``ParameterError``."""
    try:
        content = yaml.safe_load(file.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"parameter file '{file}' cannot be read: {error}") from error
    if not isinstance(content, Mapping):
        raise ParameterError(f"parameter file '{file}' holds {type(content).__name__}; expected "
                             f"a node name with '{_KEY}' below it")
    values: dict[str, Any] = {}
    for path, entry in _nodes(content):
        if not isinstance(entry, Mapping):
            raise ParameterError(f"parameter file '{file}': '{_KEY}' of '{path}' is {entry!r}; "
                                 'expected parameters')
        if fnmatchcase(f'/{NODE_NAME}', path.replace('**', '*')):
            values.update(_flat(entry))
    return values


def _nodes(content: Mapping, prefix: str = '') -> list[tuple[str, Any]]:
    found = []
    for key, entry in content.items():
        path = f'{prefix}/{str(key).strip("/")}'
        if isinstance(entry, Mapping):
            if _KEY in entry:
                found.append((path, entry[_KEY] or {}))
            found += _nodes({name: inner for name, inner in entry.items() if name != _KEY}, path)
    return found


def _flat(entry: Mapping, prefix: str = '') -> dict[str, Any]:
    flat = {}
    for key, value in entry.items():
        name = f'{prefix}{key}'
        # A group of parameters, unless a parameter has that very name.
        if isinstance(value, Mapping) and name not in BY_NAME:
            flat.update(_flat(value, f'{name}.'))
        else:
            flat[name] = value
    return flat
