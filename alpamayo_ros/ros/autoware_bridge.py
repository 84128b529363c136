"""`autoware_bridge`: the candidate paths of each plan as one message for Autoware's planners.

Installed only where autoware_internal_planning_msgs is found when the package is built.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Path
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from alpamayo_ros.ros.autoware import (
    AutowareTypes,
    PathSet,
    TrajectoryError,
    plausible,
    t0_of,
    trajectories,
)
from alpamayo_ros.ros.conversions import stamp_to_ns

NODE_NAME = 'autoware_bridge'
_REMINDER_S = 5.0


def autoware_types() -> AutowareTypes:
    """The message classes; ``ImportError`` where they are not installed."""
    from autoware_internal_planning_msgs.msg import (
        CandidateTrajectories,
        CandidateTrajectory,
        GeneratorInfo,
    )
    from autoware_planning_msgs.msg import TrajectoryPoint

    return AutowareTypes(CandidateTrajectories, CandidateTrajectory, GeneratorInfo,
                         TrajectoryPoint)


class AutowareBridge(Node):
    """Takes ``~/input/candidate_paths`` and ``~/input/plan_info``, gives ``~/output/trajectories``.

    A path does not tell whether it is plausible: the paths of a plan wait for its plan_info, and
    are given up when the next plan is complete before it came.
    """

    def __init__(self, types: AutowareTypes, **options: object) -> None:
        super().__init__(NODE_NAME, **options)
        self._types = types
        count = self.declare_parameter(
            'num_candidates', 32, ParameterDescriptor(
                description='paths a plan has: the parameter of the planner', read_only=True,
                integer_range=[IntegerRange(from_value=1, to_value=1024)])).value
        self._frame_id = self.declare_parameter(
            'frame_id', 'map', ParameterDescriptor(
                description='frame the paths must be in', read_only=True)).value
        self._name = self.declare_parameter(
            'generator_name', 'alpamayo', ParameterDescriptor(
                description='name of the generator in the message; its UUID follows from it',
                read_only=True)).value
        self._set = PathSet(count)
        self._waiting: list[Path] = []
        self._info: DiagnosticStatus | None = None
        self._missed = 0
        # The newest plan alone matters, as everywhere among those who receive this.
        self._publisher = self.create_publisher(
            types.CandidateTrajectories, '~/output/trajectories', 1)
        self.create_subscription(
            Path, '~/input/candidate_paths', self._on_path,
            QoSProfile(depth=2 * count, reliability=ReliabilityPolicy.RELIABLE))
        self.create_subscription(
            DiagnosticStatus, '~/input/plan_info', self._on_info,
            QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE))

    def _on_path(self, path: Path) -> None:
        dropped = self._set.dropped
        paths = self._set.add(path)
        if self._set.dropped > dropped:
            self._remind(f'{self._set.dropped} plans so far were incomplete and left out; is '
                         'num_candidates that of the planner?')
        if paths is None:
            return
        if self._waiting:
            self._missed += 1
            self._remind(f'{self._missed} plans so far came without their plan_info, which tells '
                         'the implausible paths; is ~/input/plan_info that of the planner?')
        self._waiting = paths
        self._forward()

    def _on_info(self, info: DiagnosticStatus) -> None:
        self._info = info
        self._forward()

    def _forward(self) -> None:
        """Publish the plan that waits if the newest plan_info is about it."""
        paths, info = self._waiting, self._info
        if not paths or info is None:
            return
        try:
            if t0_of(info) != stamp_to_ns(paths[0].header.stamp):
                return
            self._waiting, self._info = [], None
            chosen = plausible(paths, info)
            if not chosen:
                raise TrajectoryError(f'none of the {len(paths)} paths is plausible')
            self._publisher.publish(trajectories(chosen, self._name, self._frame_id, self._types))
        except TrajectoryError as error:
            self._remind(str(error))

    def _remind(self, text: str) -> None:
        self.get_logger().error(f'nothing published: {text}', throttle_duration_sec=_REMINDER_S)


def main(args: Sequence[str] | None = None) -> int:
    """Run the bridge until a signal; the exit code (0: clean, 2: messages are missing)."""
    try:
        types = autoware_types()
    except ImportError as error:
        print(f'{NODE_NAME}: {error.name} is not installed; source a workspace with '
              'autoware_internal_planning_msgs and autoware_planning_msgs', file=sys.stderr)
        return 2
    rclpy.init(args=args)
    try:
        rclpy.spin(AutowareBridge(types))
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
