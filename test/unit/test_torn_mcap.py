"""mcap files whose end is missing, as a recorder leaves them that was killed."""

from __future__ import annotations

import numpy as np
import pytest
from bags import part_of_the_demo
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from alpamayo_ros.drive.bag import Bag, BagError

TEXT = 'std_msgs/msg/String'
# About 4 MiB, in chunks of one.
SECONDS = 8.0


def cut(file, share):
    with file.open('r+b') as stream:
        stream.truncate(round(file.stat().st_size * share))


def read(path):
    """The messages before the damage, and what is said about it."""
    found = []
    with Bag(path) as bag:
        try:
            for message in bag.messages():
                found.append(message)
        except BagError as error:
            assert str(error) == bag.damage
            return found, str(error)
        assert not bag.damage
    return found, ''


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    path = part_of_the_demo(tmp_path_factory.mktemp('whole') / 'bag', SECONDS,
                            storage=StoragePlugin.MCAP)
    found, damage = read(path)
    assert len(found) > 100 and not damage
    return found


@pytest.mark.parametrize('compression', [CompressionMode.NONE, CompressionMode.STORAGE])
@pytest.mark.parametrize('share', [0.97, 0.8, 0.5])
def test_whole_chunks_are_kept(tmp_path, whole, share, compression):
    bag = part_of_the_demo(tmp_path / 'bag', SECONDS, storage=StoragePlugin.MCAP,
                           compression=compression)
    cut(next(bag.glob('*.mcap')), share)
    found, damage = read(bag)
    assert (share - 0.35) * len(whole) < len(found) < len(whole)
    assert found == whole[:len(found)]
    assert 'bag.mcap: it ends in the middle of a record' in damage
    assert f'; {len(found)} messages of ' in damage and damage.endswith('that can be read')


@pytest.mark.parametrize('form', ['file', 'directory'])
def test_metadata_is_not_needed(tmp_path, whole, form):
    """A recorder that was killed has not written it."""
    bag = part_of_the_demo(tmp_path / 'bag', SECONDS, storage=StoragePlugin.MCAP)
    (bag / 'metadata.yaml').unlink()
    assert read(bag) == (whole, '')
    file = bag / 'bag.mcap'
    cut(file, 0.8)
    found, damage = read(file if form == 'file' else bag)
    assert found and found == whole[:len(found)] and damage


def test_a_file_cut_within_its_index_holds_every_message(tmp_path, whole):
    bag = part_of_the_demo(tmp_path / 'bag', SECONDS, storage=StoragePlugin.MCAP)
    file = bag / 'bag.mcap'
    with file.open('r+b') as stream:
        stream.truncate(file.stat().st_size - 60)
    assert read(bag) == (whole, '')


def test_topics_and_windows_of_what_is_left(tmp_path, whole):
    bag = part_of_the_demo(tmp_path / 'bag', SECONDS, storage=StoragePlugin.MCAP)
    cut(bag / 'bag.mcap', 0.8)
    with Bag(bag) as opened:
        assert opened.start_ns == whole[0].stamp_ns
        topic = '/alpamayo/input/odometry'
        kept = [message for message in whole if message.stamp_ns <= opened.end_ns]
        assert opened.topics[topic].msgtype == 'nav_msgs/msg/Odometry'
        assert opened.topics[topic].count == sum(m.topic == topic for m in kept)
        first, last = opened.start_ns + 200_000_000, opened.start_ns + 400_000_000
        # Nothing is said about an end that is not asked for.
        assert list(opened.messages([topic], start_ns=first, stop_ns=last)) == [
            m for m in kept if m.topic == topic and first <= m.stamp_ns < last]
        with pytest.raises(BagError, match='is damaged'):
            list(opened.messages([topic], start_ns=first))


def write_by_hand(file, stamps, compression, finish=False):
    """Small chunks; the channel is declared in the first one alone."""
    with file.open('wb') as stream:
        writer = Writer(stream, chunk_size=300, compression=compression)
        writer.start('ros2')
        schema = writer.register_schema(TEXT, 'ros2msg', b'string data')
        channel = writer.register_channel('/text', 'cdr', schema)
        for stamp in stamps:
            writer.add_message(channel, stamp, b'\x00\x01\x00\x00' + b'%010d' % stamp, stamp)
        if finish:
            writer.finish()


@pytest.mark.parametrize('compression', CompressionType)
def test_overlapping_chunks_come_out_in_order(tmp_path, compression):
    rng = np.random.default_rng(0)
    stamps = (np.arange(400) * 100 + rng.integers(0, 1500, 400) + 1).tolist()
    file = tmp_path / 'bag.mcap'
    write_by_hand(file, stamps, compression)
    found, _ = read(file)
    times = [message.stamp_ns for message in found]
    assert 380 < len(times) and times == sorted(stamps[:len(times)])
    with Bag(file) as bag:
        late = [m.stamp_ns for m in bag.messages(start_ns=30_000, stop_ns=35_000)]
        assert late == [time for time in times if 30_000 <= time < 35_000] and late
        assert bag.topics['/text'].msgtype == TEXT


def test_a_damaged_chunk_ends_what_can_be_read(tmp_path):
    file = tmp_path / 'bag.mcap'
    write_by_hand(file, range(1, 401), CompressionType.NONE, finish=True)
    whole = file.read_bytes()
    at = whole.index(b'0000000250')
    file.write_bytes(whole[:at] + b'X' + whole[at + 1:len(whole) - 200])
    found, damage = read(file)
    assert 235 < len(found) < 250 and 'crc validation failed' in damage


def test_splits_of_which_the_last_is_cut(tmp_path):
    bag = tmp_path / 'bag'
    bag.mkdir()
    for number, name in enumerate(('bag_10.mcap', 'bag_9.mcap')):
        start = 1000 * (1 - number) + 1
        write_by_hand(bag / name, range(start, start + 400), CompressionType.ZSTD,
                      finish=number == 1)
    found, damage = read(bag)
    times = [message.stamp_ns for message in found]
    assert times == sorted(times) and times[:400] == [*range(1, 401)] and 780 < len(times) < 800
    assert 'bag_10.mcap' in damage and 'bag_9' not in damage


def test_nothing_is_left(tmp_path):
    bag = part_of_the_demo(tmp_path / 'bag', 0.3, storage=StoragePlugin.MCAP)
    with (bag / 'bag.mcap').open('r+b') as stream:
        stream.truncate(400)
    with pytest.raises(BagError, match=r'cannot be read: .*; no message could be saved \(bag.mcap'):
        Bag(bag)


def test_another_profile_is_named(tmp_path):
    file = tmp_path / 'bag.mcap'
    with file.open('wb') as stream:
        writer = Writer(stream)
        writer.start('ros1')
    with pytest.raises(BagError, match="its profile is 'ros1'; expected 'ros2'"):
        Bag(file)
