"""``alpamayo demo`` as a whole: real node, real drive, real DDS, and what it leaves behind."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from drive_harness import ROOT, Tool, wait_for
from patience import once_it_keeps_up
from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.drive.bag import Bag
from alpamayo_ros.drive.demo import NOT_DRIVING, PICTURES
from alpamayo_ros.drive.drive_data import DriveData
from alpamayo_ros.drive.make import DriveSettings, make_drive

STORE = get_typestore(Stores.ROS2_JAZZY)
OUTPUT = '/alpamayo/output'


def planner_processes(mark):
    """Ids of the planner processes that have ``mark`` in their command line."""
    found = []
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / 'cmdline').read_bytes().decode(errors='replace')
            except OSError:
                continue
            if 'alpamayo_ros.cli.planner' in command and mark in command:
                found.append(int(entry.name))
    return found


@pytest.fixture
def demo(tmp_path):
    """Start a demo whose node can be told from others by its seed; it must not outlive it."""
    tools = []
    mark = f'seed:={abs(hash(str(tmp_path))) % 10 ** 9}'

    def start(*arguments):
        tools.append(Tool('demo', '--out', tmp_path / 'out', '--param', mark, *arguments))
        tools[-1].mark = mark
        return tools[-1]

    yield start
    for tool in tools:
        tool.kill()
    wait_for(lambda: not planner_processes(mark), 'the node to end')


@pytest.fixture(scope='module')
def short_drive(tmp_path_factory):
    path = tmp_path_factory.mktemp('drives') / 'short'
    make_drive(path, DriveSettings(seconds=0.8, width=128, height=72))
    return path


def read(bag, topic):
    msgtype = bag.topics[topic].msgtype
    return [STORE.deserialize_cdr(message.data, msgtype) for message in bag.messages([topic])]


def nanoseconds(stamp):
    return stamp.sec * 10 ** 9 + stamp.nanosec


def test_demo_shows_plans_and_leaves_recording_and_picture(demo, tmp_path):
    def show(rate):
        tool = demo('--rate', rate)
        code = tool.wait()
        return 'FAILED: no plan arrived' in tool.output, (code, tool)

    code, tool = once_it_keeps_up(show, 3, 1)
    assert code == 0, tool.output
    assert not planner_processes(tool.mark)
    out = tmp_path / 'out'
    told = int(re.search(r'^(\d+) plans;', tool.output, re.MULTILINE).group(1))
    assert told >= 1
    for number in range(1, told + 1):
        assert f'plan {number}: t0 is ' in tool.output
    assert len(re.findall(r'^  paths      32 \(\d+ plausible\)', tool.output, re.M)) == told
    assert len(re.findall(r'^  reasoning  ".*" \(\d+ tokens\)', tool.output, re.M)) == told
    assert len(re.findall(r'^  time       \d+ ms: ', tool.output, re.M)) == told
    assert NOT_DRIVING not in tool.output
    assert all(char.isprintable() or char == '\n' for char in tool.output)
    for name in ('recording', 'pictures', 'node.log'):
        assert str(out / name) in tool.output

    pictures = sorted((out / 'pictures').iterdir())
    assert len(pictures) == min(told, PICTURES)
    for picture in pictures:
        assert cv2.imread(str(picture)).shape == (940, 1920, 3)

    with Bag(ROOT / 'resource' / 'demo_drive') as played, Bag(out / 'recording') as recording:
        drive = DriveData(played)
        infos = [{item.key: item.value for item in status.values}
                 for status in read(recording, f'{OUTPUT}/plan_info')]
        paths = read(recording, f'{OUTPUT}/candidate_paths')
        assert len(infos) == told and len(paths) == 32 * told
        assert len(read(recording, f'{OUTPUT}/reasoning')) == told
        assert len(read(recording, f'{OUTPUT}/markers')) == told
        assert read(recording, '/diagnostics')
        for index, info in enumerate(infos):
            t0 = int(info['t0'].replace('.', ''))
            plan = paths[32 * index:32 * index + 32]
            assert {nanoseconds(path.header.stamp) for path in plan} == {t0}
            assert {path.header.frame_id for path in plan} == {'odom'}
            # In the frame of the odometry: every path starts at the vehicle as it was at t0.
            starts = np.array([[getattr(path.poses[0].pose.position, axis) for axis in 'xyz']
                               for path in plan])
            ego = drive.to_ego(starts, t0)
            assert np.abs(ego[:, 1]).max() < 0.5 and np.abs(ego[:, 2]).max() < 0.5
            assert ego[:, 0].min() > 0.0 and ego[:, 0].max() < 2.5
        # Recorded on simulation time: within the drive and the little that comes after it.
        assert played.start_ns <= recording.start_ns
        assert recording.end_ns < played.end_ns + 60e9


def test_no_plan_is_a_failure_that_says_why(demo, short_drive, tmp_path):
    """0.8 s are too short for any plan. Afterwards nothing is left of the earlier demo."""
    (tmp_path / 'out' / 'pictures').mkdir(parents=True)
    (tmp_path / 'out' / 'pictures' / 'plan_01.png').write_bytes(b'of an earlier demo')
    (tmp_path / 'out' / 'mine.txt').write_text('not of a demo')
    tool = demo('--bag', short_drive)
    assert tool.wait() == 1
    assert 'FAILED: no plan arrived' in tool.output
    assert 'the last lines of' in tool.output and 'active' in tool.output
    assert not (tmp_path / 'out' / 'pictures').exists()
    assert (tmp_path / 'out' / 'mine.txt').read_text() == 'not of a demo'


def test_a_node_that_cannot_start_is_told_with_its_last_words(demo, short_drive, tmp_path):
    tool = demo('--bag', short_drive, '--checkpoint', tmp_path / 'no_checkpoint')
    assert tool.wait() == 1
    assert 'FAILED: the node' in tool.output
    assert 'no_checkpoint' in tool.output.split('the last lines of')[1]
    assert NOT_DRIVING not in tool.output


@pytest.mark.parametrize('moment', ['starting the node', 'playing the drive'])
def test_interrupt_ends_demo_and_node(demo, moment):
    tool = demo()
    wait_for(lambda: moment in tool.output, moment, tool)
    tool.interrupt()
    assert tool.wait() == 130, tool.output
    assert 'interrupted' in tool.output
    assert not planner_processes(tool.mark)


def test_node_goes_when_the_demo_is_killed(demo):
    tool = demo()
    wait_for(lambda: 'the node is' in tool.output, 'the node', tool)
    assert planner_processes(tool.mark)
    tool.process.kill()
    wait_for(lambda: not planner_processes(tool.mark), 'the node to end')
