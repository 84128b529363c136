"""Bags made from the demo drive: parts of it, in every kind of storage, with faults on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
