"""The real node over real DDS: a domain of its own, the profile for images, one shared process."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')

# Before any participant exists, so that the processes the tests start have it as well.
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ.pop('ROS_LOCALHOST_ONLY', None)
_PROFILE = str(Path(__file__).resolve().parents[2] / 'config' / 'fastdds.xml')
os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = _PROFILE
os.environ['FASTDDS_DEFAULT_PROFILES_FILE'] = _PROFILE

import rclpy  # noqa: E402
from harness import PARAMETERS, NodeProcess, Watcher  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rig import Rig  # noqa: E402


@pytest.fixture(scope='session')
def ros():
    """A node of the tests, spun in a thread."""
    rclpy.init()
    node = rclpy.create_node('component_tests')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join(5.0)
    rclpy.shutdown()


@pytest.fixture(scope='session')
def watcher(ros):
    """What the node says."""
    return Watcher(ros)


@pytest.fixture
def start(watcher, tmp_path):
    """Start a process of the node for one test; it is ended after it."""
    processes = []

    def begin(changes: dict | None = None, **options) -> NodeProcess:
        watcher.clear()
        process = NodeProcess(tmp_path / f'node{len(processes)}.log',
                              {**PARAMETERS, **(changes or {})}, **options)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.stop()


class Drive:
    """A running node with a rig that feeds it, both on the system's clock."""

    def __init__(self, process: NodeProcess, rig: Rig, watcher: Watcher) -> None:
        self.process, self.rig, self.watcher = process, rig, watcher

    def reconfigure(self, **parameters) -> None:
        """Clean up, set parameters, configure and activate."""
        state = self.watcher.state()
        if state == 'active':
            assert self.watcher.change('deactivate')
        if state in ('active', 'inactive'):
            assert self.watcher.change('cleanup')
        assert self.watcher.set(**parameters) == []
        assert self.watcher.change('configure'), self.process.output()
        assert self.watcher.change('activate'), self.process.output()

    def recovers(self) -> None:
        """Without the fault plans come again, and diagnostics say so."""
        self.rig.edit.clear()
        self.watcher.wait_for_status('plan', 'OK|WARN', '')
        self.watcher.wait_for_plan()


@pytest.fixture(scope='module')
def drive(ros, watcher, tmp_path_factory):
    """A drive shared by the tests of a module."""
    log = tmp_path_factory.mktemp('node') / 'node.log'
    watcher.clear()
    process = NodeProcess(log)
    rig = Rig()
    try:
        rig.wait_for_readers(120.0)
        rig.start()
        watcher.wait_for_plan()
        yield Drive(process, rig, watcher)
    finally:
        rig.stop()
        code = process.stop()
    assert code == 0, log.read_text()
