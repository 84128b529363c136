"""Names of the topics in a recorded drive: those of the node's inputs."""

from __future__ import annotations

INPUT_PREFIX = '/alpamayo/input'
ODOMETRY_TOPIC = f'{INPUT_PREFIX}/odometry'
NAVIGATION_TOPIC = f'{INPUT_PREFIX}/navigation'
TRANSFORM_TOPIC, MOUNTING_TOPIC = '/tf', '/tf_static'


def image_topic(camera: str) -> str:
    """Return the topic of a camera's JPEG images."""
    return f'{INPUT_PREFIX}/{camera}/image/compressed'


def info_topic(camera: str) -> str:
    """Return the topic of a camera's calibration."""
    return f'{INPUT_PREFIX}/{camera}/camera_info'
