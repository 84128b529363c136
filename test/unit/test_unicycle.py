"""Kinematics: against loops in float64, against themselves, and at the edges."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from golden_data import GOLDEN
from reference_unicycle import reference_rollout, reference_v0
from safetensors.torch import load_file
from synthetic import drive

from alpamayo_ros.model.unicycle import (
    UnicycleParameters,
    _solve,
    heading,
    initial_speed,
    invert,
    rollout,
    unwrap,
    yaw_rotation,
)

SPACE = dict(dt=0.2, accel_mean=-0.1, accel_std=1.1, curvature_mean=0.002, curvature_std=0.05)
PARAMETERS = UnicycleParameters(n_waypoints=32, **SPACE)


def actions(count, waypoints, seed=0):
    return torch.randn(count, waypoints, 2, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('v0', [0.0, 0.3, 8.0, 40.0, -2.0])
def test_rollout_equals_a_loop(v0):
    action = actions(5, 32)
    xyz, rot = rollout(action, torch.full((5,), v0), PARAMETERS, z=torch.tensor(1.5))
    assert xyz.shape == (5, 32, 3) and rot.shape == (5, 32, 3, 3)
    for index in range(5):
        wanted_xyz, wanted_rot = reference_rollout(action[index].numpy(), v0, SPACE, 1.5)
        np.testing.assert_allclose(xyz[index], wanted_xyz, atol=2e-4)
        np.testing.assert_allclose(rot[index], wanted_rot, atol=2e-5)


def test_rollout_of_nothing_to_do_goes_straight():
    still = torch.tensor([-SPACE['accel_mean'] / 1.1, -SPACE['curvature_mean'] / 0.05])
    xyz, rot = rollout(still.expand(32, 2), torch.tensor(10.0), PARAMETERS)
    assert torch.allclose(xyz[:, 0], 2.0 * torch.arange(1, 33), atol=1e-4)
    assert xyz[:, 1:].abs().max() < 1e-4
    assert (rot - torch.eye(3)).abs().max() < 1e-5


def test_rollout_of_a_circle_stays_on_it():
    parameters = UnicycleParameters(n_waypoints=64, dt=0.1)
    action = torch.tensor([0.0, 0.05]).expand(64, 2)  # a radius of 20 m
    xyz, rot = rollout(action, torch.tensor(5.0), parameters)
    distance = torch.linalg.norm(xyz[:, :2] - torch.tensor([0.0, 20.0]), dim=-1)
    assert (distance - 20).abs().max() < 0.01
    assert torch.allclose(heading(rot), 0.025 * torch.arange(1, 65), atol=1e-5)


def test_batch_dimensions_of_any_number():
    action = actions(6, 32)
    flat = rollout(action, torch.arange(6.0), PARAMETERS, z=torch.arange(6.0))
    deep = rollout(action.view(2, 3, 32, 2), torch.arange(6.0).view(2, 3), PARAMETERS,
                   z=torch.arange(6.0).view(2, 3))
    for one, other in zip(flat, deep, strict=True):
        assert torch.equal(one, other.flatten(0, 1))


@pytest.mark.parametrize('dt', [0.1, 0.2])
@pytest.mark.parametrize('speed, turn', [(0.0, 0.0), (0.5, 0.0), (8.0, 0.4), (30.0, -0.1),
                                         (-3.0, 0.2), (5.0, 2.2)])
def test_speed_at_t0_equals_least_squares_in_float64(speed, turn, dt):
    xyz, rot = drive(speed, turn)
    rng = np.random.default_rng(0)
    xyz = xyz + rng.normal(0, 0.02, xyz.shape)
    parameters = dataclasses.replace(PARAMETERS, dt=dt)
    found = initial_speed(torch.from_numpy(xyz).float(), torch.from_numpy(rot).float(), parameters)
    assert float(found) == pytest.approx(reference_v0(xyz, rot, dt), abs=2e-4)


@pytest.mark.parametrize('speed', [-3.0, 0.0, 0.2, 15.0, 40.0])
def test_speed_of_a_clean_drive_is_its_speed(speed):
    xyz, rot = drive(speed, 0.2)
    found = initial_speed(torch.from_numpy(xyz).float(), torch.from_numpy(rot).float(),
                          UnicycleParameters())
    assert float(found) == pytest.approx(speed, abs=0.01 + 0.002 * abs(speed))


def test_heading_and_back():
    angle = torch.linspace(-3.1, 3.1, 41)
    assert torch.allclose(heading(yaw_rotation(angle)), angle, atol=1e-6)
    matrix = yaw_rotation(angle)
    assert torch.allclose(matrix @ matrix.mT, torch.eye(3).expand(41, 3, 3), atol=1e-6)


def test_unwrap_is_that_of_numpy():
    rng = np.random.default_rng(0)
    angles = rng.uniform(-np.pi, np.pi, (50, 30))
    found = unwrap(torch.from_numpy(angles))
    np.testing.assert_allclose(found, np.unwrap(angles), atol=1e-12)
    for steps in ([0.0, np.pi], [0.0, -np.pi], [0, np.pi, 0, -np.pi], [3.0, -3.0, 3.0]):
        np.testing.assert_allclose(unwrap(torch.tensor(steps, dtype=torch.float64)),
                                   np.unwrap(np.array(steps, float)), atol=1e-12)


@pytest.mark.parametrize('parameters, v0', [
    (UnicycleParameters(accel_std=0.68, curvature_std=0.026), 9.0),
    (dataclasses.replace(PARAMETERS, v_ridge=1e-6), 12.0)])
def test_inverse_of_a_rollout_is_the_action(parameters, v0):
    """For smooth actions, that the inverse's smoothing does not bend."""
    count = parameters.n_waypoints
    time = torch.linspace(0, 1, count)
    action = torch.stack([0.4 * torch.sin(4 * time), 0.5 * torch.cos(3 * time)], dim=-1)
    start = torch.tensor(v0)
    found = invert(*rollout(action, start, parameters), start, parameters)
    assert found.shape == (count, 2)
    assert (found - action)[2:-2].abs().max() < 0.1
    again, _ = rollout(found, start, parameters)
    xyz, _ = rollout(action, start, parameters)
    assert (again - xyz).abs().max() < 0.15


def test_inverse_keeps_batches_apart():
    parameters = UnicycleParameters()
    action = 0.3 * actions(3, 64).cumsum(-2) / 8
    v0 = torch.tensor([4.0, 9.0, 20.0])
    xyz, rot = rollout(action, v0, parameters)
    together = invert(xyz, rot, v0, parameters)
    for index in range(3):
        apart = invert(xyz[index], rot[index], v0[index], parameters)
        assert (together[index] - apart).abs().max() < 2e-3


def test_standstill_has_an_inverse():
    """It says nothing about curvature; the ridge makes it 0."""
    parameters = UnicycleParameters()
    found = invert(torch.zeros(64, 3), torch.eye(3).expand(64, 3, 3), torch.tensor(0.0),
                   parameters)
    assert found.abs().max() < 1e-6


def test_the_ridge_grows_until_the_system_is_regular():
    """1 + 1e-12 is 1 in float32, so the first ridges are none."""
    singular = torch.ones(2, 2)
    assert torch.linalg.cholesky_ex(singular + 1e-12 * torch.eye(2)).info > 0
    found = _solve(singular, torch.ones(2), 1e-12)
    assert torch.allclose(singular @ found, torch.ones(2), atol=1e-4)
    regular = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    assert torch.allclose(_solve(regular, torch.tensor([1.0, 2.0]), 0.25),
                          torch.linalg.solve(regular + 0.25 * torch.eye(2),
                                             torch.tensor([1.0, 2.0])))
    with pytest.raises(ValueError, match='still singular'):
        _solve(-torch.eye(2), torch.ones(2), 1e-12)


def test_what_is_not_finite_is_refused():
    xyz, rot = (torch.from_numpy(part).float() for part in drive(5.0, 0.1))
    xyz[7, 0], rot[3, 0, 0] = float('nan'), float('nan')
    with pytest.raises(ValueError, match='not finite'):
        initial_speed(xyz, rot, PARAMETERS)


def test_golden_units_are_within_loops_of_float64():
    """The recorded numbers are float32 results of the released implementation: loops in float64
    come to the same within its rounding."""
    units = load_file(GOLDEN / 'units.safetensors')
    space = dict(dt=0.1, accel_mean=0.03, accel_std=0.68, curvature_mean=0.0003,
                 curvature_std=0.026)
    for index in range(len(units['v0'])):
        v0 = reference_v0(units['history_xyz'][index].numpy(), units['history_rot'][index].numpy(),
                          0.1)
        assert v0 == pytest.approx(float(units['v0'][index]), abs=2e-4)
        xyz, rot = reference_rollout(units['action'][index].numpy(), float(units['v0'][index]),
                                     space, float(units['history_xyz'][index, -1, 2]))
        np.testing.assert_allclose(xyz, units['action_xyz'][index], atol=1e-3)
        np.testing.assert_allclose(rot, units['action_rot'][index], atol=1e-4)


@pytest.mark.parametrize('change', [dict(dt=0.0), dict(dt=float('inf')), dict(n_waypoints=0),
                                    dict(n_waypoints=2.5), dict(accel_std=0.0),
                                    dict(curvature_std=-1.0), dict(accel_mean=None),
                                    dict(v_lambda='x'), dict(accel_bounds=(None, 1.0)),
                                    dict(kappa_ridge=True)], ids=str)
def test_parameters_that_make_no_sense_are_named(change):
    with pytest.raises(ValueError, match=f'{next(iter(change))} is .*; expected'):
        UnicycleParameters(**change)


def test_reading_parameters():
    found = UnicycleParameters.from_config({
        '_target_': 'x.y', '_recursive_': False, 'dt': 0.2, 'n_waypoints': 30,
        'accel_bounds': [-8, 4]})
    assert found == UnicycleParameters(dt=0.2, n_waypoints=30, accel_bounds=(-8, 4))
    with pytest.raises(ValueError, match="unknown key 'dtt'; expected some of .*'accel_bounds'"):
        UnicycleParameters.from_config({'dtt': 0.2})


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_positions_that_are_not_finite_have_no_speed(value):
    xyz = torch.zeros(16, 3)
    xyz[3, 0] = value
    with pytest.raises(ValueError, match='not finite'):
        initial_speed(xyz, torch.eye(3).expand(16, 3, 3), UnicycleParameters())
