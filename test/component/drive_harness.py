"""A domain of its own for the tests of drives: nodes in this process, tools in theirs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock

ROOT = Path(__file__).resolve().parents[2]
# Another domain than the one of the tests with a shared node, where /clock must not appear.
DOMAIN = 1 + (os.getpid() + 37) % 100
PATIENCE_S = 120.0


class Tool:
    """``alpamayo ...`` as a process."""

    def __init__(self, *arguments, cwd: Path = ROOT):
        environ = {**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN), 'PYTHONUNBUFFERED': '1',
                   'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
                   'PYTHONPATH': os.pathsep.join(
                       filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))}
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'alpamayo_ros.cli.main', *map(str, arguments)], cwd=cwd,
            env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def output(self):
        return ''.join(self.lines)

    def wait(self):
        """The exit code."""
        self.process.wait(PATIENCE_S)
        self._reader.join(10.0)
        assert 'Traceback' not in self.output, self.output
        return self.process.returncode

    def interrupt(self, number=signal.SIGINT):
        self.process.send_signal(number)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Listener:
    """Subscriptions in the drives' domain; everything as it came, in order."""

    def __init__(self):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = rclpy.create_node('listener', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.received = {}
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def listen(self, topic, kind, *, best_effort=False, latched=False):
        """Collect the bytes of a topic; the list that fills."""
        messages = self.received.setdefault((topic, best_effort), [])
        qos = QoSProfile(
            depth=1000,
            reliability=(QoSReliabilityPolicy.BEST_EFFORT if best_effort
                         else QoSReliabilityPolicy.RELIABLE),
            durability=(QoSDurabilityPolicy.TRANSIENT_LOCAL if latched
                        else QoSDurabilityPolicy.VOLATILE))
        self.node.create_subscription(kind, topic, messages.append, qos, raw=True)
        return messages

    def listen_clock(self):
        """Collect /clock; the list of times in ns that fills."""
        times = []
        self.node.create_subscription(
            Clock, '/clock', lambda m: times.append(m.clock.sec * 10 ** 9 + m.clock.nanosec), 1000)
        return times

    def close(self):
        self._executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


def wait_for(condition, what, tool=None):
    """Wait until ``condition()`` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f'waited in vain for {what}'
        assert tool is None or tool.process.poll() is None, f'ended early: {tool.output}'
        time.sleep(0.02)


def decoded(messages, kind):
    return [deserialize_message(data, kind) for data in messages]
