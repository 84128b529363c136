"""A replay of the demo drive: the run folder, going on with it, the output bag, damaged bags."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
import threading

import cv2
import numpy as np
import pytest
from bags import DEMO, STORE, part_of_the_demo
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from alpamayo_ros.cameras import SIX_CAMERA_RIG
from alpamayo_ros.drive.bag import Bag, BagError
from alpamayo_ros.drive.drive_data import DriveData
from alpamayo_ros.replay import run as replay_run
from alpamayo_ros.replay.folder import RunError, read_lines, read_record, read_run
from alpamayo_ros.replay.parameters import read_parameters
from alpamayo_ros.replay.run import ReplayOptions, replay
from alpamayo_ros.replay.schedule import Schedule
from alpamayo_ros.replay.sources import TopicError, read_remaps
from alpamayo_ros.resources import share_path
from alpamayo_ros.ros.conversions import stamp_to_ns
from alpamayo_ros.ros.loading import load_model
from alpamayo_ros.ros.node_settings import node_settings

SMALL = {'checkpoint': str(share_path('test', 'data', 'golden', 'alpamayo1_5')),
         'min_pixels': 4096, 'max_pixels': 9216, 'num_candidates': 4, 'num_inference_steps': 2,
         'max_generation_length': 4, 'model.cpu_threads': 1}
CANDIDATES, WAYPOINTS = 4, 64


def parameters(**changes):
    return read_parameters(None, (), {**SMALL, **changes})[0]


@pytest.fixture(scope='module')
def loaded():
    planner, identity = load_model(node_settings(parameters()), lambda: False, lambda text: None)
    yield planner, identity
    planner.close()


@pytest.fixture(autouse=True)
def load_once(monkeypatch, loaded):
    """One planner for all tests; it has no state between plans."""
    planner, identity = loaded
    monkeypatch.setattr(planner, 'close', lambda: None)
    monkeypatch.setattr(replay_run, 'load_model', lambda *unused: (planner, identity))


def go(bag, out, *, stop_after=None, schedule=None, remap=None, values=None,
       say=lambda text: None, **options):
    """Replay; ``stop_after``: interrupt after so many instants."""
    stop = threading.Event()

    def progress(done, total):
        if stop_after is not None and done >= stop_after:
            stop.set()

    return replay(
        ReplayOptions(bag, out, values or parameters(), schedule or Schedule(2.0), remap or {},
                      **options),
        stop=stop, say=say, progress=progress)


@pytest.fixture(scope='module')
def ten(tmp_path_factory):
    """The first ten seconds of the demo drive."""
    return part_of_the_demo(tmp_path_factory.mktemp('ten') / 'bag', 10.0)


@pytest.fixture(scope='module')
def whole(loaded, ten, tmp_path_factory):
    """A run over ten seconds of the demo drive, an instant every two seconds."""
    out = tmp_path_factory.mktemp('whole') / 'run'
    planner, identity = loaded
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, 'close', lambda: None)
        patch.setattr(replay_run, 'load_model', lambda *unused: (planner, identity))
        result = go(ten, out)
    assert (result.status, result.problem) == ('complete', '')
    return out


@pytest.fixture(scope='module')
def short(tmp_path_factory):
    """The first 2.6 s of the demo drive."""
    return part_of_the_demo(tmp_path_factory.mktemp('short') / 'bag')


@pytest.fixture
def outputs_of_short(whole, short, tmp_path):
    return raw_outputs(go(short, tmp_path / 'expected', schedule=ONE).folder)


ONE, SHORT = Schedule(at_s=(1.9,)), Schedule(at_s=(1.9, 2.3))


def stamps(lines):
    return [line['t0_ns'] for line in lines]


def raw_outputs(out):
    """Topic, stamp and bytes of every message, without what is timed."""
    with Bag(out / 'output') as bag:
        return [(m.topic, m.stamp_ns, m.data) for m in bag.messages()
                if not m.topic.endswith('plan_info')]


# What is written

def test_run_json_says_what_was_run(whole):
    run = read_run(whole)
    assert (run['format'], run['status'], run['problem']) == (1, 'complete', None)
    assert run['parameters']['num_candidates'] == CANDIDATES
    assert set(run['parameters']) == set(parameters())
    assert run['checkpoint']['model_type'] == 'alpamayo1_5' and run['checkpoint']['fingerprint']
    assert (run['seed'], run['reasoning_mode'], run['dt_s']) == (0, 'single', 0.1)
    assert run['cameras'] == list(SIX_CAMERA_RIG)
    assert run['counts']['instants'] == len(read_lines(whole)) == 4
    assert run['counts']['streams']['odometry']['refused'] == 0
    assert run['calibration']['front_wide']['size_px'] == [400, 240]
    assert run['calibration']['front_wide']['position_m'] == pytest.approx([1.75, 0.05, 1.48])


def test_instants_are_multiples_of_the_step_and_in_order(whole):
    found = stamps(read_lines(whole))
    assert found == sorted(found)
    assert all(stamp % 2_000_000_000 == 0 for stamp in found)


def test_every_plan_has_its_arrays(whole):
    for line in read_lines(whole):
        arrays = read_record(whole, line).arrays
        assert arrays['history_xyz'].shape == (16, 3)
        assert arrays['future_xyz'].shape == (WAYPOINTS, 3)
        assert arrays['candidates_xyz'].shape == (CANDIDATES, WAYPOINTS, 3)
        assert arrays['candidates_yaw'].shape == (CANDIDATES, WAYPOINTS)
        assert arrays['actions'].shape == (CANDIDATES, WAYPOINTS, 2)
        assert arrays['plausible'].tolist() == line['plausible']
        assert arrays['pose_at_t0'].shape == (7,)
        assert sorted(line['sample_order']) == list(range(CANDIDATES))
        for camera in SIX_CAMERA_RIG:
            view = cv2.imdecode(arrays[f'view_{camera}'], cv2.IMREAD_COLOR)
            assert view.shape == (240, 400, 3)
        json.dumps(line, allow_nan=False)


def test_the_future_is_the_way_the_drive_went(whole, ten):
    with Bag(ten) as bag:
        drive = DriveData(bag)
    for line in read_lines(whole):
        arrays = read_record(whole, line).arrays
        times = line['t0_ns'] + 100_000_000 * np.arange(1, WAYPOINTS + 1)
        known = times <= drive.stamps_ns[-1]
        expected = drive.to_ego(drive.poses(times)[0], line['t0_ns'])
        assert arrays['future_xyz'][known] == pytest.approx(expected[known], abs=1e-6)
        assert np.isnan(arrays['future_xyz'][~known]).all()
        assert (line['metrics']['ade_6.4s'] is None) == (not known.all())
    assert not known.all()


def test_output_bag_has_the_node_s_topics_and_stamps(whole):
    lines = [line for line in read_lines(whole) if line['status'] == 'planned']
    with Bag(whole / 'output') as bag, Bag(DEMO) as original:
        counts = {topic.name: (topic.msgtype, topic.count) for topic in bag.topics.values()}
        plans = len(lines)
        assert counts == {
            '/alpamayo/output/reasoning': ('std_msgs/msg/String', plans),
            '/alpamayo/output/candidate_paths': ('nav_msgs/msg/Path', plans * CANDIDATES),
            '/alpamayo/output/path': ('nav_msgs/msg/Path', plans),
            '/alpamayo/output/markers': ('visualization_msgs/msg/MarkerArray', plans),
            '/alpamayo/output/plan_info': ('diagnostic_msgs/msg/DiagnosticStatus', plans)}
        assert original.start_ns <= bag.start_ns and bag.end_ns <= original.end_ns
        paths = [STORE.deserialize_cdr(m.data, 'nav_msgs/msg/Path')
                 for m in bag.messages(['/alpamayo/output/path'])]
        infos = [STORE.deserialize_cdr(m.data, 'diagnostic_msgs/msg/DiagnosticStatus')
                 for m in bag.messages(['/alpamayo/output/plan_info'])]
    assert [p.header.stamp.sec * 10 ** 9 + p.header.stamp.nanosec for p in paths] == stamps(lines)
    assert {p.header.frame_id for p in paths} == {'odom'}
    for info, line in zip(infos, lines, strict=True):
        values = {item.key: item.value for item in info.values}
        assert values['sequence'] == str(line['sequence'])
        assert values['candidate.0.sample'] == str(line['sample_order'][0])
        assert float(values['ms.total']) > 0


def test_images_no_window_can_hold_are_not_decoded(loaded, tmp_path, ten):
    result = go(ten, tmp_path / 'run', schedule=Schedule(at_s=(2.0, 8.0)))
    counts = read_run(result.folder)['counts']['streams']['front_wide']
    # The bag ends for the replay with the last instant.
    assert counts['used'] <= 2 * 14 and counts['skipped'] > 40
    assert result.summary['counts']['instants'] == 2


# Determinism, and going on

def test_an_interrupted_run_goes_on_to_the_same_result(whole, tmp_path, ten):
    out = tmp_path / 'run'
    first = go(ten, out, stop_after=2)
    assert (first.status, len(read_lines(out))) == ('interrupted', 2)
    assert len(raw_outputs(out)) > 0
    with (out / 'plans.jsonl').open('a') as stream:
        stream.write('{"t0_ns": 17')  # what a power cut leaves
    assert len(read_lines(out)) == 2
    second = go(ten, out)
    assert second.status == 'complete'
    for mine, theirs in zip(read_lines(out), read_lines(whole), strict=True):
        timed = {'timings_ms', 'input_age_ms'}
        assert {k: v for k, v in mine.items() if k not in timed} == {
            k: v for k, v in theirs.items() if k not in timed}
        mine, theirs = read_record(out, mine).arrays, read_record(whole, theirs).arrays
        assert set(mine) == set(theirs)
        for name, value in mine.items():
            assert np.array_equal(value, theirs[name], equal_nan=value.dtype.kind == 'f'), name
    assert raw_outputs(out) == raw_outputs(whole)


def test_a_complete_run_is_left_as_it_is(whole, tmp_path, ten):
    out = tmp_path / 'run'
    shutil.copytree(whole, out)
    before = (out / 'plans.jsonl').read_bytes()
    assert go(ten, out).status == 'complete'
    assert (out / 'plans.jsonl').read_bytes() == before
    assert raw_outputs(out) == raw_outputs(whole)


def test_a_run_of_other_settings_is_refused_and_says_which(whole, tmp_path, ten):
    out = tmp_path / 'run'
    shutil.copytree(whole, out)
    with pytest.raises(RunError, match=r'parameter seed: 0 there, 5 now'):
        go(ten, out, values=parameters(seed=5))
    with pytest.raises(RunError, match=r'schedule every_s: 2.0 there, 1.0 now'):
        go(ten, out, schedule=Schedule(1.0))
    assert stamps(read_lines(out)) == stamps(read_lines(whole))
    result = go(ten, out, schedule=Schedule(at_s=(4.0,)), overwrite=True)
    assert result.summary['counts']['instants'] == 1


def test_what_is_no_run_is_never_overwritten(tmp_path, short):
    (tmp_path / 'thesis.txt').write_text('years of work')
    with pytest.raises(RunError, match='is not a run folder'):
        go(short, tmp_path, schedule=SHORT, overwrite=True)
    assert (tmp_path / 'thesis.txt').read_text() == 'years of work'


# Every kind of bag

@pytest.mark.parametrize('version, storage, compression', [
    (8, StoragePlugin.SQLITE3, CompressionMode.NONE), (9, StoragePlugin.MCAP, CompressionMode.NONE),
    (8, StoragePlugin.MCAP, CompressionMode.STORAGE),
    (9, StoragePlugin.SQLITE3, CompressionMode.FILE), (8, StoragePlugin.MCAP, CompressionMode.FILE),
    (9, StoragePlugin.SQLITE3, CompressionMode.MESSAGE)])
def test_the_same_drive_in_other_storage_gives_the_same_plans(
        tmp_path, outputs_of_short, version, storage, compression):
    bag = part_of_the_demo(tmp_path / 'bag', version=version, storage=storage,
                           compression=compression)
    paths = [path for path in bag.iterdir() if path.name != 'metadata.yaml']
    path = bag if compression is CompressionMode.MESSAGE else paths[0]
    found = go(path, tmp_path / 'run', schedule=ONE).folder
    assert raw_outputs(found) == outputs_of_short
    suffix = 'mcap' if storage is StoragePlugin.MCAP else 'db3'
    assert (found / 'output' / f'output.{suffix}').is_file()
    if compression is CompressionMode.MESSAGE:
        with pytest.raises(BagError, match='its messages are compressed'):
            go(paths[0], tmp_path / 'file', schedule=ONE)


def test_other_topics_are_named_by_rules(tmp_path, outputs_of_short):
    def rename(topic):
        return topic.replace('/alpamayo/input', '/car')

    names = {f'~/input/{camera}/image/compressed': f'/car/{camera}/image/compressed'
             for camera in SIX_CAMERA_RIG}
    rules = tmp_path / 'topics.yaml'
    rules.write_text(json.dumps(names))
    remap = read_remaps(['~/input/odometry:=/car/odometry', '~/output/path:=/plan',
                         '~/input/navigation:=/car/navigation'], rules)
    bag = part_of_the_demo(tmp_path / 'bag', rename=rename)
    found = go(bag, tmp_path / 'run', schedule=ONE, remap=remap).folder
    assert [m[2] for m in raw_outputs(found)] == [m[2] for m in outputs_of_short]
    assert {m[0] for m in raw_outputs(found)} >= {'/plan', '/alpamayo/output/candidate_paths'}


# What is wrong with a bag

def test_a_missing_topic_names_what_the_bag_holds(tmp_path):
    bag = part_of_the_demo(tmp_path / 'bag', 0.3, edit=lambda m: None if (
        m.topic.endswith(('odometry', 'front_tele/image/compressed'))) else m)
    with pytest.raises(TopicError) as caught:
        go(bag, tmp_path / 'run')
    text = str(caught.value)
    assert "odometry: no messages on '/alpamayo/input/odometry'" in text
    assert "front_tele: no messages on '/alpamayo/input/front_tele/image/compressed'" in text
    assert '/alpamayo/input/front_wide/image/compressed  sensor_msgs/msg/CompressedImage  3' in text
    assert not (tmp_path / 'run').exists()


def test_a_topic_of_the_wrong_type_is_named_with_both(tmp_path, short):
    remap = read_remaps(['~/input/odometry:=/alpamayo/input/front_wide/camera_info'])
    with pytest.raises(TopicError, match='is sensor_msgs/msg/CameraInfo; expected nav_msgs/msg/O'):
        go(short, tmp_path / 'run', remap=remap)
    with pytest.raises(TopicError, match="'/alpamayo/input/odom' is no topic of the node"):
        go(short, tmp_path / 'run', remap=read_remaps(['~/input/odom:=/odom']))


def test_odometry_of_another_frame_is_counted_with_its_reason(tmp_path, short):
    result = go(short, tmp_path / 'run', schedule=SHORT, values=parameters(odometry_frame='map'))
    assert result.summary['counts']['planned'] == 0
    line = read_lines(result.folder)[0]
    assert (line['status'], line['stream']) == ('refused', 'odometry')
    assert line['reason'] == 'nothing has arrived yet' and line['arrays'] is None
    count = read_run(result.folder)['counts']['streams']['odometry']
    assert count['used'] == 0 and "frame_id is 'odom'; expected 'map'" in count['problem']


def test_a_camera_that_falls_silent_is_the_reason(tmp_path):
    with Bag(DEMO) as bag:
        silent_from = bag.start_ns + 2_000_000_000
    bag = part_of_the_demo(tmp_path / 'bag', 3.6, edit=lambda m: None if (
        'rear_left/image' in m.topic and m.stamp_ns > silent_from) else m)
    result = go(bag, tmp_path / 'run', schedule=Schedule(at_s=(1.9, 2.2, 2.6, 3.4)))
    status = [(line['status'], line['stream']) for line in read_lines(result.folder)]
    assert status == [('planned', None), *[('refused', 'rear_left')] * 3]
    assert result.status == 'complete'


def test_images_that_cannot_be_decoded_are_counted_and_missed(tmp_path):
    def edit(message):
        if 'cross_left/image' in message.topic:
            return dataclasses.replace(message, data=message.data[:len(message.data) // 2])
        return message

    result = go(part_of_the_demo(tmp_path / 'bag', edit=edit), tmp_path / 'run', schedule=SHORT)
    assert result.summary['counts']['planned'] == 0
    assert {item['stream'] for item in result.summary['refusals']} == {'cross_left'}
    count = read_run(result.folder)['counts']['streams']['cross_left']
    assert count['refused'] == count['messages'] > 20 and count['problem']


def test_what_was_done_before_the_damage_is_kept(tmp_path):
    bag = part_of_the_demo(tmp_path / 'bag', 4.0)
    schedule = Schedule(at_s=(1.9, 3.5))
    with sqlite3.connect(bag / 'bag.db3') as database:
        database.execute('DELETE FROM messages WHERE id > 440')
    result = go(bag, tmp_path / 'run', schedule=schedule)
    assert result.status == read_run(result.folder)['status'] == 'interrupted'
    assert 'messages were found where metadata.yaml promises' in result.problem
    assert result.problem == read_run(result.folder)['problem']
    assert [line['status'] for line in read_lines(result.folder)] == ['planned']
    assert len(raw_outputs(result.folder)) > 0


@pytest.mark.parametrize('back_s', [100.0, 0.4])
def test_time_that_goes_back_ends_the_run(tmp_path, back_s):
    def edit(message):
        if 'odometry' in message.topic and message.stamp_ns > again:
            content = STORE.deserialize_cdr(message.data, 'nav_msgs/msg/Odometry')
            earlier = stamp_to_ns(content.header.stamp) - round(back_s * 1e9)
            content.header.stamp.sec, content.header.stamp.nanosec = divmod(earlier, 10 ** 9)
            return dataclasses.replace(
                message, data=bytes(STORE.serialize_cdr(content, 'nav_msgs/msg/Odometry')))
        return message

    with Bag(DEMO) as bag:
        again = bag.start_ns + 2_300_000_000
    bag = part_of_the_demo(tmp_path / 'bag', 4.0, edit=edit)
    result = go(bag, tmp_path / 'run', schedule=Schedule(at_s=(1.9, 3.5)))
    assert result.status == 'interrupted'
    assert 'odometry: the stamps jumped back by' in result.problem
    (line,) = read_lines(result.folder)
    assert line['status'] == 'planned'
    # What another clock says of where the vehicle went then is not its future.
    assert np.isnan(read_record(result.folder, line).arrays['future_xyz'][5:]).all()


def test_of_a_truncated_mcap_what_is_whole_is_replayed(tmp_path):
    bag = part_of_the_demo(tmp_path / 'bag', 8.0, storage=StoragePlugin.MCAP)
    file = bag / 'bag.mcap'
    with file.open('r+b') as stream:
        stream.truncate(round(0.8 * file.stat().st_size))
    said = []
    result = go(file, tmp_path / 'run', schedule=Schedule(2.0), say=said.append)
    assert result.status == 'interrupted'
    assert 'bag.mcap: it ends in the middle of a record' in result.problem
    assert said.count(result.problem) == 1
    assert {line['status'] for line in read_lines(result.folder)} == {'planned'}
    # Where nothing after the damage was asked for, nothing is missing.
    part = go(file, tmp_path / 'part', schedule=Schedule(2.0, to_s=4.0))
    assert (part.status, part.problem) == ('complete', '')
    assert 0 < len(read_lines(part.folder)) < len(read_lines(result.folder))
