"""Which topics of a bag stand for the inputs of the node, and whether it holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from alpamayo_ros.alignment import ODOMETRY
from alpamayo_ros.drive.bag import Bag
from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.ros.node_settings import NodeSettings
from alpamayo_ros.ros.topics import NAVIGATION, image_type, input_topics, resolve

ODOMETRY_TYPE = 'nav_msgs/msg/Odometry'
NAVIGATION_TYPE = 'std_msgs/msg/String'


class TopicError(AlpamayoError):
    """A rule for topics that is none, or a topic a bag does not hold as it must."""


@dataclass(frozen=True)
class Sources:
    """Where each stream is in the bag.

    ``topics``: topic by stream (the cameras by name, ``odometry``, ``navigation``); ``types``:
    message type by stream; ``infos``: topic of each camera's calibration, whether recorded or not.
    """

    topics: dict[str, str]
    types: dict[str, str]
    infos: dict[str, str]

    def check(self, bag: Bag) -> None:
        """Raise ``TopicError`` unless ``bag`` has every input as the type it must have.

        The navigation may be absent.
        """
        problems = []
        for stream, topic in self.topics.items():
            found = bag.topics.get(topic)
            if found is None or not found.count:
                if stream != NAVIGATION:
                    problems.append(f"{stream}: no messages on '{topic}'")
            elif found.msgtype != self.types[stream]:
                problems.append(f"{stream}: '{topic}' is {found.msgtype}; expected "
                                f'{self.types[stream]}')
        if problems:
            held = '\n'.join(f'  {topic.name}  {topic.msgtype}  {topic.count}'
                             for topic in sorted(bag.topics.values(), key=lambda t: t.name))
            raise TopicError(f"bag '{bag.path}' does not hold what is needed:\n  "
                             + '\n  '.join(problems)
                             + f'\nit holds (topic, type, messages):\n{held}\n'
                             'name topics with --remap FROM:=TO, cameras with --param cameras:=[]')


def find_sources(settings: NodeSettings, remap: Mapping[str, str]) -> Sources:
    """Return the topics of the node named as ``remap`` says (absolute names, see ``read_remaps``).

    ``TopicError`` for a rule about a topic the node does not have.
    """
    names = {stream: resolve(topic) for stream, topic in input_topics(settings).items()}
    infos = {camera.name: resolve(f'~/input/{camera.name}/camera_info')
             for camera in settings.cameras}
    outputs = resolve('~/output/')
    unknown = sorted(name for name in remap if name not in {*names.values(), *infos.values()}
                     and not name.startswith(outputs))
    if unknown:
        raise TopicError(f"'{unknown[0]}' is no topic of the node; expected one of "
                         + ', '.join([*names.values(), *infos.values()]))
    kind = image_type(settings)
    types = {stream: {ODOMETRY: ODOMETRY_TYPE, NAVIGATION: NAVIGATION_TYPE}.get(stream, kind)
             for stream in names}
    return Sources({stream: remap.get(name, name) for stream, name in names.items()}, types,
                   {camera: remap.get(name, name) for camera, name in infos.items()})


def read_remaps(rules: Sequence[str], file: Path | None = None) -> dict[str, str]:
    """Return rules such as ``~/input/odometry:=/odom`` as absolute names, FROM to TO.

    ``file``: a YAML mapping of the same; ``rules`` go over it. ``TopicError``.
    """
    pairs: list[tuple[str, str]] = []
    if file:
        try:
            content = yaml.safe_load(file.read_text(encoding='utf-8')) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise TopicError(f"topic file '{file}' cannot be read: {error}") from error
        if not isinstance(content, Mapping):
            raise TopicError(f"topic file '{file}' holds {type(content).__name__}; expected "
                             'FROM: TO lines')
        pairs += content.items()
    for rule in rules:
        source, separator, target = rule.partition(':=')
        if not separator:
            raise TopicError(f"remap '{rule}' is not a rule; expected FROM:=TO")
        pairs.append((source, target))
    for source, target in pairs:
        if not (isinstance(source, str) and isinstance(target, str) and source and target):
            raise TopicError(f"remap '{source}:={target}' is not a rule; expected two topics")
    return {resolve(source): resolve(target) for source, target in pairs}
