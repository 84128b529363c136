"""The cameras the released models know: ids, names and what a prompt calls them.

Ids and prompt names are those of the released checkpoints; an observation is always ordered by
ascending camera id.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Camera:
    """One camera of the rig.

    ``camera_id`` is the model's id, ``name`` the topic name, ``prompt_name`` what an
    ``alpamayo1_5`` prompt calls it, ``fov_deg`` the horizontal field of view in degrees.
    """

    camera_id: int
    name: str
    prompt_name: str
    fov_deg: float


CAMERAS: tuple[Camera, ...] = (
    Camera(0, 'cross_left', 'Front left camera', 120.0),
    Camera(1, 'front_wide', 'Front camera', 120.0),
    Camera(2, 'cross_right', 'Front right camera', 120.0),
    Camera(3, 'rear_left', 'Rear left camera', 70.0),
    Camera(4, 'rear_tele', 'Rear camera', 30.0),
    Camera(5, 'rear_right', 'Rear right camera', 70.0),
    Camera(6, 'front_tele', 'Front telephoto camera', 30.0),
)

SIX_CAMERA_RIG: tuple[str, ...] = (
    'cross_left', 'front_wide', 'cross_right', 'rear_left', 'rear_right', 'front_tele')

_BY_NAME = {camera.name: camera for camera in CAMERAS}


def camera_by_name(name: str) -> Camera:
    """Return the camera of that topic name; ``ValueError`` names the known ones otherwise."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise ValueError(
            f"camera '{name}' is unknown; expected one of {', '.join(_BY_NAME)}") from None


def camera_by_id(camera_id: int) -> Camera:
    """Return the camera of that id; ``ValueError`` gives the range otherwise."""
    if not 0 <= camera_id < len(CAMERAS):
        raise ValueError(f'camera id {camera_id} is unknown; expected 0 to {len(CAMERAS) - 1}')
    return CAMERAS[camera_id]
