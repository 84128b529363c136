"""The timing of a playback on a simulated clock, and the options of ``alpamayo play``."""

from __future__ import annotations

from itertools import pairwise

import pytest

from alpamayo_ros.cli.play import parse_remaps
from alpamayo_ros.drive.bag import BagError, BagMessage
from alpamayo_ros.drive.playback import play_once
from alpamayo_ros.drive.player import PlayOptions, message_class

START = 1_000_000_000_000


class SimulatedTimer:
    """Time passes only by waiting, and by what the test takes for publishing."""

    def __init__(self, stop_at=float('inf')):
        self.time, self.stop_at = 50.0, stop_at

    def now(self):
        return self.time

    def wait(self, seconds):
        self.time += max(0.0, seconds)
        return self.time >= self.stop_at


def play(stamps_s, *, rate=1.0, timer=None, cost_s=0.0, clock=True, start_s=0.0):
    timer = timer or SimulatedTimer()
    published, clocks, order = [], [], []

    def publish(message):
        published.append((message.topic, timer.time - 50.0))
        order.append(('message', message.stamp_ns))
        timer.time += cost_s

    def publish_clock(stamp_ns):
        clocks.append((stamp_ns, timer.time - 50.0))
        order.append(('clock', stamp_ns))

    result = play_once(
        [BagMessage(str(s), START + round(s * 1e9), b'') for s in stamps_s],
        start_ns=START + round(start_s * 1e9), rate=rate, timer=timer, publish=publish,
        publish_clock=publish_clock if clock else None)
    return result, published, clocks, order


@pytest.mark.parametrize('rate', [0.5, 1.0, 4.0])
def test_messages_come_at_their_recorded_times(rate):
    stamps = [0.0, 0.013, 0.013, 0.4, 1.0]
    result, published, _, _ = play(stamps, rate=rate)
    assert [time for _, time in published] == pytest.approx([s / rate for s in stamps], abs=1e-6)
    assert (result.published, result.stopped) == (5, False)
    assert result.late_s == pytest.approx(0.0, abs=1e-6)


def test_start_offset_shifts_the_first_instant():
    _, published, clocks, _ = play([2.5, 3.0], start_s=2.0)
    assert [time for _, time in published] == pytest.approx([0.5, 1.0], abs=1e-6)
    assert clocks[0][0] == START + 2_000_000_000


@pytest.mark.parametrize('rate', [0.25, 1.0, 10.0])
def test_clock_runs_at_100_hz_follows_time_and_is_never_ahead_of_a_message(rate):
    _, _, clocks, order = play([0.0, 0.337, 1.0], rate=rate)
    stamps = [stamp for stamp, _ in clocks]
    assert stamps == sorted(stamps)
    for stamp, time in clocks:
        assert (stamp - START) / 1e9 == pytest.approx(time * rate, abs=1e-5)
    gaps = [b - a for (_, a), (_, b) in pairwise(clocks)]
    assert max(gaps) <= 0.01 + 1e-6
    for before, (kind, stamp) in pairwise(order):
        if kind == 'message':
            assert before == ('clock', stamp)


def test_behind_time_it_catches_up_and_says_by_how_much():
    stamps = [0.0, 0.01, 0.02, 0.03, 1.0]
    result, published, clocks, order = play(stamps, cost_s=0.05)
    assert [time for _, time in published] == pytest.approx([0.0, 0.05, 0.1, 0.15, 1.0], abs=1e-6)
    assert result.late_s == pytest.approx(0.12, abs=1e-6)
    assert [stamp for stamp, _ in clocks] == sorted(stamp for stamp, _ in clocks)
    # The clock stays with the messages instead of running ahead with real time.
    assert order.index(('clock', START + 30_000_000)) < order.index(
        ('message', START + 30_000_000))
    late = [stamp for stamp, time in clocks if time < 0.149]
    assert max(late) <= START + 30_000_000


def test_stamps_that_go_back_do_not_take_the_clock_back():
    _, published, clocks, _ = play([0.0, 0.2, 0.1, 0.3])
    assert len(published) == 4
    assert [stamp for stamp, _ in clocks] == sorted(stamp for stamp, _ in clocks)


def test_stop_ends_a_wait():
    result, published, _, _ = play([0.0, 0.5, 100.0], timer=SimulatedTimer(stop_at=51.0))
    assert result.stopped and result.published == 2 == len(published)


def test_without_clock_nothing_but_messages():
    _, published, clocks, _ = play([0.0, 0.5], clock=False)
    assert len(published) == 2 and clocks == []


@pytest.mark.parametrize('options, expected', [
    ({'rate': 0.0}, 'rate is 0.0'), ({'rate': -1.0}, 'rate is -1.0'),
    ({'rate': float('nan')}, 'rate is nan'), ({'rate': float('inf')}, 'rate is inf'),
    ({'start_offset_s': -0.1}, 'start offset is -0.1'),
    ({'start_offset_s': float('nan')}, 'start offset is nan'),
    ({'remap': {'/a': '/not a topic'}}, "'/not a topic' cannot be a topic"),
    ({'remap': {'/a': 'relative'}}, "'relative' cannot be a topic")])
def test_options_that_cannot_be(options, expected):
    with pytest.raises(ValueError, match=expected):
        PlayOptions(**options)


def test_remaps():
    assert parse_remaps(['/a:=/b', 'c/d:=e']) == {'/a': '/b', '/c/d': '/e'}
    for rule in ('a', 'a=b', ':=b', 'a:=', ''):
        with pytest.raises(ValueError, match='expected FROM:=TO'):
            parse_remaps([rule])


def test_message_class():
    from nav_msgs.msg import Odometry
    assert message_class('nav_msgs/msg/Odometry') is Odometry


@pytest.mark.parametrize('msgtype, expected', [
    ('radar_msgs/msg/RadarScan', 'install package .radar_msgs. .ros-jazzy-radar-msgs.'),
    ('nav_msgs/msg/Odometre', "'nav_msgs' has no message 'Odometre'"),
    ('Odometry', 'expected PACKAGE/msg/NAME'), ('', 'expected PACKAGE/msg/NAME'),
    ('nav_msgs/srv/GetMap', 'expected PACKAGE/msg/NAME'),
    ('../msg/x', 'expected PACKAGE/msg/NAME')])
def test_unknown_message_types(msgtype, expected):
    with pytest.raises(BagError, match=expected):
        message_class(msgtype)
