"""Bags made from the demo drive: parts of it, in every kind of storage, with faults on purpose."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.drive.bag import Bag, BagMessage
from alpamayo_ros.resources import share_path

STORE = get_typestore(Stores.ROS2_JAZZY)
DEMO = share_path('resource', 'demo_drive')


def part_of_the_demo(path: Path, seconds: float = 2.6, *, version: int = 9,
                     storage: StoragePlugin = StoragePlugin.SQLITE3,
                     compression: CompressionMode = CompressionMode.NONE,
                     edit: Callable[[BagMessage], BagMessage | None] = lambda message: message,
                     rename: Callable[[str], str] = lambda topic: topic,
                     types: dict[str, str] | None = None) -> Path:
    """Write the first seconds of the demo drive; ``edit`` changes a message or leaves it out."""
    with Bag(DEMO) as bag:
        writer = Writer(path, version=version, storage_plugin=storage)
        writer.set_compression(compression, CompressionFormat.ZSTD)
        with writer:
            topics = {}
            for message in bag.messages(stop_ns=bag.start_ns + round(seconds * 1e9)):
                changed = edit(message)
                if changed is None:
                    continue
                if changed.topic not in topics:
                    kind = (types or {}).get(changed.topic, bag.topics[message.topic].msgtype)
                    topics[changed.topic] = writer.add_connection(
                        rename(changed.topic), kind, typestore=STORE)
                writer.write(topics[changed.topic], changed.stamp_ns, changed.data)
    return path


def as_of_humble(bag: Path) -> Path:
    """Make of a sqlite3 bag of version 8 what Humble writes: version 5, no hashes of types, no
    definitions, tables with fewer columns."""
    metadata = bag / 'metadata.yaml'
    content = yaml.safe_load(metadata.read_text())
    info = content['rosbag2_bagfile_information']
    info['version'] = 5
    for name in ('custom_data', 'ros_distro'):
        info.pop(name, None)
    for topic in info['topics_with_message_count']:
        topic['topic_metadata'].pop('type_description_hash')
        topic['topic_metadata']['offered_qos_profiles'] = ''
    metadata.write_text(yaml.safe_dump(content))
    with sqlite3.connect(next(bag.glob('*.db3'))) as database:
        for table in ('schema', 'metadata', 'message_definitions'):
            database.execute(f'DROP TABLE {table}')
        database.execute(
            'CREATE TABLE older(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, '
            'serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL)')
        database.execute("INSERT INTO older SELECT id, name, type, serialization_format, '' "
                         'FROM topics')
        database.execute('DROP TABLE topics')
        database.execute('ALTER TABLE older RENAME TO topics')
    return bag
