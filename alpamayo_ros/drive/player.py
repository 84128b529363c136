"""Publishes a recorded drive over DDS, message by message as the bytes that were recorded."""

from __future__ import annotations

import importlib
import math
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import rclpy
from rclpy.duration import Duration
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_full_topic_name import validate_full_topic_name
from rosgraph_msgs.msg import Clock

from alpamayo_ros.drive.bag import Bag, BagError, BagMessage, BagTopic, seconds_ns
from alpamayo_ros.drive.environment import ends_on_signals
from alpamayo_ros.drive.playback import SteadyTimer, play_once

CLOCK_TOPIC = '/clock'
_MIN_DEPTH = 10
_CDR_HEADER_BYTES = 4


@dataclass(frozen=True)
class PlayOptions:
    """How a bag is played.

    ``rate``: times real time. ``start_offset_s``: skip that much of the recording. ``loop``: over
    and over. ``topics``: only these (None: all). ``remap``: recorded to published topic name.
    ``clock``: publish /clock. ``ValueError`` names a value that cannot be.
    """

    rate: float = 1.0
    start_offset_s: float = 0.0
    loop: bool = False
    topics: tuple[str, ...] | None = None
    remap: Mapping[str, str] = field(default_factory=dict)
    clock: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f'rate is {self.rate}; expected a number above 0')
        if not (math.isfinite(self.start_offset_s) and self.start_offset_s >= 0):
            raise ValueError(f'start offset is {self.start_offset_s}; expected 0 s or more')
        for target in self.remap.values():
            try:
                validate_full_topic_name(target)
            except InvalidTopicNameException as error:
                reason = str(error).splitlines()[0]
                raise ValueError(f"'{target}' cannot be a topic to play to: {reason}") from None


@dataclass(frozen=True)
class PlayResult:
    """``published`` messages in ``passes`` times through the bag, at worst ``late_s`` s behind
    time; ``stopped``: ended from outside; ``damaged``: messages too short to be any.
    """

    published: int
    passes: int
    late_s: float
    stopped: bool
    damaged: int


class Player:
    """Plays one bag through a node that need not be spun.

    Publishers are reliable and keep the last messages, which suits best-effort and reliable
    subscribers alike; topics recorded from transient-local publishers are played transient local.
    ``skipped``: topics left out, each with the reason.
    """

    def __init__(self, node: Node, bag: Bag, options: PlayOptions) -> None:
        """Make the publishers; ``BagError`` for unknown topics or when nothing can be played."""
        self._bag, self._options, self._node = bag, options, node
        self._damaged = 0
        self.skipped: dict[str, str] = {}
        self._publishers: dict[str, Publisher] = {}
        for topic in self._chosen():
            self._add(topic)
        if not self._publishers:
            reasons = '; '.join(f'{topic}: {why}' for topic, why in self.skipped.items())
            raise BagError(f"nothing of bag '{bag.path}' can be played: {reasons}")
        self._first_ns = bag.start_ns + seconds_ns(options.start_offset_s)
        if self._first_ns > bag.end_ns:
            raise BagError(f'start offset is {options.start_offset_s} s; bag '
                           f"'{bag.path}' lasts {(bag.end_ns - bag.start_ns) / 1e9:.2f} s")
        self._clock = node.create_publisher(Clock, CLOCK_TOPIC, 1) if options.clock else None
        self._clock_ns = self._first_ns

    def _chosen(self) -> list[BagTopic]:
        topics = self._bag.topics
        for name in (*(self._options.topics or ()), *self._options.remap):
            if name not in topics:
                raise BagError(f"topic '{name}' is not in bag '{self._bag.path}'; it holds "
                               + ', '.join(sorted(topics)))
        names = topics if self._options.topics is None else dict.fromkeys(self._options.topics)
        return [topics[name] for name in names]

    def _add(self, topic: BagTopic) -> None:
        target = self._options.remap.get(topic.name, topic.name)
        if self._options.clock and target == CLOCK_TOPIC:
            self.skipped[topic.name] = 'the player publishes the clock itself'
            return
        durability = (QoSDurabilityPolicy.TRANSIENT_LOCAL if topic.latched
                      else QoSDurabilityPolicy.VOLATILE)
        qos = QoSProfile(depth=max(_MIN_DEPTH, topic.depth), durability=durability,
                         reliability=QoSReliabilityPolicy.RELIABLE)
        try:
            self._publishers[topic.name] = self._node.create_publisher(
                message_class(topic.msgtype), target, qos)
        # A message package without a usable type support, or two types on one topic.
        except Exception as error:
            self.skipped[topic.name] = str(error)

    @property
    def topics(self) -> dict[str, str]:
        """Return the topics that are played: recorded name to published name."""
        return {name: self._options.remap.get(name, name) for name in self._publishers}

    def without_subscribers(self, topics: Iterable[str] | None = None) -> list[str]:
        """Return those of ``topics`` (recorded names, None: all played) nobody listens to."""
        return [name for name in (self._publishers if topics is None else topics)
                if not self._publishers[name].get_subscription_count()]

    def wait_for_subscribers(self, timeout_s: float, stop: threading.Event,
                             topics: Collection[str] | None = None) -> list[str]:
        """Wait until ``topics`` have subscribers; return those that still have none."""
        deadline = time.monotonic() + timeout_s
        while (missing := self.without_subscribers(topics)) and time.monotonic() < deadline:
            if stop.wait(0.05):
                break
        return missing

    def play(self, stop: threading.Event) -> PlayResult:
        """Play to the end (or over and over) or until ``stop`` is set; ``BagError`` if damaged."""
        timer, passes, published, late = SteadyTimer(stop), 0, 0, 0.0
        while True:
            self._publish_latched()
            result = play_once(
                self._bag.messages(self._publishers, start_ns=self._first_ns),
                start_ns=self._first_ns, rate=self._options.rate, timer=timer,
                publish=self._publish,
                publish_clock=self._publish_clock if self._clock else None)
            passes += 1
            published += result.published
            late = max(late, result.late_s)
            if result.stopped or not self._options.loop:
                break
        if not result.stopped:
            # Whoever listens reliably gets the last messages before the publishers go.
            for publisher in self._publishers.values():
                publisher.wait_for_all_acked(Duration(seconds=1))
        return PlayResult(published, passes, late, result.stopped, self._damaged)

    def run_clock(self, seconds: float, stop: threading.Event) -> None:
        """Let /clock go on for that much real time after the last message, if it is published."""
        began, last_ns = time.monotonic(), self._clock_ns
        while (passed := time.monotonic() - began) < seconds and not stop.wait(0.01):
            if self._clock:
                self._publish_clock(last_ns + int(passed * self._options.rate * 1e9))

    def _publish_latched(self) -> None:
        """Publish what was latched before the start offset, as a late joiner would have got it."""
        latched = [name for name in self._publishers if self._bag.topics[name].latched]
        if latched and self._first_ns > self._bag.start_ns:
            for message in self._bag.messages(latched, stop_ns=self._first_ns):
                self._publish(message)

    def _publish(self, message: BagMessage) -> None:
        if len(message.data) < _CDR_HEADER_BYTES:
            self._damaged += 1
            return
        self._publishers[message.topic].publish(message.data)

    def _publish_clock(self, stamp_ns: int) -> None:
        self._clock_ns = stamp_ns
        clock = Clock()
        clock.clock.sec, clock.clock.nanosec = divmod(stamp_ns, 1_000_000_000)
        self._clock.publish(clock)


def message_class(msgtype: str) -> type:
    """Return the message class of a type such as ``nav_msgs/msg/Odometry``; ``BagError``."""
    package, _, rest = msgtype.partition('/')
    kind, _, name = rest.partition('/')
    if not (package.isidentifier() and kind == 'msg' and name.isidentifier()):
        raise BagError(f"its type '{msgtype}' is not one of a topic; expected PACKAGE/msg/NAME")
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except ImportError as error:
        raise BagError(f"its type '{msgtype}' is not installed ({error}); install package "
                       f"'{package}' (ros-jazzy-{package.replace('_', '-')}) and source it"
                       ) from None
    except AttributeError:
        raise BagError(f"its type '{msgtype}' is unknown: the installed package '{package}' has "
                       f"no message '{name}'") from None


def play_bag(path: Path, options: PlayOptions, *, wait_s: float, delay_s: float,
             say: Callable[[str], None]) -> PlayResult:
    """Play a bag from a node of its own until it ends or SIGINT or SIGTERM comes.

    ``wait_s``: wait that long at most for every topic to have a subscriber (0: do not).
    ``delay_s``: time given to discovery before the first message. ``BagError``.
    """
    stop = threading.Event()
    with Bag(path) as bag, ends_on_signals(stop):
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = rclpy.create_node('alpamayo_player', enable_rosout=False,
                                     start_parameter_services=False)
            player = Player(node, bag, options)
            for topic, reason in player.skipped.items():
                print(f'alpamayo play: topic {topic} is left out: {reason}', file=sys.stderr)
            say(f'{path}: {(bag.end_ns - bag.start_ns) / 1e9:.1f} s, {len(player.topics)} topics')
            if wait_s > 0:
                for topic in player.wait_for_subscribers(wait_s, stop):
                    say(f'no subscriber to {player.topics[topic]}')
            stop.wait(delay_s)
            result = player.play(stop)
            node.destroy_node()
        finally:
            rclpy.try_shutdown()
    return result
