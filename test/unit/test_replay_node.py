"""A replay and the node: the same bag, t0 and seed give the same bits on every output topic."""

from __future__ import annotations

import threading
import time

import pytest
from bags import STORE, part_of_the_demo

pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')

from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from alpamayo_ros.drive.bag import Bag  # noqa: E402
from alpamayo_ros.replay import run as replay_run  # noqa: E402
from alpamayo_ros.replay.parameters import read_parameters  # noqa: E402
from alpamayo_ros.replay.run import ReplayOptions, replay  # noqa: E402
from alpamayo_ros.replay.schedule import Schedule  # noqa: E402
from alpamayo_ros.resources import share_path  # noqa: E402
from alpamayo_ros.ros.conversions import paths, place, stamp_to_ns  # noqa: E402
from alpamayo_ros.ros.health import Health  # noqa: E402
from alpamayo_ros.ros.loading import load_model  # noqa: E402
from alpamayo_ros.ros.markers import lifetime_s, markers  # noqa: E402
from alpamayo_ros.ros.node_settings import node_settings  # noqa: E402
from alpamayo_ros.ros.plan_info import plan_info  # noqa: E402
from alpamayo_ros.ros.session import Session  # noqa: E402
from alpamayo_ros.ros.topics import OUTPUTS, input_topics, resolve  # noqa: E402

PATIENCE_S = 120.0
VALUES = {'checkpoint': str(share_path('test', 'data', 'golden', 'alpamayo1_5')),
          'min_pixels': 4096, 'max_pixels': 9216, 'num_candidates': 6, 'num_inference_steps': 2,
          'max_generation_length': 4, 'model.cpu_threads': 1, 'seed': 11,
          'max_input_age_s': 60.0, 'max_plan_age_s': 600.0, 'plan_period_s': 60.0}


def canonical(output, data):
    """The bytes of an output, with zeros where ROS leaves the padding as it finds it."""
    kind = OUTPUTS[output]
    return bytes(STORE.serialize_cdr(STORE.deserialize_cdr(data, kind), kind))


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, 'nothing came'
        time.sleep(0.002)


@pytest.fixture(scope='module')
def loaded():
    settings = node_settings(read_parameters(None, (), VALUES)[0])
    planner, identity = load_model(settings, lambda: False, lambda text: None)
    yield settings, planner, identity
    planner.close()


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return part_of_the_demo(tmp_path_factory.mktemp('bag') / 'bag', 2.4)


def plan_of_the_node(settings, planner, bag_path):
    """What the session of an active node publishes first when these messages come."""
    finished, newest, errors = [], [0], []
    health = Health('alpamayo', errors.append)
    streams = {resolve(topic): name for name, topic in input_topics(settings).items()}
    health.open_streams({name: topic for topic, name in streams.items()})
    published, instruction = threading.Event(), [None]

    def publish(plan, intake_ms):
        finished.append(plan)
        published.set()

    session = Session(settings, planner, health, now_ns=lambda: newest[0],
                      navigation=lambda: instruction[0], publish=publish, error=errors.append)
    try:
        with Bag(bag_path) as bag:
            for message in bag.messages([topic for topic in streams if topic in bag.topics]):
                stream, newest[0] = streams[message.topic], message.stamp_ns
                if stream == 'odometry':
                    session.odometry(deserialize_message(message.data, Odometry))
                    continue
                if stream == 'navigation':
                    instruction[0] = deserialize_message(message.data, String).data
                    continue
                image = deserialize_message(message.data, CompressedImage)
                session.image(stream, image)
                # As on a computer that keeps up: no image waits behind another.
                stamp = stamp_to_ns(image.header.stamp)
                until(lambda s=stream, t=stamp: (
                    (session._frames[s].latest_stamp_ns or 0) >= t))
                if finished:
                    break
        assert published.wait(PATIENCE_S), errors
    finally:
        session.close()
    return finished[0]


def test_the_node_and_a_replay_give_the_same_bits(loaded, bag, tmp_path, monkeypatch):
    settings, planner, identity = loaded
    node = plan_of_the_node(settings, planner, bag)
    t0_ns = node.plan.t0_ns
    monkeypatch.setattr(planner, 'close', lambda: None)
    monkeypatch.setattr(replay_run, 'load_model', lambda *unused: (planner, identity))
    with Bag(bag) as original:
        at = (t0_ns - original.start_ns) / 1e9
    result = replay(
        ReplayOptions(bag, tmp_path / 'run', read_parameters(None, (), VALUES)[0],
                      Schedule(at_s=(at,))),
        stop=threading.Event(), say=lambda text: None)
    assert result.summary['counts'] == {
        'instants': 1, 'planned': 1, 'implausible': 0, 'refused': 0}
    found = {}
    with Bag(result.folder / 'output') as output:
        for message in output.messages():
            found.setdefault(message.topic.rpartition('/')[2], []).append(message.data)

    placed = place(node.plan, node.observation.pose_at_t0, settings.odometry_frame)
    expected = [canonical('path', serialize_message(path)) for path in paths(placed)]
    assert found['candidate_paths'] == expected
    assert found['path'] == expected[:1]
    text = node.plan.reasoning[node.plan.candidates[0].reasoning].cot
    assert found['reasoning'] == [canonical('reasoning', serialize_message(String(data=text)))]
    assert found['markers'] == [canonical('markers', serialize_message(markers(
        node.plan, placed, settings.footprint, text, lifetime_s(settings, t0_ns, None),
        settings.base_frame)))]

    from diagnostic_msgs.msg import DiagnosticStatus
    mine = deserialize_message(found['plan_info'][0], DiagnosticStatus)
    theirs = plan_info(node.plan, identity, name='alpamayo: plan_info', sequence=1,
                       ages_s={'input_age': 0.0, 'plan_age': 0.0}, timings_ms=node.plan.timings_ms)
    timed = ('ms.', 'input_age', 'plan_age')
    assert {item.key: item.value for item in mine.values if not item.key.startswith(timed)} == {
        item.key: item.value for item in theirs.values if not item.key.startswith(timed)}
    assert (mine.name, mine.level, mine.message) == (theirs.name, theirs.level, theirs.message)


def test_another_seed_gives_other_bits(loaded, bag, tmp_path, monkeypatch):
    """So that the test above compares what depends on the plan."""
    from alpamayo_ros.planner import Planner

    settings, planner, identity = loaded
    monkeypatch.setattr(planner, 'close', lambda: None)
    raw = []
    for seed in (11, 12):
        values = read_parameters(None, (), {**VALUES, 'seed': seed})[0]
        other = Planner(planner.runtime, node_settings(values).planner)
        monkeypatch.setattr(other, 'close', lambda: None)
        monkeypatch.setattr(replay_run, 'load_model', lambda *unused, p=other: (p, identity))
        out = tmp_path / str(seed)
        replay(ReplayOptions(bag, out, values, Schedule(at_s=(1.9,))), stop=threading.Event(),
               say=lambda text: None)
        with Bag(out / 'output') as output:
            raw.append([m.data for m in output.messages(['/alpamayo/output/candidate_paths'])])
    assert len(raw[0]) == len(raw[1]) == 6 and raw[0] != raw[1]


