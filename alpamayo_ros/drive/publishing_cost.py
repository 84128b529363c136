"""What it costs to put a plan on the wire: making the messages, and publishing them."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Path
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from alpamayo_ros.ros.parameter_table import PARAMETERS
from alpamayo_ros.ros.parameters import NodeSettings, node_settings
from alpamayo_ros.ros.plan_info import ModelIdentity
from alpamayo_ros.ros.publishing import PlanPublisher
from alpamayo_ros.ros.worker import Finished
from alpamayo_ros.types import EgoState, Observation, Plan

_OUTPUTS = {'reasoning': String, 'candidate_paths': Path, 'path': Path, 'markers': MarkerArray,
            'plan_info': DiagnosticStatus}
_POSE = EgoState(0, np.array([120.0, -35.0, 12.0]), np.array([0.0, 0.0, 0.26, 0.966]),
                 np.array([8.0, 0.0, 0.0]), np.zeros(3))
_IDENTITY = ModelIdentity('bench', 'bench', 'torch', 'cpu', 'float32', '0' * 16, '0' * 16)


class _TimedPublisher:
    """A publisher that adds up what ``publish`` takes, in seconds, in ``node.publishing_s``."""

    def __init__(self, node: _TimedNode, publisher: object) -> None:
        self._node, self._publisher = node, publisher

    def publish(self, message: object) -> None:
        start = time.perf_counter()
        self._publisher.publish(message)
        self._node.publishing_s += time.perf_counter() - start


class _TimedNode(LifecycleNode):
    publishing_s = 0.0

    def create_lifecycle_publisher(self, *args: object, **options: object) -> _TimedPublisher:
        publisher = self.create_publisher(*args, **options)
        return _TimedPublisher(self, publisher)


def publishing_milliseconds(plan: Plan, observation: Observation, repeats: int
                            ) -> dict[str, list[float]]:
    """Milliseconds of each repeat, by stage, of putting ``plan`` on the wire.

    The node's own code runs, with every topic subscribed to from within this process. The first
    repeat is a warm-up and does not count.
    """
    settings = _settings(len(plan.candidates))
    finished = Finished(plan, replace(observation, pose_at_t0=_POSE), 0.0, 0.0, 0.0)
    result: dict[str, list[float]] = {'message building': [], 'publishing': []}
    context = Context()
    rclpy.init(args=[], context=context)
    try:
        node = _TimedNode('alpamayo_bench', context=context)
        publisher = PlanPublisher(node, settings)
        listener = rclpy.create_node('alpamayo_bench_listener', context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(listener)
        received = [0]
        for name, kind in _OUTPUTS.items():
            listener.create_subscription(
                kind, f'/{node.get_name()}/output/{name}', lambda _: received.__setitem__(
                    0, received[0] + 1),
                QoSProfile(depth=256, reliability=ReliabilityPolicy.RELIABLE), raw=True)
        for repeat in range(repeats + 1):
            node.publishing_s, start = 0.0, time.perf_counter()
            publisher.publish(finished, _IDENTITY, repeat, {})
            total = time.perf_counter() - start
            _drain(executor, received, len(plan.candidates) + len(_OUTPUTS) - 1)
            if repeat:
                result['publishing'].append(node.publishing_s * 1e3)
                result['message building'].append((total - node.publishing_s) * 1e3)
        executor.shutdown()
        listener.destroy_node()
        node.destroy_node()
    finally:
        context.try_shutdown()
    return result


def _drain(executor: SingleThreadedExecutor, received: list[int], messages: int) -> None:
    """Take what was published off the wire, so that the next repeat finds it empty."""
    deadline = time.monotonic() + 2.0
    while received[0] < messages and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.05)
    received[0] = 0


def _settings(candidates: int) -> NodeSettings:
    values = {spec.name: spec.default for spec in PARAMETERS}
    return node_settings({**values, 'checkpoint': 'bench', 'num_candidates': candidates})
