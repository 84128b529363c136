"""Declaring the parameters, refusing wrong ones, and turning them into settings.

A wrong value never stops the process: the parameter is declared with its default, the fault is
kept, and ``settings()`` raises until someone sets a value that fits. So nothing is loaded with
a value nobody asked for, and a running node can be put right from outside.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from alpamayo_ros.alignment import AlignmentSettings
from alpamayo_ros.cameras import Camera, camera_by_name
from alpamayo_ros.ros.parameter_table import BY_NAME, PARAMETERS, ParameterError, ParameterSpec
from alpamayo_ros.settings import PlannerSettings, PlausibilityLimits

# Parameters rclpy itself declares or reads.
_FOREIGN = re.compile(r'use_sim_time$|start_type_description_service$|qos_overrides\.')
_DEVICE = re.compile(r'cpu$|cuda(:\d+)?$')
_OPTIONAL = ('top_k', 'num_inference_steps', 'min_pixels', 'max_pixels')


@dataclass(frozen=True)
class Footprint:
    """The vehicle's outline in base_link, m: origin at the rear axle."""

    front_m: float
    rear_m: float
    width_m: float


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
            footprint=Footprint(**_group(checked, 'footprint.')),
            **{name: checked[name] for name in direct})
    except ValueError as error:
        raise ParameterError(f'parameter {error}') from error


def _directory(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _group(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items()
            if name.startswith(prefix)}


def descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """The ROS descriptor of a parameter: description, range or choices, read-only flag."""
    message = ParameterDescriptor(
        name=spec.name, description=spec.description, read_only=spec.read_only,
        additional_constraints=spec.expected if spec.choices else '')
    if spec.low is not None and isinstance(spec.default, float):
        message.floating_point_range = [
            FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high))]
    elif spec.low is not None:
        message.integer_range = [IntegerRange(from_value=int(spec.low), to_value=int(spec.high))]
    return message


class Parameters:
    """The declared parameters of ``node``.

    ``locked``: why parameters cannot be set now (a lifecycle state), or None when they can.
    ``problems``: by name, the values given at the start that do not fit. ``warnings``: names given
    that no parameter has.
    """

    def __init__(self, node: Node, locked: Callable[[], str | None]) -> None:
        self._node, self._locked = node, locked
        self.problems: dict[str, str] = {}
        # rclpy offers no public way to see an override before declaring its type.
        given = node._parameter_overrides
        for spec in PARAMETERS:
            value = spec.default
            if spec.name in given:
                try:
                    value = spec.check(given[spec.name].value)
                except ParameterError as error:
                    self.problems[spec.name] = str(error)
            node.declare_parameter(
                spec.name, list(value) if isinstance(value, tuple) else value, descriptor(spec),
                ignore_override=True)
        self.warnings = tuple(
            _unknown(name) for name in sorted(given)
            if name not in BY_NAME and not _FOREIGN.match(name))
        node.add_on_set_parameters_callback(self._on_set)
        node.add_post_set_parameters_callback(self._after_set)

    def value(self, name: str) -> Any:
        """The value a parameter has now."""
        return self._node.get_parameter(name).value

    def settings(self) -> NodeSettings:
        """All of them, checked; ``ParameterError`` names every one that does not fit."""
        if self.problems:
            raise ParameterError('; '.join(self.problems.values()))
        return node_settings({spec.name: self.value(spec.name) for spec in PARAMETERS})

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            spec = BY_NAME.get(parameter.name)
            if spec is None:
                continue
            try:
                spec.check(parameter.value)
            except ParameterError as error:
                return SetParametersResult(successful=False, reason=str(error))
            reason = self._locked()
            if reason:
                return SetParametersResult(
                    successful=False, reason=f"parameter '{parameter.name}' {reason}")
        return SetParametersResult(successful=True)

    def _after_set(self, parameters: list[Parameter]) -> None:
        for parameter in parameters:
            self.problems.pop(parameter.name, None)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, BY_NAME, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ''
    return f"parameter '{name}' is not one of this node and has no effect{hint}"
