"""Message classes by name: of the installed ROS, or of the rosbags library where ROS is not needed.

The code that fills the node's outputs takes one of the two, so a replay without ROS writes what the
node publishes. Nothing of ROS is imported before a class of ``ROS`` is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection

import numpy as np

_PACKAGES = {
    'Time': 'builtin_interfaces', 'Duration': 'builtin_interfaces', 'Header': 'std_msgs',
    'String': 'std_msgs', 'ColorRGBA': 'std_msgs', 'Point': 'geometry_msgs',
    'PoseStamped': 'geometry_msgs', 'Path': 'nav_msgs', 'Marker': 'visualization_msgs',
    'MarkerArray': 'visualization_msgs', 'DiagnosticStatus': 'diagnostic_msgs',
    'KeyValue': 'diagnostic_msgs'}
# The one default of a field in these messages that is not zero or empty.
_QUATERNION = 'geometry_msgs/msg/Quaternion'


class Messages:
    """Message classes as attributes, such as ``Header``; fields that are not given are default."""

    def __getattr__(self, name: str) -> type:
        package = _PACKAGES.get(name)
        if package is None:
            raise AttributeError(f"message class '{name}' is unknown; expected one of "
                                 + ', '.join(sorted(_PACKAGES)))
        made = self._load(package, name)
        setattr(self, name, made)
        return made

    def _load(self, package: str, name: str) -> type:
        raise NotImplementedError


class _Installed(Messages):
    def _load(self, package: str, name: str) -> type:
        return getattr(importlib.import_module(f'{package}.msg'), name)


class _OfRosbags(Messages):
    """Classes of the rosbags library with ROS's defaults, which the library itself has not."""

    def _load(self, package: str, name: str) -> type:
        from rosbags.typesys import Stores, get_typestore

        store = get_typestore(Stores.ROS2_JAZZY)
        msgtype = f'{package}/msg/{name}'
        plain = store.types[msgtype]

        def fill(made: object, /, **given: object) -> None:
            plain.__init__(made, **_defaults(store, msgtype, given), **given)

        return type(name, (plain,), {'__init__': fill, '__hash__': None})


def _defaults(store: object, msgtype: str, given: Collection[str] = ()) -> dict[str, object]:
    """The fields of a message that are not given."""
    fields = {name: _default(store, description)
              for name, description in store.fielddefs[msgtype][1] if name not in given}
    return fields | {'w': 1.0} if msgtype == _QUATERNION else fields


def _default(store: object, description: tuple) -> object:
    kind, detail = description
    if kind.name == 'NAME':
        return store.types[detail](**_defaults(store, detail))
    if kind.name == 'BASE':
        return {'string': '', 'wstring': '', 'bool': False}.get(
            detail[0], 0.0 if detail[0].startswith('float') else 0)
    (inner, element), count = detail
    if inner.name == 'BASE' and 'string' not in element[0]:
        dtype = {'octet': 'uint8', 'byte': 'uint8', 'char': 'uint8'}.get(element[0], element[0])
        return np.zeros(count, dtype)
    return [_default(store, (inner, element)) for _ in range(count)]


ROS: Messages = _Installed()
"""Those of the installed ROS."""
BAG: Messages = _OfRosbags()
"""Those of the rosbags library, to be written with its serialiser."""
