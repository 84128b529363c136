"""The unicycle action space: normalised (acceleration, curvature) to trajectory and back.

Every function works on float32 tensors with any leading batch dimensions, in the ego frame at t0
(x forward, y left, z up), and runs where its inputs lie. Speeds and headings are recovered from
positions by linear least squares with Tikhonov smoothing; all of that is float32 because the
released model was trained on, and evaluated with, float32 solutions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

_MAX_RIDGE_RETRIES = 8


@dataclass(frozen=True)
class UnicycleParameters:
    """``action_space_cfg`` of a checkpoint. Accelerations in m/s^2, curvatures in 1/m, dt in s.

    The ``*_lambda`` weigh the smoothness of a recovered quantity, the ``*_ridge`` keep its system
    regular.
    """

    n_waypoints: int = 64
    dt: float = 0.1
    accel_mean: float = 0.0
    accel_std: float = 1.0
    curvature_mean: float = 0.0
    curvature_std: float = 1.0
    accel_bounds: tuple[float, float] = (-9.8, 9.8)
    curvature_bounds: tuple[float, float] = (-0.2, 0.2)
    theta_lambda: float = 1e-6
    theta_ridge: float = 1e-8
    v_lambda: float = 1e-6
    v_ridge: float = 1e-4
    a_lambda: float = 1e-4
    a_ridge: float = 1e-4
    kappa_lambda: float = 1e-4
    kappa_ridge: float = 1e-4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(type(number) in (int, float) and math.isfinite(number)
                       for number in numbers):
                raise ValueError(f'{name} is {value!r}; expected a finite number')
        for name in ('n_waypoints', 'dt', 'accel_std', 'curvature_std'):
            if getattr(self, name) <= 0:
                raise ValueError(f'{name} is {getattr(self, name)}; expected a number above 0')
        if type(self.n_waypoints) is not int:
            raise ValueError(f'n_waypoints is {self.n_waypoints}; expected a whole number')

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> UnicycleParameters:
        """Read ``action_space_cfg``; keys with a leading underscore are not parameters.

        ``ValueError`` names an unknown key, or one whose value does not fit.
        """
        given = {key: value for key, value in config.items() if not key.startswith('_')}
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ValueError(f'action_space_cfg has the unknown key {unknown[0]!r}; expected some '
                             f'of {sorted(known)}')
        for key in ('accel_bounds', 'curvature_bounds'):
            if isinstance(given.get(key), list):
                given[key] = tuple(given[key])
        return cls(**given)


def heading(rotation: Tensor) -> Tensor:
    """Yaw of rotation matrices (..., 3, 3), radians (...)."""
    return torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])


def unwrap(angle: Tensor) -> Tensor:
    """Remove jumps of more than pi along the last dimension, radians."""
    step = torch.diff(angle, dim=-1)
    wrapped = torch.remainder(step + torch.pi, 2 * torch.pi) - torch.pi
    # A step of exactly +pi stays +pi, as in numpy.unwrap.
    wrapped = torch.where((wrapped == -torch.pi) & (step > 0), -wrapped, wrapped)
    return torch.cat([angle[..., :1], angle[..., :1] + torch.cumsum(wrapped, dim=-1)], dim=-1)


def yaw_rotation(theta: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) about z by theta (...) radians."""
    cos, sin = torch.cos(theta), torch.sin(theta)
    zero, one = torch.zeros_like(theta), torch.ones_like(theta)
    rows = [torch.stack(row, dim=-1) for row in
            ((cos, -sin, zero), (sin, cos, zero), (zero, zero, one))]
    return torch.stack(rows, dim=-2)


def _difference_matrix(size: int, order: int, like: Tensor) -> Tensor:
    """Rows of the finite difference of that order, (size - order, size)."""
    stencil = {2: (-1.0, 2.0, -1.0), 3: (-1.0, 3.0, -3.0, 1.0)}[order]
    matrix = torch.zeros(size - order, size, dtype=like.dtype, device=like.device)
    rows = torch.arange(size - order, device=like.device)
    for offset, value in enumerate(stencil):
        matrix[rows, rows + offset] = value
    return matrix


def _solve(normal: Tensor, right: Tensor, ridge: float) -> Tensor:
    """Solve (normal + ridge I) x = right; the ridge grows tenfold while the system is singular."""
    if not bool(right.isfinite().all()):
        raise ValueError('positions or headings hold a value that is not finite')
    identity = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    for _ in range(_MAX_RIDGE_RETRIES):
        factor, info = torch.linalg.cholesky_ex(normal + ridge * identity)
        if not bool(info.any()):
            return torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)
        ridge *= 10
    raise ValueError(f'least-squares system is still singular with ridge {ridge:g}; expected '
                     'finite positions and headings')


def _least_squares(design: Tensor, target: Tensor, *, smooth: float, order: int,
                   ridge: float, start: Tensor | None = None) -> Tensor:
    """min |design x - target|^2 + smooth |D x|^2 + ridge |x|^2 over x (..., size).

    ``design`` is (..., rows, size), ``target`` (..., rows). With ``start`` (...) the first entry
    of x is known and not an unknown; the returned x begins with it.
    """
    difference = _difference_matrix(design.shape[-1], order, design)
    offset = torch.zeros(*target.shape[:-1], difference.shape[0], dtype=design.dtype,
                         device=design.device)
    if start is not None:
        target = target - design[..., 0] * start[..., None]
        offset = -difference[:, 0] * start[..., None]
        design, difference = design[..., 1:], difference[:, 1:]
    normal = design.mT @ design + smooth * (difference.mT @ difference)
    right = (design.mT @ target.unsqueeze(-1)).squeeze(-1) + smooth * (offset @ difference)
    solution = _solve(normal, right, ridge)
    if start is None:
        return solution
    return torch.cat([start[..., None], solution], dim=-1)


def _speeds(positions: Tensor, theta: Tensor, parameters: UnicycleParameters,
            start: Tensor | None = None) -> Tensor:
    """Speeds (..., P) m/s at P poses: positions (..., P, 2) m, headings (..., P) radians."""
    count, dt = theta.shape[-1], parameters.dt
    target = (2.0 / dt) * torch.diff(positions, dim=-2)
    design = torch.zeros(*theta.shape[:-1], count - 1, 2, count, dtype=theta.dtype,
                         device=theta.device)
    rows = torch.arange(count - 1, device=theta.device)
    direction = torch.stack([torch.cos(theta), torch.sin(theta)], dim=-1)
    for axis in (0, 1):
        design[..., rows, axis, rows] = direction[..., :-1, axis]
        design[..., rows, axis, rows + 1] = direction[..., 1:, axis]
    return _least_squares(design.flatten(-3, -2), target.flatten(-2), order=3, start=start,
                          smooth=parameters.v_lambda / dt ** 6, ridge=parameters.v_ridge)


def initial_speed(history_xyz: Tensor, history_rot: Tensor,
                  parameters: UnicycleParameters) -> Tensor:
    """Speed at t0, m/s (...), from the history (..., P, 3) m and (..., P, 3, 3), oldest first."""
    theta = unwrap(heading(history_rot))
    return _speeds(history_xyz[..., :2], theta, parameters)[..., -1]


def rollout(action: Tensor, v0: Tensor, parameters: UnicycleParameters, *,
            z: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Integrate normalised actions (..., T, 2) from speed v0 (...) m/s.

    Returns positions (..., T, 3) m and rotations (..., T, 3, 3) in the ego frame at t0; waypoint 0
    is at t0 + dt. ``z`` is the height every waypoint gets, the last one of the history.
    """
    dt = parameters.dt
    accel = action[..., 0] * parameters.accel_std + parameters.accel_mean
    curvature = action[..., 1] * parameters.curvature_std + parameters.curvature_mean
    v0 = v0[..., None].expand(*accel.shape[:-1], 1)
    speed = torch.cat([v0, v0 + torch.cumsum(accel * dt, dim=-1)], dim=-1)
    turn = curvature * speed[..., :-1] * dt + curvature * accel * (dt ** 2 / 2)
    theta = torch.cat([torch.zeros_like(v0), torch.cumsum(turn, dim=-1)], dim=-1)
    velocity = speed[..., None] * torch.stack([torch.cos(theta), torch.sin(theta)], dim=-1)
    plane = torch.cumsum((velocity[..., :-1, :] + velocity[..., 1:, :]) * (dt / 2), dim=-2)
    height = torch.as_tensor(z, dtype=plane.dtype, device=plane.device)
    height = height[..., None].expand(plane.shape[:-1])[..., None]
    return torch.cat([plane, height], dim=-1), yaw_rotation(theta[..., 1:])


def invert(future_xyz: Tensor, future_rot: Tensor, v0: Tensor,
           parameters: UnicycleParameters) -> Tensor:
    """The normalised actions (..., T, 2) whose rollout from v0 (...) m/s is nearest the future.

    ``future_xyz``: (..., T, 3) m, ``future_rot``: (..., T, 3, 3), ego frame at t0, the first at
    t0 + dt. Raises ``ValueError`` when the future is not finite.
    """
    dt = parameters.dt
    start = torch.zeros_like(v0)
    observed = unwrap(torch.cat([start[..., None], heading(future_rot)], dim=-1))
    steps = observed.shape[-1]
    identity = torch.eye(steps, dtype=observed.dtype, device=observed.device)
    theta = _least_squares(
        identity.expand(*observed.shape[:-1], steps, steps), observed, order=3, start=start,
        smooth=parameters.theta_lambda / dt ** 6, ridge=parameters.theta_ridge)
    origin = torch.zeros_like(future_xyz[..., :1, :2])
    positions = torch.cat([origin, future_xyz[..., :2]], dim=-2)
    speed = _speeds(positions, theta, parameters, start=v0)
    count = steps - 1
    square = torch.eye(count, dtype=observed.dtype, device=observed.device)
    accel = _least_squares(
        square.expand(*observed.shape[:-1], count, count), torch.diff(speed, dim=-1) / dt, order=2,
        smooth=parameters.a_lambda / dt ** 4, ridge=parameters.a_ridge)
    arc = dt * speed[..., :-1] + (dt ** 2 / 2) * accel
    curvature = _least_squares(
        torch.diag_embed(arc), torch.diff(theta, dim=-1), order=2,
        smooth=parameters.kappa_lambda / dt ** 4, ridge=parameters.kappa_ridge)
    return torch.stack([(accel - parameters.accel_mean) / parameters.accel_std,
                        (curvature - parameters.curvature_mean) / parameters.curvature_std], dim=-1)
