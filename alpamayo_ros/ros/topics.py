"""The topics of the node: private names and types of what it takes and gives. No ROS here."""

from __future__ import annotations

from alpamayo_ros.alignment import ODOMETRY
from alpamayo_ros.ros.node_settings import NodeSettings

NODE_NAME = 'alpamayo'
NAVIGATION = 'navigation'
"""The stream that may be silent."""

OUTPUTS = {
    'reasoning': 'std_msgs/msg/String', 'candidate_paths': 'nav_msgs/msg/Path',
    'path': 'nav_msgs/msg/Path', 'markers': 'visualization_msgs/msg/MarkerArray',
    'plan_info': 'diagnostic_msgs/msg/DiagnosticStatus'}
"""Types of the outputs, each published as ``~/output/<name>``."""


def image_type(settings: NodeSettings) -> str:
    """The message type of the cameras."""
    return ('sensor_msgs/msg/CompressedImage' if settings.image_transport == 'compressed'
            else 'sensor_msgs/msg/Image')


def input_topics(settings: NodeSettings) -> dict[str, str]:
    """Private topic names by stream: the cameras by their names, odometry, navigation."""
    suffix = '/compressed' if settings.image_transport == 'compressed' else ''
    topics = {camera.name: f'~/input/{camera.name}/image{suffix}' for camera in settings.cameras}
    return topics | {ODOMETRY: '~/input/odometry', NAVIGATION: '~/input/navigation'}


def output_topic(name: str) -> str:
    """The private name of an output."""
    return f'~/output/{name}'


def resolve(name: str) -> str:
    """A private name as the node without a namespace has it: ``~/x`` is ``/alpamayo/x``."""
    if name.startswith('~/'):
        return f'/{NODE_NAME}/{name[2:]}'
    return name if name.startswith('/') else f'/{name}'
