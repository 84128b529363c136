"""The recorder on real topics."""

from __future__ import annotations

import pytest
import rclpy
from drive_harness import DOMAIN, wait_for
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from alpamayo_ros.drive.bag import Bag, BagError
from alpamayo_ros.drive.record import RecordedTopic, Recorder

WORDS = RecordedTopic('/words', 'std_msgs/msg/String')
START = 1_700_000_000


@pytest.fixture
def node():
    """A node on simulation time, with an executor the tests turn."""
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    node = rclpy.create_node('recording', context=context, parameter_overrides=[
        Parameter('use_sim_time', value=True)])
    node.executor_of_test = SingleThreadedExecutor(context=context)
    node.executor_of_test.add_node(node)
    yield node
    node.executor_of_test.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


def turn_until(node, condition, what):
    def turned():
        node.executor_of_test.spin_once(timeout_sec=0.05)
        return condition()

    wait_for(turned, what)


def test_records_bytes_at_simulation_time(node, tmp_path):
    heard = []
    recorder = Recorder(node, tmp_path / 'bag', [WORDS], lambda *item: heard.append(item))
    words = node.create_publisher(String, '/words', 10)
    clock = node.create_publisher(Clock, '/clock', 10)
    turn_until(node, words.get_subscription_count, 'the recorder')
    turn_until(node, clock.get_subscription_count, 'the clock')

    words.publish(String(data='before the clock runs'))
    turn_until(node, lambda: len(heard) == 1, 'the first word')
    for index in range(3):
        now = Clock()
        now.clock.sec = START + index
        clock.publish(now)
        at = (START + index) * 10 ** 9
        turn_until(node, lambda at=at: node.get_clock().now().nanoseconds == at, 'the time')
        words.publish(String(data=f'word {index}'))
        turn_until(node, lambda index=index: len(heard) == index + 2, 'a word')
    assert recorder.counts == {'/words': 3}
    recorder.close()
    with Bag(tmp_path / 'bag') as bag:
        assert [(m.topic, m.stamp_ns, m.data.rstrip(b'\0')) for m in bag.messages()] == [
            ('/words', (START + index) * 10 ** 9,
             serialize_message(String(data=f'word {index}')).rstrip(b'\0'))
            for index in range(3)]
    assert [stamp for _, _, stamp in heard] == [0, *((START + i) * 10 ** 9 for i in range(3))]


def test_existing_directory_is_not_overwritten(node, tmp_path):
    (tmp_path / 'bag').mkdir()
    with pytest.raises(BagError, match='cannot be recorded to: .* exists already'):
        Recorder(node, tmp_path / 'bag', [WORDS])


def test_unknown_type_is_named(node, tmp_path):
    with pytest.raises(BagError, match='radar_msgs'):
        Recorder(node, tmp_path / 'bag', [RecordedTopic('/radar', 'radar_msgs/msg/Thing')])
