"""``alpamayo play`` as a process, heard over DDS."""

from __future__ import annotations

import sqlite3
from itertools import pairwise

import pytest
from drive_harness import Listener, Tool, decoded, wait_for
from nav_msgs.msg import Odometry
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from alpamayo_ros.cameras import SIX_CAMERA_RIG
from alpamayo_ros.drive.bag import Bag
from alpamayo_ros.drive.make import DriveSettings, make_drive
from alpamayo_ros.drive.topics import ODOMETRY_TOPIC, image_topic

START = 1_700_000_000_000_000_000
FOREVER = QosTime(9223372036, 854775807)


def profile(durability):
    return Qos(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, durability, FOREVER, FOREVER,
               QosLiveliness.AUTOMATIC, FOREVER, False)


def write_bag(path, *, storage=StoragePlugin.SQLITE3, count=30, empty=False):
    """/words every 20 ms, /route latched at the start, /radar of a type nobody has."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg('float64 range', 'radar_msgs/msg/RadarThing'))
    text = store.types['std_msgs/msg/String']
    with Writer(path, version=9, storage_plugin=storage) as writer:
        words = writer.add_connection('/words', 'std_msgs/msg/String', typestore=store)
        route = writer.add_connection(
            '/route', 'std_msgs/msg/String', typestore=store,
            offered_qos_profiles=[profile(QosDurability.TRANSIENT_LOCAL)])
        radar = writer.add_connection('/radar', 'radar_msgs/msg/RadarThing', typestore=store)
        writer.write(route, START,
                     store.serialize_cdr(text('to the harbour'), 'std_msgs/msg/String'))
        for index in range(count):
            at = START + index * 20_000_000
            writer.write(words, at, b'' if empty and index == 5 else store.serialize_cdr(
                text(f'word {index}'), 'std_msgs/msg/String'))
        thing = store.types['radar_msgs/msg/RadarThing'](3.5)
        writer.write(radar, START + 1, store.serialize_cdr(thing, 'radar_msgs/msg/RadarThing'))
    return path


def padded(data):
    """As it comes over the wire: RTPS fills a payload up to whole words with zeros."""
    return data + bytes(-len(data) % 4)


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def play():
    tools = []

    def start(*arguments):
        tools.append(Tool('play', *arguments))
        return tools[-1]

    yield start
    for tool in tools:
        tool.kill()


def test_a_drive_arrives_byte_for_byte_with_its_clock(tmp_path, listener, play):
    """Six cameras, reliable and best-effort subscribers, every message and its time."""
    make_drive(tmp_path / 'drive', DriveSettings(seconds=1.5, width=320, height=180))
    clock = listener.listen_clock()
    kinds = {**{image_topic(camera): CompressedImage for camera in SIX_CAMERA_RIG},
             ODOMETRY_TOPIC: Odometry}
    heard = {topic: listener.listen(topic, kind) for topic, kind in kinds.items()}
    lossy = {topic: listener.listen(topic, kind, best_effort=True)
             for topic, kind in kinds.items()}
    tool = play(tmp_path / 'drive', '--topics', *heard, '--wait-for-subscribers', '60')
    assert tool.wait() == 0, tool.output
    with Bag(tmp_path / 'drive') as bag:
        messages = list(bag.messages(heard))
        for topic, received in heard.items():
            recorded = [message.data for message in bag.messages([topic])]
            wait_for(lambda r=received, all_of=recorded: len(r) >= len(all_of), topic)
            assert received == [padded(data) for data in recorded]
            assert lossy[topic] and set(lossy[topic]) <= set(received)
        wait_for(lambda: clock and clock[-1] >= messages[-1].stamp_ns, 'the clock')
        assert clock == sorted(clock)
        assert clock[0] >= bag.start_ns and clock[-1] <= bag.end_ns
        # At every message, and between them.
        stamps = {message.stamp_ns for message in messages}
        assert len(stamps & set(clock)) > 0.9 * len(stamps)
        assert len(set(clock) - stamps) > 20
    assert f'{len(messages)} messages published' in tool.output


def test_loop_takes_the_clock_back_and_sigint_ends_it(tmp_path, listener, play):
    bag = write_bag(tmp_path / 'bag')
    clock, words = listener.listen_clock(), listener.listen('/words', String)
    tool = play(bag, '--loop', '--rate', '2')
    wait_for(lambda: sum(a > b for a, b in pairwise(clock)) >= 2, 'two jumps back', tool)
    wait_for(lambda: len(words) > 60, 'the words again', tool)
    jumps = [(a, b) for a, b in pairwise(clock) if a > b]
    assert all(b == START for _, b in jumps), jumps
    tool.interrupt()
    assert tool.wait() == 0
    assert 'passes, interrupted' in tool.output


def test_unknown_type_is_left_out_by_name_and_the_rest_is_played(tmp_path, listener, play):
    words = listener.listen('/words', String)
    tool = play(write_bag(tmp_path / 'bag'), '--wait-for-subscribers', '3')
    assert tool.wait() == 0
    assert 'topic /radar is left out' in tool.output
    assert 'ros-jazzy-radar-msgs' in tool.output
    wait_for(lambda: len(words) == 30, 'the words')
    assert 'no subscriber to /route' in tool.output


def test_nothing_playable_is_a_failure(tmp_path, play):
    tool = play(write_bag(tmp_path / 'bag'), '--topics', '/radar')
    assert tool.wait() == 1
    assert 'nothing of bag' in tool.output and 'radar_msgs' in tool.output


def test_remap_topics_offset_and_latched(tmp_path, listener, play):
    """What was latched before the offset is heard by whoever joins late; only chosen topics."""
    bag = write_bag(tmp_path / 'bag', storage=StoragePlugin.MCAP)
    words = listener.listen('/other/words', String)
    clock = listener.listen_clock()
    tool = play(bag, '--topics', '/words', '/route', '--remap', '/words:=/other/words',
                '--start-offset', '0.3', '--wait-for-subscribers', '2', '--loop', '--rate', '0.5')
    wait_for(lambda: len(words) >= 15, 'the words', tool)
    route = listener.listen('/route', String, latched=True)
    wait_for(lambda: route, 'the route, joined late', tool)
    tool.interrupt()
    assert tool.wait() == 0
    assert decoded(route[:1], String)[0].data == 'to the harbour'
    assert [m.data for m in decoded(words[:15], String)] == [f'word {i}' for i in range(15, 30)]
    assert min(clock) >= START + 300_000_000
    assert 'radar' not in tool.output


def test_no_clock(tmp_path, listener, play):
    clock, words = listener.listen_clock(), listener.listen('/words', String)
    tool = play(write_bag(tmp_path / 'bag'), '--no-clock', '--topics', '/words',
                '--wait-for-subscribers', '60')
    assert tool.wait() == 0
    wait_for(lambda: len(words) == 30, 'the words')
    assert clock == []


def test_message_without_content_is_left_out_and_told(tmp_path, listener, play):
    words = listener.listen('/words', String)
    tool = play(write_bag(tmp_path / 'bag', empty=True), '--topics', '/words',
                '--wait-for-subscribers', '60')
    assert tool.wait() == 0
    wait_for(lambda: len(words) == 29, 'the other words')
    assert '1 messages were too short' in tool.output


def test_damage_in_the_middle_of_a_bag_is_told(tmp_path, play):
    bag = write_bag(tmp_path / 'bag', count=4000)
    file = bag / 'bag.db3'
    with sqlite3.connect(file) as database:
        pages = database.execute('PRAGMA page_count').fetchone()[0]
        size = database.execute('PRAGMA page_size').fetchone()[0]
    with file.open('r+b') as stream:
        for page in range(pages // 2, pages - 1):
            stream.seek(page * size)
            stream.write(b'\xff' * size)
    tool = play(bag, '--topics', '/words', '--rate', '100', '--delay', '0')
    assert tool.wait() == 1
    assert 'is damaged after' in tool.output or 'cannot be read' in tool.output
