"""Reading bags, and what is said about things that are none."""

from __future__ import annotations

import shutil
import sqlite3

import pytest
from bags import as_of_humble, part_of_the_demo
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.drive.bag import Bag, BagError

STORE = get_typestore(Stores.ROS2_JAZZY)
FOREVER = QosTime(9223372036, 854775807)
START = 1_700_000_000_000_000_000


def profile(durability=QosDurability.VOLATILE, depth=10):
    return Qos(QosHistory.KEEP_LAST, depth, QosReliability.RELIABLE, durability, FOREVER, FOREVER,
               QosLiveliness.AUTOMATIC, FOREVER, False)


def write_bag(path, count=20, storage=StoragePlugin.SQLITE3):
    """Two topics in turn every 10 ms, and one latched message at the start."""
    text = STORE.types['std_msgs/msg/String']
    with Writer(path, version=9, storage_plugin=storage) as writer:
        topics = [
            writer.add_connection(name, 'std_msgs/msg/String', typestore=STORE,
                                  offered_qos_profiles=profiles)
            for name, profiles in (
                ('/a', [profile()]), ('/b', []),
                ('/latched', [profile(QosDurability.TRANSIENT_LOCAL, 3)]))]
        for index in range(count):
            data = STORE.serialize_cdr(text(f'{index} ' + 'x' * 500), 'std_msgs/msg/String')
            writer.write(topics[2 if index == 0 else index % 2], START + index * 10_000_000, data)
    return path


@pytest.mark.parametrize('storage', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_reads_topics_and_messages_of_both_storages(tmp_path, storage):
    with Bag(write_bag(tmp_path / 'bag', storage=storage)) as bag:
        assert (bag.start_ns, bag.end_ns) == (START, START + 19 * 10_000_000)
        assert {(t.name, t.count, t.latched) for t in bag.topics.values()} == {
            ('/a', 9, False), ('/b', 10, False), ('/latched', 1, True)}
        assert bag.topics['/latched'].depth == 3
        messages = list(bag.messages())
        assert [m.stamp_ns for m in messages] == [START + i * 10_000_000 for i in range(20)]
        assert STORE.deserialize_cdr(
            messages[7].data, 'std_msgs/msg/String').data.startswith('7 ')
        part = list(bag.messages(['/b'], start_ns=START + 50_000_000, stop_ns=START + 90_000_000))
        assert [m.stamp_ns - START for m in part] == [50_000_000, 70_000_000]


def test_metadata_file_stands_for_its_directory(tmp_path):
    with Bag(write_bag(tmp_path / 'bag') / 'metadata.yaml') as bag:
        assert bag.path == tmp_path / 'bag'


def test_missing_bag(tmp_path):
    with pytest.raises(BagError, match='does not exist; expected a rosbag2 directory'):
        Bag(tmp_path / 'nothing')


@pytest.mark.parametrize('kind', ['file', 'directory'])
def test_not_a_bag(tmp_path, kind):
    path = tmp_path / 'thing'
    path.mkdir() if kind == 'directory' else path.write_bytes(b'no bag')
    with pytest.raises(BagError, match='is not a rosbag2 directory: it has no metadata.yaml'):
        Bag(path)


@pytest.mark.parametrize('text', ['', '{', 'a: [1', 'rosbag2_bagfile_information: 5', '[1, 2]',
                                  'rosbag2_bagfile_information: {version: 99}'])
def test_unreadable_metadata(tmp_path, text):
    path = write_bag(tmp_path / 'bag')
    (path / 'metadata.yaml').write_text(text)
    with pytest.raises(BagError, match='cannot be read: .+'):
        Bag(path)


def test_missing_storage_file_is_named(tmp_path):
    path = write_bag(tmp_path / 'bag')
    (path / 'bag.db3').unlink()
    with pytest.raises(BagError, match='bag.db3'):
        Bag(path)


def test_garbage_for_storage(tmp_path):
    path = write_bag(tmp_path / 'bag')
    (path / 'bag.db3').write_bytes(b'\x00' * 4096)
    with pytest.raises(BagError, match='cannot be read'):
        Bag(path)


@pytest.mark.parametrize('storage, suffix', [(StoragePlugin.SQLITE3, 'db3'),
                                             (StoragePlugin.MCAP, 'mcap')])
def test_truncated_storage(tmp_path, storage, suffix):
    path = write_bag(tmp_path / 'bag', count=400, storage=storage)
    file = path / f'bag.{suffix}'
    with file.open('r+b') as stream:
        stream.truncate(file.stat().st_size // 2)
    with pytest.raises(BagError, match='damaged|cannot be read'):
        with Bag(path) as bag:
            list(bag.messages())


def test_fewer_messages_than_promised(tmp_path):
    path = write_bag(tmp_path / 'bag')
    with sqlite3.connect(path / 'bag.db3') as database:
        database.execute('DELETE FROM messages WHERE id > 15')
    with Bag(path) as bag, pytest.raises(BagError, match='15 messages .* promises 20'):
        list(bag.messages(start_ns=bag.start_ns))


def test_bag_without_messages(tmp_path):
    with pytest.raises(BagError, match='holds no messages'):
        Bag(write_bag(tmp_path / 'bag', count=0))


def test_copied_directory_still_reads(tmp_path):
    shutil.copytree(write_bag(tmp_path / 'bag'), tmp_path / 'copy')
    with Bag(tmp_path / 'copy') as bag:
        assert len(list(bag.messages())) == 20


def test_a_bag_of_humble_is_read_as_it_is(tmp_path):
    with Bag(part_of_the_demo(tmp_path / 'jazzy', 0.5)) as jazzy:
        expected = list(jazzy.messages())
    with Bag(as_of_humble(part_of_the_demo(tmp_path / 'humble', 0.5, version=8))) as humble:
        assert list(humble.messages()) == expected
        assert len(humble.topics) == len({message.topic for message in expected})
