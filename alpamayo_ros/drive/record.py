"""Records topics into a rosbag2, as the bytes that came over the wire."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.drive.bag import BagError
from alpamayo_ros.drive.player import message_class

_FOREVER = QosTime(9223372036, 854775807)


@dataclass(frozen=True)
class RecordedTopic:
    """A topic to record: its type such as ``nav_msgs/msg/Path``, the depth of the subscription,
    and whether it is transient local.
    """

    name: str
    msgtype: str
    depth: int = 100
    latched: bool = False


class Recorder:
    """Subscribes reliably to topics and writes what comes into a new rosbag2 directory.

    Stamps are the receiving node's time, so with ``use_sim_time`` that of /clock; what comes
    before that clock runs is not written. Writing is done by a thread, so a slow disk holds up
    no callback. The node must be spun by the caller.

    ``counts``: messages taken per topic. ``listener``, if given, is called in the node's
    executor with (topic, CDR bytes, stamp in ns) of every message.
    """

    def __init__(self, node: Node, out: Path, topics: Iterable[RecordedTopic],
                 listener: Callable[[str, bytes, int], None] | None = None) -> None:
        """Make the bag directory and subscribe; ``BagError`` when it exists already, or a type is
        not installed.
        """
        self._node, self._out, self._listener = node, out, listener
        self._topics = list(topics)
        classes = {topic.name: message_class(topic.msgtype) for topic in self._topics}
        self.counts = {topic.name: 0 for topic in self._topics}
        self._queue: queue.SimpleQueue[tuple[str, int, bytes] | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._write, name='recorder', daemon=True)
        self._thread.start()
        self._opened.wait()
        if self._error:
            raise self._failure()
        self._subscriptions = [self._subscribe(topic, classes[topic.name])
                               for topic in self._topics]

    def close(self) -> None:
        """Unsubscribe, write what is left and finish the bag; ``BagError`` if that failed."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise self._failure()

    def _failure(self) -> BagError:
        return BagError(f"'{self._out}' cannot be recorded to: {self._error}")

    def _subscribe(self, topic: RecordedTopic, kind: type) -> object:
        durability = (QoSDurabilityPolicy.TRANSIENT_LOCAL if topic.latched
                      else QoSDurabilityPolicy.VOLATILE)
        qos = QoSProfile(depth=topic.depth, durability=durability,
                         reliability=QoSReliabilityPolicy.RELIABLE)
        return self._node.create_subscription(
            kind, topic.name, lambda data, name=topic.name: self._take(name, data), qos, raw=True)

    def _take(self, name: str, data: bytes) -> None:
        stamp_ns = self._node.get_clock().now().nanoseconds
        if stamp_ns > 0:
            self.counts[name] += 1
            self._queue.put((name, stamp_ns, bytes(data)))
        if self._listener:
            self._listener(name, bytes(data), stamp_ns)

    def _write(self) -> None:
        # The storage is opened, written and closed in this thread: sqlite3 allows no other.
        try:
            store = get_typestore(Stores.ROS2_JAZZY)
            with Writer(self._out, version=Writer.VERSION_LATEST) as writer:
                connections = {
                    topic.name: writer.add_connection(topic.name, topic.msgtype, typestore=store,
                                                      offered_qos_profiles=[_profile(topic)])
                    for topic in self._topics}
                self._opened.set()
                while (item := self._queue.get()) is not None:
                    name, stamp_ns, data = item
                    writer.write(connections[name], stamp_ns, data)
        except Exception as error:  # also what the storage raises for a full or vanished disk
            self._error = error
        finally:
            self._opened.set()


def _profile(topic: RecordedTopic) -> Qos:
    durability = QosDurability.TRANSIENT_LOCAL if topic.latched else QosDurability.VOLATILE
    return Qos(QosHistory.KEEP_LAST, topic.depth, QosReliability.RELIABLE, durability, _FOREVER,
               _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False)
