"""Declaring the parameters, refusing wrong ones, and turning them into settings.

A wrong value never stops the process: the parameter is declared with its default, the fault is
kept, and ``settings()`` raises until someone sets a value that fits. So nothing is loaded with
a value nobody asked for, and a running node can be put right from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from alpamayo_ros.ros.node_settings import (
    Footprint,
    NodeSettings,
    node_settings,
    unknown_parameter,
)
from alpamayo_ros.ros.parameter_table import BY_NAME, PARAMETERS, ParameterError, ParameterSpec

__all__ = ['Footprint', 'NodeSettings', 'Parameters', 'descriptor', 'node_settings']


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
        self.warnings = tuple(filter(None, map(unknown_parameter, sorted(given))))
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
