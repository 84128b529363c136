"""The parts without weights: unicycle, its inverse, and the trajectory tokenizers."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from alpamayo_ros.model.trajectory_tokens import DeltaTokenizer, DiscreteTokenizer
from alpamayo_ros.model.unicycle import UnicycleParameters, initial_speed, invert, rollout
from alpamayo_ros.verification.cases import load_tensors
from alpamayo_ros.verification.model_checks import largest
from alpamayo_ros.verification.result import Check

PARAMETERS = UnicycleParameters(accel_mean=0.03, accel_std=0.68, curvature_mean=0.0003,
                                curvature_std=0.026)
"""What the recorded units were computed with (test/data/golden/README.md)."""

# float32 has 24 bits. The tolerances are small multiples of its rounding where an operation is
# direct; a least-squares solution adds the condition of its system, which was measured against
# float64: both implementations are up to 1.7e-4 from it.
_DIRECT = 2e-5
_XYZ_M = 1e-4
_SOLVED = 5e-4


def verify_units(path: Path) -> list[Check]:
    """Every tensor of a file of units."""
    units = load_tensors(path)
    name = path.parent.name + '/units'
    history = units['history_xyz'], units['history_rot']
    v0, height = units['v0'], units['history_xyz'][:, -1, 2]
    checks = [Check(name, 'v0, m/s', largest(initial_speed(*history, PARAMETERS), v0), _DIRECT)]
    for action in ('action', 'future_action'):
        xyz, rot = rollout(units[action], v0, PARAMETERS, z=height)
        checks += [Check(name, f'{action} to xyz, m', largest(xyz, units[f'{action}_xyz']), _XYZ_M),
                   Check(name, f'{action} to rotation', largest(rot, units[f'{action}_rot']),
                         _DIRECT)]
    inverse = invert(units['future_xyz'], units['future_rot'], v0, PARAMETERS)
    checks.append(Check(name, 'future to action', largest(inverse, units['future_action']),
                        _SOLVED))
    delta = DeltaTokenizer()
    checks += [
        Check(name, 'delta tokens', _most(delta.encode(units['history_xyz']),
                                          units['delta_tokens']), 0),
        Check(name, 'delta decoded xyz, m', largest(delta.decode(units['delta_tokens']),
                                                    units['delta_decoded_xyz']), _DIRECT),
        Check(name, 'delta tokens with yaw', _most(
            DeltaTokenizer(yaw=True).encode(units['future_xyz'], units['future_rot']),
            units['delta_yaw_tokens']), 0),
        Check(name, 'discrete tokens', _most(
            DiscreteTokenizer().encode(units['future_action']), units['discrete_tokens']), 0)]
    return checks


def _most(found: Tensor, expected: Tensor) -> float:
    """Largest difference of tokens."""
    return largest(found.to(torch.float64), expected.to(torch.float64))
