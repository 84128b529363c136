"""The settings of a node from its parameter values, whoever gives them. No ROS here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from alpamayo_ros.alignment import AlignmentSettings
from alpamayo_ros.cameras import Camera, camera_by_name
from alpamayo_ros.ros.parameter_table import BY_NAME, PARAMETERS, ParameterError
from alpamayo_ros.settings import PlannerSettings, PlausibilityLimits

_DEVICE = re.compile(r'cpu$|cuda(:\d+)?$')
OVERLAY_CAMERA = 'front_wide'
"""The camera whose view the overlay is drawn into."""
_OPTIONAL = ('top_k', 'num_inference_steps', 'min_pixels', 'max_pixels')
# Parameters rclpy itself declares or reads.
_FOREIGN = re.compile(r'use_sim_time$|start_type_description_service$|qos_overrides\.')


@dataclass(frozen=True)
class Footprint:
    """The vehicle's outline in base_link, m: origin at the rear axle."""

    front_m: float
    rear_m: float
    width_m: float


@dataclass(frozen=True)
class OverlaySettings:
    """Where the overlay takes the calibration of its camera from.

    ``rig_file``: a file that has all of it, or None. Then ``position_m`` (3) in base_link and
    ``angles_deg`` (yaw, pitch, roll) are the camera's place, and its camera_info says the rest.
    """

    rig_file: Path | None
    position_m: tuple[float, float, float]
    angles_deg: tuple[float, float, float]


@dataclass(frozen=True)
class NodeSettings:
    """The parameters of a node that has been configured; names as in the parameter table."""

    checkpoint: Path
    device: str
    dtype: str
    backend: str
    engine_dir: Path | None
    cpu_threads: int
    decode_threads: int
    cameras: tuple[Camera, ...]
    image_transport: str
    odometry_frame: str
    base_frame: str
    output_frame: str
    planner: PlannerSettings
    alignment: AlignmentSettings
    plan_period_s: float
    max_input_age_s: float
    max_plan_age_s: float
    footprint: Footprint
    overlay: OverlaySettings | None = None


def node_settings(values: Mapping[str, Any]) -> NodeSettings:
    """Settings from parameter values by name; ``ParameterError`` for what cannot be."""
    checked = {spec.name: spec.check(values[spec.name]) for spec in PARAMETERS}
    if not checked['checkpoint']:
        raise ParameterError("parameter 'checkpoint' is ''; expected the directory of a checkpoint")
    if not _DEVICE.match(checked['device']):
        raise ParameterError(f"parameter 'device' is {checked['device']!r}; expected cpu, cuda or "
                             'cuda:N')
    for name in ('odometry_frame', 'base_frame'):
        if not checked[name]:
            raise ParameterError(f"parameter '{name}' is ''; expected the name of a frame")
    cameras = sorted((camera_by_name(name) for name in checked['cameras']),
                     key=lambda camera: camera.camera_id)
    flat = {field.name: checked[field.name] for field in fields(PlannerSettings)
            if field.name in checked}
    flat.update((name, None) for name in _OPTIONAL if checked[name] == 0)
    direct = ('device', 'dtype', 'decode_threads', 'image_transport', 'odometry_frame',
              'base_frame', 'output_frame', 'plan_period_s', 'max_input_age_s', 'max_plan_age_s')
    try:
        return NodeSettings(
            checkpoint=_directory(checked['checkpoint']), backend=checked['expert.backend'],
            engine_dir=_directory(checked['expert.engine_dir']),
            cpu_threads=checked['model.cpu_threads'], cameras=tuple(cameras),
            planner=PlannerSettings(
                **flat, limits=PlausibilityLimits(**_group(checked, 'limits.'))),
            alignment=AlignmentSettings(
                camera_names=tuple(camera.name for camera in cameras),
                **_group(checked, 'alignment.')),
            footprint=Footprint(**_group(checked, 'footprint.')), overlay=_overlay(checked),
            **{name: checked[name] for name in direct})
    except ValueError as error:
        raise ParameterError(f'parameter {error}') from error


def _overlay(checked: Mapping[str, Any]) -> OverlaySettings | None:
    if not checked['publish_overlay']:
        return None
    if OVERLAY_CAMERA not in checked['cameras']:
        raise ParameterError("parameter 'publish_overlay' is True and 'cameras' has no "
                             f'{OVERLAY_CAMERA}; expected it among {list(checked["cameras"])}')
    mount = _group(checked, f'{OVERLAY_CAMERA}_mount.')
    return OverlaySettings(
        _directory(checked['rig_file']), (mount['x_m'], mount['y_m'], mount['z_m']),
        (mount['yaw_deg'], mount['pitch_deg'], mount['roll_deg']))


def _directory(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _group(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items()
            if name.startswith(prefix)}


def unknown_parameter(name: str) -> str | None:
    """What to say about a parameter that nobody here has; None for one of this node or rclpy."""
    if name in BY_NAME or _FOREIGN.match(name):
        return None
    close = difflib.get_close_matches(name, BY_NAME, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ''
    return f"parameter '{name}' is not one of this node and has no effect{hint}"
