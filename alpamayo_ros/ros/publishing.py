"""The outputs of a plan on the wire, every header stamped t0."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Path
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from alpamayo_ros.ros.conversions import paths, place
from alpamayo_ros.ros.markers import lifetime_s, markers
from alpamayo_ros.ros.node_settings import NodeSettings
from alpamayo_ros.ros.plan_info import ModelIdentity, plan_info
from alpamayo_ros.ros.worker import Finished

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode


def _reliable(depth: int) -> QoSProfile:
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)


class PlanPublisher:
    """The five output topics. They are silent while the node is not active."""

    def __init__(self, node: LifecycleNode, settings: NodeSettings) -> None:
        self._node, self._settings = node, settings
        self._publishers = []
        self._reasoning = self._publisher(String, 'reasoning', 1)
        self._candidates = self._publisher(Path, 'candidate_paths',
                                           2 * settings.planner.num_candidates)
        self._path = self._publisher(Path, 'path', 1)
        self._markers = self._publisher(MarkerArray, 'markers', 1)
        self._info = self._publisher(DiagnosticStatus, 'plan_info', 1)
        self._previous_t0_ns: int | None = None

    def _publisher(self, kind: type, name: str, depth: int):
        publisher = self._node.create_lifecycle_publisher(
            kind, f'~/output/{name}', _reliable(depth))
        self._publishers.append(publisher)
        return publisher

    def close(self) -> None:
        """Take the topics away."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()

    def publish(self, finished: Finished, identity: ModelIdentity, sequence: int,
                prepare_ms: dict[str, float]) -> float:
        """Send a plan; returns its milliseconds from choosing t0 to the last message but one."""
        plan, settings = finished.plan, self._settings
        timings = {**{f'input.{name}': ms for name, ms in prepare_ms.items()},
                   'align': finished.align_ms, **plan.timings_ms}
        started = time.perf_counter()
        in_odometry = settings.output_frame == 'odometry'
        placed = place(plan, finished.observation.pose_at_t0 if in_odometry else None,
                       settings.odometry_frame if in_odometry else settings.base_frame)
        timings['place'] = _since(started)

        started = time.perf_counter()
        for rank, path in enumerate(paths(placed)):
            if rank == 0:
                self._path.publish(path)
            self._candidates.publish(path)
        timings['paths'] = _since(started)

        started = time.perf_counter()
        text = plan.reasoning[plan.candidates[0].reasoning].cot
        self._reasoning.publish(String(data=text))
        self._markers.publish(markers(
            plan, placed, settings.footprint, text,
            lifetime_s(settings, plan.t0_ns, self._previous_t0_ns), settings.base_frame))
        self._previous_t0_ns = plan.t0_ns
        timings['markers'] = _since(started)

        total = sum(ms for name, ms in timings.items() if not name.startswith('input.'))
        timings['total'] = total
        self._info.publish(plan_info(
            plan, identity, sequence=sequence,
            name=self._node.get_fully_qualified_name().lstrip('/') + ': plan_info',
            ages_s={'input_age': finished.input_age_s, 'plan_age': finished.plan_age_s},
            timings_ms=timings))
        return total


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
