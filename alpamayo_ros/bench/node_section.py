"""The sections of a measurement that need ROS. What imports it is loaded only when they run."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from alpamayo_ros.bench import scene
from alpamayo_ros.bench.geometry import GEOMETRIES
from alpamayo_ros.bench.measure import Timing
from alpamayo_ros.cameras import SIX_CAMERA_RIG
from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.types import Observation, Plan

GOAL_MS = 150.0
"""What the node may take of a plan for itself, on two cores."""
# The model is not what is measured here. On a vehicle it runs on the GPU and leaves the processor
# to the node; so it is small here and keeps to one core. A slow machine must not make plans late.
PARAMETERS: dict[str, bool | int | float] = {
    'max_generation_length': 4, 'num_inference_steps': 1, 'model.cpu_threads': 1,
    'max_plan_age_s': 60.0, 'plan_period_s': 0.5}
"""Parameters of the node that is measured, where they are not the defaults."""


class NoRosError(AlpamayoError):
    """ROS 2 is not there."""


@dataclass(frozen=True)
class NodeSection:
    """The node under six cameras at 10 Hz.

    ``share``: its own milliseconds of each plan, ``model``: the model's, ``parts``: what the node
    says of its stages; ``sent``, ``received``, ``stored``: frames by camera, of ``image_size``
    (height, width); ``waited``: plans whose input was complete before the plan before them was
    done; ``late_ms``: how far the load was behind time at worst; ``busy_cores``: of ``cores``, how
    many the node used on average.
    """

    share: Timing
    model: Timing
    parts: dict[str, Timing]
    sent: dict[str, int]
    received: dict[str, int]
    stored: dict[str, int]
    image_size: tuple[int, int]
    waited: int
    late_ms: float
    cores: int
    busy_cores: float
    seconds: float

    @property
    def all_arrived(self) -> bool:
        return self.sent == self.received

    @property
    def within_goal(self) -> bool:
        """Whether nine in ten plans kept to the goal."""
        return self.share.p90 <= GOAL_MS

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            'seconds': self.seconds, 'image_size': list(self.image_size), 'cores': self.cores,
            'parameters': PARAMETERS, 'cores_used': round(self.busy_cores, 3),
            'plans': len(self.share.milliseconds),
            'plans_that_waited_for_the_model': self.waited,
            'share': self.share.as_dict(), 'goal_ms': GOAL_MS, 'within_goal': self.within_goal,
            'model': self.model.as_dict(),
            'parts': {name: timing.as_dict() for name, timing in self.parts.items()},
            'frames_sent': self.sent, 'frames_received': self.received,
            'frames_stored': self.stored, 'all_frames_arrived': self.all_arrived,
            'load_late_ms': round(self.late_ms, 1)}


def prepare_ros() -> None:
    """Choose domain and DDS profile, before anything of ROS; ``NoRosError`` without ROS."""
    from alpamayo_ros.drive.environment import use_fastdds_profile, use_private_domain
    use_private_domain(os.environ)
    use_fastdds_profile(os.environ)
    try:
        import alpamayo_ros.drive.node_share  # noqa: F401
    except ImportError as error:
        raise NoRosError(f'ROS 2 cannot be imported ({error}); expected a sourced ROS 2 or the '
                         'wheels of requirements/ros.txt') from error


def output_stages(plan: Plan, observation: Observation, repeats: int) -> dict[str, Timing]:
    """Message building and publishing of a plan; after ``prepare_ros``."""
    from alpamayo_ros.drive.publishing_cost import publishing_milliseconds
    return {name: Timing.of(values) for name, values
            in publishing_milliseconds(plan, observation, repeats).items()}


def node_section(seconds: float, cores: int,
                 image_size: tuple[int, int] = (1080, 1920)) -> NodeSection:
    """Run the node under load; after ``prepare_ros``. ``NodeError`` when it does not work."""
    from alpamayo_ros.bench.synthetic import write_checkpoint
    from alpamayo_ros.drive.node_share import ShareOptions, measure_node_share
    jpegs = [scene.jpeg(scene.picture(index, *image_size)) for index in range(6)]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(GEOMETRIES['tiny'], Path(folder))
        result = measure_node_share(ShareOptions(
            {**PARAMETERS, 'checkpoint': checkpoint}, SIX_CAMERA_RIG, jpegs, seconds=seconds,
            cores=cores, speed=scene.SPEED_MPS))
    plans = result.plans
    parts = {name: Timing.of([plan.parts[name] for plan in plans]) for name in plans[0].parts}
    return NodeSection(
        Timing.of([plan.share for plan in plans]), Timing.of([plan.model for plan in plans]),
        parts, result.sent,
        {camera: count['received'] for camera, count in result.counts.items()},
        {camera: count['stored'] for camera, count in result.counts.items()},
        image_size, sum(plan.waited for plan in plans), result.late_s * 1e3, result.cores,
        result.busy_cores, seconds)
